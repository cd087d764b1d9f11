#include "core/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr double kWidth = 800, kHeight = 420, kLeft = 60, kRight = 20, kTop = 40, kBottom = 45;

double pixel_x(double share) {
  return kLeft + share * (kWidth - kRight - kLeft);
}

double pixel_y(double share) {
  return kHeight - kBottom - share * (kHeight - kBottom - kTop);
}

// 1, 2 or 5 times a power of ten, giving about five ticks.
double tick_distance(double range) {
  DVLM_ASSERT(range > 0);
  const double raw = range / 5, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<' || c == '>' || c == '&' || c == '"')
      out += fmt::format("&#{};", static_cast<int>(c));
    else
      out += c;
  }
  return out;
}

}  // namespace

Plot::Plot(const std::string& title, const std::string& x_label, double x_high, double y_high)
    : x_high_(x_high), y_high_(y_high) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n<text x=\"{2}\" y=\"22\" "
      "font-size=\"15\">{3}</text>\n",
      kWidth, kHeight, kLeft, escaped(title));
  for (double v = 0, d = tick_distance(y_high); v <= y_high * 1.0001; v += d)
    body_ += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:g}</text>\n",
        kLeft, kWidth - kRight, pixel_y(v / y_high), kLeft - 8, pixel_y(v / y_high) + 4, v);
  for (double v = 0, d = tick_distance(x_high); v <= x_high * 1.0001; v += d)
    body_ += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>\n",
                         pixel_x(v / x_high), kHeight - kBottom + 18, v);
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", kWidth / 2, kHeight - 8,
                       escaped(x_label));
}

void Plot::line(const std::vector<Point>& points, const char* colour, double width, double opacity) {
  std::string path;
  for (const Point& p : points)
    path += fmt::format("{:.1f},{:.1f} ", pixel_x(p.x / x_high_), pixel_y(std::min(p.y, y_high_) / y_high_));
  body_ += fmt::format(
      "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" points=\"{}\"/>\n",
      colour, width, opacity, path);
}

void Plot::legend(const std::string& text, const char* colour) {
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{}\">{}</text>\n", kWidth - kRight,
                       22 + 16 * legends_++, colour, escaped(text));
}

}  // namespace dvlm
