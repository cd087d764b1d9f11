// Bar and line charts.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "synth/paper_painter.h"

namespace dvlm {

namespace {

constexpr Colour kAxis = {"", 90, 92, 98}, kGrid = {"", 206, 208, 212};
constexpr int kSteps = 5;  // of the axis

// Where the values of a chart are drawn.
struct PlotArea {
  double left, top, right, bottom;
  double scale;  // pixels per unit
  double y(int value) const { return bottom - value * scale; }
};

struct ChartLook {
  Colour ground, ink;
  bool ticks, many_colours;
  int first_colour;
  bool bold_title;
};

ChartLook draw_look(const Paper& chart, Random& random) {
  constexpr std::array<Colour, 4> kGrounds = {
      {{"", 255, 255, 255}, {"", 250, 247, 238}, {"", 240, 244, 250}, {"", 244, 244, 242}}};
  ChartLook look;
  look.ground = kGrounds[static_cast<size_t>(random.below(kGrounds.size()))];
  look.ink = {"", 34, 36, 42};
  look.ticks = !chart.printed || random.uniform() < 0.5;
  look.many_colours = random.uniform() < 0.4;
  look.first_colour = static_cast<int>(random.below(kColours.size()));
  look.bold_title = random.uniform() < 0.6;
  return look;
}

Colour colour_of(const ChartLook& look, size_t entry) {
  const size_t shift = look.many_colours ? entry : 0;
  return kColours[(static_cast<size_t>(look.first_colour) + shift) % kColours.size()];
}

void straight_line(cairo_t* context, double x1, double y1, double x2, double y2, const Colour& colour,
                   double width) {
  set_colour(context, colour, 1);
  cairo_set_line_width(context, width);
  cairo_move_to(context, x1, y1);
  cairo_line_to(context, x2, y2);
  cairo_stroke(context);
}

// Grid lines with their values, and the axis.
void draw_axis(cairo_t* context, Pen& pen, const Paper& chart, const ChartLook& look, const PlotArea& plot) {
  for (int i = 0; i <= kSteps; ++i) {
    const int value = chart.top / kSteps * i;
    const double y = std::round(plot.y(value)) + 0.5;
    straight_line(context, plot.left, y, plot.right, y, i == 0 ? kAxis : kGrid, i == 0 ? 2 : 1);
    if (look.ticks)
      pen.write(std::to_string(value), {"DejaVu Sans", 19, look.ink}, plot.left - 5, y + 7, Align::right);
  }
  straight_line(context, plot.left, plot.top - 4, plot.left, plot.bottom, kAxis, 2);
}

// A bar is called by its name: every pixel that it touches, since one of a single unit may be narrower than
// one.
void draw_bar(cairo_t* context, Pen& pen, double x, double y, double width, double height,
              const Colour& colour, const std::string& name) {
  pen.mark_area({static_cast<int>(x), static_cast<int>(y), static_cast<int>(std::ceil(x + width)),
                 static_cast<int>(std::ceil(y + height))},
                name);
  cairo_rectangle(context, x, y, width, height);
  set_colour(context, colour, 1);
  cairo_fill_preserve(context);
  set_colour(context, colour, 1, 0.6);
  cairo_set_line_width(context, 1.5);
  cairo_stroke(context);
}

Font label_font(const Pen& pen, const Paper& chart, const ChartLook& look, double room) {
  Font font = {"DejaVu Sans", 18, look.ink};
  for (const PaperEntry& entry : chart.entries) font = pen.fitting(entry.name, font, room);
  return font;
}

void draw_standing(cairo_t* context, Pen& pen, const Paper& chart, const ChartLook& look, double title_end,
                   Random& random) {
  const double tick_room = look.ticks ? pen.width(std::to_string(chart.top), {"DejaVu Sans", 19}) + 12 : 12;
  PlotArea plot = {tick_room, title_end + (chart.printed ? 24 : 12), chart.width - 8.0, chart.height - 28.0,
                   0};
  plot.scale = (plot.bottom - plot.top) / chart.top;
  draw_axis(context, pen, chart, look, plot);
  const double pitch = (plot.right - plot.left - 4) / static_cast<double>(chart.entries.size());
  const double thick = pitch * random.between(0.5, 0.72);
  const Font name_font = label_font(pen, chart, look, pitch - 4);
  const auto middle = [&](size_t i) { return plot.left + 4 + pitch * (static_cast<double>(i) + 0.5); };
  if (chart.kind == PaperKind::line) {
    for (size_t i = 0; i + 1 < chart.entries.size(); ++i)
      straight_line(context, middle(i), plot.y(chart.entries[i].number), middle(i + 1),
                    plot.y(chart.entries[i + 1].number), colour_of(look, 0), 3);
  }
  for (size_t i = 0; i < chart.entries.size(); ++i) {
    const PaperEntry& entry = chart.entries[i];
    const double x = middle(i), y = plot.y(entry.number);
    if (chart.kind == PaperKind::bars) {
      draw_bar(context, pen, x - thick / 2, y, thick, plot.bottom - y, colour_of(look, i), entry.name);
    } else {
      cairo_arc(context, x, y, 4.5, 0, 2 * std::numbers::pi);
      set_colour(context, colour_of(look, 0), 1, 0.8);
      cairo_fill(context);
    }
    pen.write(entry.name, name_font, x, chart.height - 9, Align::centre);
  }
  // Behind the line, so that none of it runs through a number.
  if (chart.printed)
    for (size_t i = 0; i < chart.entries.size(); ++i)
      pen.write_with_rim(chart.entries[i].text, {"DejaVu Sans Bold", 20, look.ink}, look.ground, middle(i),
                         plot.y(chart.entries[i].number) - 7, Align::centre);
}

void draw_lying(cairo_t* context, Pen& pen, const Paper& chart, const ChartLook& look, double title_end,
                Random& random) {
  const Font name_font = label_font(pen, chart, look, 104), value_font = {"DejaVu Sans Bold", 20, look.ink};
  double name_room = 0;
  for (const PaperEntry& entry : chart.entries)
    name_room = std::max(name_room, pen.width(entry.name, name_font));
  const double left = name_room + 16, top = title_end + 6, bottom = chart.height - 8;
  const double scale = (chart.width - left - 36) / chart.top;
  const double pitch = (bottom - top) / static_cast<double>(chart.entries.size());
  const double thick = pitch * random.between(0.5, 0.7);
  for (size_t i = 0; i < chart.entries.size(); ++i) {
    const PaperEntry& entry = chart.entries[i];
    const double y = top + pitch * (static_cast<double>(i) + 0.5), length = entry.number * scale;
    draw_bar(context, pen, left, y - thick / 2, length, thick, colour_of(look, i), entry.name);
    pen.write(entry.name, name_font, left - 8, y + 6.5, Align::right);
    pen.write(entry.text, value_font, left + length + 5, y + 7.5, Align::left);
  }
  straight_line(context, left, top, left, bottom, kAxis, 2);
}

}  // namespace

void paint_chart(cairo_t* context, Pen& pen, const Paper& chart) {
  Random random(chart.look, 1);
  const ChartLook look = draw_look(chart, random);
  set_colour(context, look.ground, 1);
  cairo_paint(context);
  const Font title = pen.fitting(
      chart.title, {look.bold_title ? "DejaVu Sans Bold" : "DejaVu Sans", 20, look.ink}, chart.width - 16);
  const double shift = random.between(-2, 2);
  pen.write(chart.title, title, chart.width / 2.0 + 2 * shift, 23 + shift, Align::centre);
  (chart.kind == PaperKind::rows ? draw_lying : draw_standing)(context, pen, chart, look, 31 + shift, random);
}

}  // namespace dvlm
