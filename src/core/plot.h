// A line plot as a self-contained SVG.
#pragma once
#include <string>
#include <vector>

namespace dvlm {

class Plot {
 public:
  // Axes from 0 to `x_high` and `y_high` (positive and finite), with round ticks.
  Plot(const std::string& title, const std::string& x_label, double x_high, double y_high);

  struct Point {
    double x = 0, y = 0;  // y beyond the axis is drawn at its end
  };
  void line(const std::vector<Point>& points, const char* colour, double width, double opacity = 1);
  // One more line of the legend, at the upper right.
  void legend(const std::string& text, const char* colour);

  std::string svg() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
  double x_high_, y_high_;
  int legends_ = 0;
};

}  // namespace dvlm
