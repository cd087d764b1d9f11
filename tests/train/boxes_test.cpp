#include "train/boxes.h"

#include <gmock/gmock.h>

#include "message_of.h"

namespace dvlm {
namespace {

using testing::HasSubstr;

std::string resized(const char* text, const char* format, int* count = nullptr) {
  int boxes = 0;
  const std::string out = with_boxes_resized(text, box_format_of(format), {100, 200}, {56, 112}, boxes);
  if (count) *count = boxes;
  return out;
}

TEST(Boxes, are_brought_to_whole_pixels_of_the_resized_picture) {
  int boxes = 0;
  EXPECT_EQ(resized(R"([{"bbox_2d": [20, 10, 199.6, 100], "label": "a [1, 2] b"}])", "pixels", &boxes),
            R"([{"bbox_2d": [11, 6, 112, 56], "label": "a [1, 2] b"}])");
  EXPECT_EQ(boxes, 1);
  EXPECT_EQ(resized("It is at [0.25,0.5, 1.0 ,1].", "norm1"), "It is at [28, 28, 112, 56].");
  EXPECT_EQ(resized("[500, 250, 1000, 999]", "norm1000"), "[56, 14, 112, 56]");
  EXPECT_EQ(resized("[-3, 0, 400, 50]", "pixels"), "[0, 0, 112, 28]") << "inside the picture";
}

TEST(Boxes, points_are_those_that_say_so) {
  EXPECT_EQ(resized(R"({"point_2d" : [50, 50]} and [50, 50])", "pixels"),
            R"({"point_2d" : [28, 28]} and [50, 50])");
}

TEST(Boxes, other_lists_stay) {
  int boxes = 0;
  for (const char* text : {"", "[", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[1, 2, 3, x]", "[1, 2, 3, inf]",
                           "[1,,2,3]", "[]", "]1, 2, 3, 4[", "(1, 2, 3, 4)", "[1, 2, 3, 4"}) {
    EXPECT_EQ(resized(text, "pixels", &boxes), text);
    EXPECT_EQ(boxes, 0) << text;
  }
  EXPECT_EQ(resized("[[20, 10, 40, 20], [0, 0, 200, 100]]", "pixels", &boxes),
            "[[11, 6, 22, 11], [0, 0, 112, 56]]");
  EXPECT_EQ(boxes, 2);
}

TEST(Boxes, other_formats_are_refused) {
  EXPECT_THAT(message_of([] { box_format_of("voc"); }), HasSubstr("\"voc\""));
}

}  // namespace
}  // namespace dvlm
