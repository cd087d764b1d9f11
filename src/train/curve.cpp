#include "train/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace dvlm {

using nlohmann::json;

namespace {

template <class Point, class Visitor>
void visit_fields(Point& p, Visitor&& visit) {
  visit("step", p.step);
  visit("epoch", p.epoch);
  visit("progress", p.progress);
  visit("seconds", p.seconds);
  visit("loss", p.loss);
  visit("noisy", p.noisy);
  visit("clean", p.clean);
  visit("regions", p.regions);
  visit("learning_rate", p.learning_rate);
  visit("gradient_norm", p.gradient_norm);
  visit("block_size", p.block_size);
  visit("samples_per_second", p.samples_per_second);
  visit("tokens_per_second", p.tokens_per_second);
}

constexpr double kWidth = 800, kHeight = 420, kLeft = 60, kRight = 20, kTop = 40, kBottom = 45;

struct Axis {
  double low = 0, high = 1, from = 0, to = 1;  // values [low, high] fall on pixels [from, to]
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// 1, 2 or 5 times a power of ten, giving about five ticks.
double tick_distance(double range) {
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

std::string line_of(const std::vector<LogPoint>& points, double LogPoint::*field, const Axis& x,
                    const Axis& y, const char* colour) {
  std::string raw, smooth;
  double average = points.front().*field;
  const size_t stride = points.size() / 1500 + 1;
  for (size_t i = 0; i < points.size(); ++i) {
    average += 0.05 * (points[i].*field - average);
    if (i % stride != 0 && i + 1 != points.size()) continue;
    const double at = x.at(static_cast<double>(points[i].step));
    raw += fmt::format("{:.1f},{:.1f} ", at, y.at(std::min(points[i].*field, y.high)));
    smooth += fmt::format("{:.1f},{:.1f} ", at, y.at(std::min(average, y.high)));
  }
  return fmt::format(
      "<polyline fill=\"none\" stroke=\"{0}\" stroke-opacity=\"0.3\" points=\"{1}\"/>\n"
      "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"2\" points=\"{2}\"/>\n",
      colour, raw, smooth);
}

}  // namespace

std::vector<LogPoint> read_log(const std::filesystem::path& path, int64_t last_step) {
  std::vector<LogPoint> points;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const json value = json::parse(line, nullptr, false);
    if (!value.is_object()) continue;
    LogPoint point;
    visit_fields(point, [&](const char* key, auto& field) {
      if (const auto found = value.find(key); found != value.end() && found->is_number())
        found->get_to(field);
    });
    if (point.step <= last_step) points.push_back(point);
  }
  return points;
}

std::string to_json_line(const LogPoint& point) {
  nlohmann::ordered_json value;
  visit_fields(point, [&](const char* key, const auto& field) { value[key] = field; });
  return value.dump() + "\n";
}

std::string loss_curve_svg(const std::vector<LogPoint>& points, const std::string& title) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n<text x=\"{2}\" y=\"22\" "
      "font-size=\"15\">{3}</text>\n",
      kWidth, kHeight, kLeft, escaped(title));
  if (points.empty()) return svg + "</svg>\n";
  const bool has_noisy =
      std::any_of(points.begin(), points.end(), [](const LogPoint& p) { return p.noisy > 0; });
  double high = 0;
  for (const LogPoint& p : points) high = std::max({high, p.clean, p.noisy});
  if (!std::isfinite(high) || high <= 0) high = 1;
  const double last = static_cast<double>(std::max<int64_t>(points.back().step, 1));
  const Axis x{0, last, kLeft, kWidth - kRight}, y{0, high, kHeight - kBottom, kTop};
  for (double v = 0, d = tick_distance(high); v <= high * 1.0001; v += d)
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:g}</text>\n",
        kLeft, kWidth - kRight, y.at(v), kLeft - 8, y.at(v) + 4, v);
  for (double v = 0, d = tick_distance(last); v <= last * 1.0001; v += d)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>\n", x.at(v),
                       kHeight - kBottom + 18, v);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">optimiser step</text>\n", kWidth / 2,
                     kHeight - 8);
  svg += line_of(points, &LogPoint::clean, x, y, "#1f77b4");
  svg += fmt::format(
      "<text x=\"{}\" y=\"22\" text-anchor=\"end\" fill=\"#1f77b4\">clean (autoregressive), nats per "
      "token</text>\n",
      kWidth - kRight);
  if (has_noisy) {
    svg += line_of(points, &LogPoint::noisy, x, y, "#d62728");
    svg += fmt::format(
        "<text x=\"{}\" y=\"38\" text-anchor=\"end\" fill=\"#d62728\">noisy (masked), nats per "
        "token</text>\n",
        kWidth - kRight);
  }
  return svg + "</svg>\n";
}

}  // namespace dvlm
