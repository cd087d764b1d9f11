// Boxes that conversations speak of, in the pixels that the model sees.
#pragma once
#include <string>
#include <string_view>

#include "image/preprocess.h"

namespace dvlm {

// How a data set writes boxes. Qwen2.5-VL reads and writes pixels of the resized picture.
enum class BoxFormat {
  text,      // as it should be learnt
  pixels,    // of the picture file
  norm1,     // shares of width and height, 0 to 1
  norm1000,  // thousandths
};
BoxFormat box_format_of(std::string_view name);  // throws Error for another name

// The text with every list of four numbers in square brackets (x1, y1, x2, y2), and of two behind "point_2d",
// in whole pixels of the resized picture. `boxes` counts them.
std::string with_boxes_resized(std::string_view text, BoxFormat format, Size original, Size resized,
                               int& boxes);

}  // namespace dvlm
