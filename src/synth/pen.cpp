#include "synth/pen.h"

#include <algorithm>
#include <cmath>

namespace dvlm {

namespace {

constexpr double kAscent = 0.93, kDescent = 0.24;  // of DejaVu's em

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Where characters [begin, end) of the line are, left to right.
struct Extent {
  double left, right;
};
Extent extent(PangoLayout* layout, size_t begin, size_t end) {
  PangoRectangle first, last;
  pango_layout_index_to_pos(layout, static_cast<int>(begin), &first);
  pango_layout_index_to_pos(layout, static_cast<int>(end - 1), &last);
  return {static_cast<double>(first.x) / PANGO_SCALE, static_cast<double>(last.x + last.width) / PANGO_SCALE};
}

double layout_width(PangoLayout* layout) {
  PangoRectangle logical;
  pango_layout_get_extents(layout, nullptr, &logical);
  return static_cast<double>(logical.width) / PANGO_SCALE;
}

double left_of(double x, double width, Align align) {
  return align == Align::left ? x : align == Align::centre ? x - width / 2 : x - width;
}

}  // namespace

double Pen::width(const std::string& text, const Font& font) const {
  return layout_width(lay_out_text(context_, text, font.name, font.size).get());
}

Font Pen::fitting(const std::string& text, Font font, double room) const {
  font.size *= std::min(1.0, room / width(text, font));
  return font;
}

void Pen::write(const std::string& text, const Font& font, double x, double baseline, Align align) {
  const TextLayout layout = lay_out_text(context_, text, font.name, font.size);
  const double left = left_of(x, layout_width(layout.get()), align);
  set_colour(context_, font.colour, 1);
  cairo_move_to(context_, left,
                baseline - static_cast<double>(pango_layout_get_baseline(layout.get())) / PANGO_SCALE);
  pango_cairo_show_layout(context_, layout.get());
  mark(layout.get(), text, font, left, baseline);
}

void Pen::write_with_rim(const std::string& text, const Font& font, const Colour& rim, double x,
                         double baseline, Align align) {
  const TextLayout layout = lay_out_text(context_, text, font.name, font.size);
  cairo_move_to(context_, left_of(x, layout_width(layout.get()), align),
                baseline - static_cast<double>(pango_layout_get_baseline(layout.get())) / PANGO_SCALE);
  pango_cairo_layout_path(context_, layout.get());
  set_colour(context_, rim, 1);
  cairo_set_line_width(context_, 5);
  cairo_set_line_join(context_, CAIRO_LINE_JOIN_ROUND);
  cairo_stroke(context_);
  write(text, font, x, baseline, align);
}

void Pen::mark(PangoLayout* layout, const std::string& text, const Font& font, double x, double baseline) {
  const auto add = [&](size_t begin, size_t end, const std::string& label) {
    const auto [left, right] = extent(layout, begin, end);
    marks_.push_back({{static_cast<int>(std::lround(x + left)),
                       static_cast<int>(std::lround(baseline - kAscent * font.size)),
                       static_cast<int>(std::lround(x + right)),
                       static_cast<int>(std::lround(baseline + kDescent * font.size))},
                      label});
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (std::ranges::any_of(word, is_digit)) {
      for (size_t i = begin; i < end; ++i)
        if (is_digit(text[i])) add(i, i + 1, text.substr(i, 1));
    } else if (!word.empty()) {
      add(begin, end, " " + (word.ends_with(':') ? word.substr(0, word.size() - 1) : word));
    }
    begin = end + 1;
  }
}

}  // namespace dvlm
