// Receipts, forms and notices: a sheet on a table.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "synth/paper_painter.h"

namespace dvlm {

namespace {

constexpr double kMargin = 4,
                 kPadding = 9;  // pixels: table around the sheet, at least; paper around the text
constexpr Colour kInk = {"", 32, 32, 38};

struct Sheet {
  double left, top, right, bottom;
  double middle() const { return (left + right) / 2; }
  double text_left() const { return left + kPadding; }
  double text_right() const { return right - kPadding; }
  double room() const { return text_right() - text_left(); }
};

Background draw_table(Random& random) {
  Background table;
  table.pattern = random.uniform() < 0.6 ? Pattern::plain : Pattern::wood;
  table.colour = 1 + static_cast<int>(random.below(kTableColours.size() - 1));  // not white: the sheet is
  table.texture = static_cast<uint64_t>(random.below(int64_t{1} << 40));
  return table;
}

void sheet_path(cairo_t* context, const Sheet& sheet, double shift) {
  cairo_rectangle(context, sheet.left + shift, sheet.top + shift, sheet.right - sheet.left,
                  sheet.bottom - sheet.top);
}

// A sheet with its shadow, a little off the middle of the picture.
Sheet draw_sheet(cairo_t* context, const Paper& paper, const Colour& colour, Random& random) {
  const double x = random.between(0, 6), y = random.between(0, 5);
  const Sheet sheet = {kMargin + x, kMargin + y, paper.width - 2 * kMargin - 6 + x,
                       paper.height - 2 * kMargin - 5 + y};
  cairo_set_source_rgba(context, 0, 0, 0, 0.22);
  sheet_path(context, sheet, 3);
  cairo_fill(context);
  set_colour(context, colour, 1);
  sheet_path(context, sheet, 0);
  cairo_fill(context);
  return sheet;
}

void rule(cairo_t* context, const Sheet& sheet, double y, bool dashed) {
  const double dashes[] = {5, 4};
  set_colour(context, {"", 120, 120, 126}, 1);
  cairo_set_line_width(context, 1.4);
  if (dashed) cairo_set_dash(context, dashes, 2, 0);
  cairo_move_to(context, sheet.text_left(), std::round(y) + 0.5);
  cairo_line_to(context, sheet.text_right(), std::round(y) + 0.5);
  cairo_stroke(context);
  cairo_set_dash(context, nullptr, 0, 0);
}

// Name and price of an item on one line, in letters of one width as printers have them.
void paint_receipt(cairo_t* context, Pen& pen, const Paper& receipt, Random& random) {
  const Sheet sheet = draw_sheet(context, receipt, {"", 253, 252, 247}, random);
  const Font title = pen.fitting(receipt.title, {"DejaVu Sans Bold", 22, kInk}, sheet.room());
  pen.write(receipt.title, title, sheet.middle(), sheet.top + 28, Align::centre);
  Font font = {"DejaVu Sans Mono", 20, kInk};
  for (const PaperEntry& entry : receipt.entries)
    font = pen.fitting(entry.name + " " + entry.text, font, sheet.room());
  Font strong = font;
  strong.name = "DejaVu Sans Mono Bold";
  const double top = sheet.top + 38;
  const double pitch =
      std::min(31.0, (sheet.bottom - 6 - top - 12) / static_cast<double>(receipt.entries.size()));
  double line = top;
  Role before = Role::date;
  for (const PaperEntry& entry : receipt.entries) {
    const bool begins = (entry.role == Role::item && before != Role::item) || entry.role == Role::total;
    if (begins) rule(context, sheet, line + 3, true), line += 6;
    line += pitch, before = entry.role;
    const Font& used = entry.role == Role::total ? strong : font;
    pen.write(entry.name, used, sheet.text_left(), line - 0.3 * pitch, Align::left);
    pen.write(entry.text, used, sheet.text_right(), line - 0.3 * pitch, Align::right);
  }
}

// A field's name printed, what is filled in written by hand: in blue, on a line.
void paint_form(cairo_t* context, Pen& pen, const Paper& form, Random& random) {
  const Sheet sheet = draw_sheet(context, form, {"", 252, 252, 250}, random);
  const Colour& band = kColours[static_cast<size_t>(random.below(kColours.size()))];
  cairo_rectangle(context, sheet.left, sheet.top, sheet.right - sheet.left, 34);
  set_colour(context, band, 1, 0.85);
  cairo_fill(context);
  const Colour on_band = band.red > 230 && band.green > 120 ? kInk : Colour{"", 255, 255, 255};
  pen.write(form.title, {"DejaVu Sans Bold", 21, on_band}, sheet.middle(), sheet.top + 25, Align::centre);
  const Font name_font = {"DejaVu Sans", 17, {"", 70, 72, 80}};
  const Font hand = {
      random.uniform() < 0.5 ? "DejaVu Sans Bold" : "DejaVu Serif Bold", 21, {"", 26, 58, 150}};
  double name_room = 0;
  for (const PaperEntry& entry : form.entries)
    name_room = std::max(name_room, pen.width(entry.name + ":", name_font));
  const double left = sheet.text_left() + name_room + 8, top = sheet.top + 38;
  const double pitch = std::min(40.0, (sheet.bottom - 6 - top) / static_cast<double>(form.entries.size()));
  double line = top;
  for (const PaperEntry& entry : form.entries) {
    line += pitch;
    pen.write(entry.name + ":", name_font, sheet.text_left(), line - 8, Align::left);
    pen.write(entry.text, pen.fitting(entry.text, hand, sheet.text_right() - left), left + 2, line - 8,
              Align::left);
    set_colour(context, {"", 160, 162, 170}, 1);
    cairo_set_line_width(context, 1.2);
    cairo_move_to(context, left, std::round(line) - 2.5);
    cairo_line_to(context, sheet.text_right(), std::round(line) - 2.5);
    cairo_stroke(context);
  }
}

// A board: its word on a coloured band, the rest below in large letters.
void paint_notice(cairo_t* context, Pen& pen, const Paper& notice, Random& random) {
  const Sheet sheet = draw_sheet(context, notice, {"", 250, 250, 246}, random);
  constexpr std::array<Colour, 4> kBands = {
      {{"", 190, 30, 36}, {"", 22, 112, 60}, {"", 30, 72, 168}, {"", 40, 42, 50}}};
  const Colour& band = kBands[static_cast<size_t>(random.below(kBands.size()))];
  const double band_height = (sheet.bottom - sheet.top) * 0.34;
  cairo_rectangle(context, sheet.left, sheet.top, sheet.right - sheet.left, band_height);
  set_colour(context, band, 1);
  cairo_fill(context);
  const Font title =
      pen.fitting(notice.title, {"DejaVu Sans Bold", 44, {"", 255, 255, 255}}, sheet.room() - 20);
  pen.write(notice.title, title, sheet.middle(), sheet.top + band_height / 2 + 0.36 * title.size,
            Align::centre);
  const double top = sheet.top + band_height + 4;
  const double pitch = (sheet.bottom - 6 - top) / static_cast<double>(notice.entries.size());
  const Font large = {random.uniform() < 0.7 ? "DejaVu Sans Bold" : "DejaVu Serif Bold",
                      std::min(28.0, pitch * 0.8), kInk};
  double line = top;
  for (const PaperEntry& entry : notice.entries) {
    const std::string text = entry.name + " " + entry.text;
    const Font font = pen.fitting(text, large, sheet.room());
    pen.write(text, font, sheet.middle(), line + pitch / 2 + 0.36 * font.size, Align::centre);
    line += pitch;
  }
  sheet_path(context, sheet, 0);
  set_colour(context, band, 1);
  cairo_set_line_width(context, 4);
  cairo_stroke(context);
}

}  // namespace

void paint_document(cairo_t* context, Pen& pen, const Paper& document) {
  Random random(document.look, 1);
  paint_background(cairo_get_target(context), draw_table(random));
  if (document.kind == PaperKind::receipt) return paint_receipt(context, pen, document, random);
  if (document.kind == PaperKind::form) return paint_form(context, pen, document, random);
  DVLM_ASSERT(document.kind == PaperKind::notice);
  paint_notice(context, pen, document, random);
}

PaperPicture paint_paper(const Paper& paper) {
  const Surface surface = new_surface(paper.width, paper.height);
  PaperPicture result;
  {
    const Context context = draw_on(surface);
    Pen pen(context.get(), result.marks);
    (paper.is_chart() ? paint_chart : paint_document)(context.get(), pen, paper);
  }
  if (Random(paper.look, 2).uniform() < 0.25) add_noise(surface.get(), paper.look);
  result.picture = to_picture(surface);
  return result;
}

}  // namespace dvlm
