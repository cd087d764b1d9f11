// Writes text on a picture and marks where its words and digits are.
#pragma once
#include <string>
#include <vector>

#include "synth/canvas.h"
#include "synth/paper.h"

namespace dvlm {

enum class Align { left, centre, right };

struct Font {
  const char* name = "DejaVu Sans";
  double size = 20;  // pixels of an em; a digit is 0.73 of it high and 0.64 wide
  Colour colour = {"", 30, 30, 34};
};

class Pen {
 public:
  Pen(cairo_t* context, std::vector<Mark>& marks) : context_(context), marks_(marks) {}

  double width(const std::string& text, const Font& font) const;
  // The font, made smaller where the text would be wider than `room`.
  Font fitting(const std::string& text, Font font, double room) const;

  void write(const std::string& text, const Font& font, double x, double baseline, Align align);
  // On a rim of this colour, which keeps it apart from lines that pass.
  void write_with_rim(const std::string& text, const Font& font, const Colour& rim, double x, double baseline,
                      Align align);

  // What stands for `name` without being written, like its bar.
  void mark_area(const Box& box, const std::string& name) { marks_.push_back({box, " " + name}); }

 private:
  void mark(PangoLayout* layout, const std::string& text, const Font& font, double x, double baseline);

  cairo_t* context_;
  std::vector<Mark>& marks_;
};

}  // namespace dvlm
