// Position ids and window order against the worked examples of the reference behaviour.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "core/error.h"
#include "model/model.h"

namespace dvlm {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr TokenId kText = 7, kImage = 151655, kVideo = 151656, kStart = 151652, kEnd = 151653;

std::vector<TokenId> prompt(std::initializer_list<std::pair<TokenId, int>> runs) {
  std::vector<TokenId> tokens;
  for (const auto& [token, count] : runs) tokens.insert(tokens.end(), static_cast<size_t>(count), token);
  return tokens;
}

std::vector<int> axis(const RopeIndex& index, int32_t Position::*member) {
  std::vector<int> values;
  for (const Position& position : index.positions) values.push_back(position.*member);
  return values;
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string rope_error(const std::vector<TokenId>& tokens, const std::vector<Grid>& grids,
                       const std::vector<double>& seconds = {}) {
  return error_of([&] { rope_index(tokens, grids, seconds, ModelConfig{}); });
}

TEST(RopeIndex, text_counts_up_on_all_axes) {
  const RopeIndex index = rope_index(prompt({{kText, 3}}), {}, {}, ModelConfig{});
  EXPECT_THAT(index.positions, ElementsAre(Position{0, 0, 0}, Position{1, 1, 1}, Position{2, 2, 2}));
  EXPECT_EQ(index.delta, 0);
}

TEST(RopeIndex, an_empty_prompt_has_no_positions) {
  const RopeIndex index = rope_index({}, {}, {}, ModelConfig{});
  EXPECT_TRUE(index.positions.empty());
  EXPECT_EQ(index.delta, 0);
}

TEST(RopeIndex, an_image_spans_height_and_width) {
  const auto tokens = prompt({{kText, 3}, {kStart, 1}, {kImage, 6}, {kEnd, 1}, {kText, 2}});
  const std::vector<Grid> grids = {{1, 4, 6}};
  const RopeIndex index = rope_index(tokens, grids, std::vector<double>{0.0}, ModelConfig{});
  EXPECT_THAT(axis(index, &Position::t), ElementsAre(0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 7, 8, 9));
  EXPECT_THAT(axis(index, &Position::h), ElementsAre(0, 1, 2, 3, 4, 4, 4, 5, 5, 5, 7, 8, 9));
  EXPECT_THAT(axis(index, &Position::w), ElementsAre(0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(index.delta, -3);
  // The first generated token, absolute index 13, continues after the last position.
  EXPECT_EQ(static_cast<int>(tokens.size()) + index.delta, 10);
}

struct VideoCase {
  double seconds;
  std::vector<int> t;
  int delta;
};

TEST(RopeIndex, a_video_advances_in_time_by_truncated_seconds) {
  const auto tokens = prompt({{kText, 1}, {kStart, 1}, {kVideo, 12}, {kEnd, 1}, {kText, 1}});
  const std::vector<Grid> grids = {{3, 4, 4}};
  const std::vector<VideoCase> cases = {
      {1.0, {0, 1, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8}, -7},
      {0.5, {0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6}, -9},
      {0.75, {0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 5, 6, 7}, -8},
  };
  for (const VideoCase& c : cases) {
    SCOPED_TRACE(c.seconds);
    const RopeIndex index = rope_index(tokens, grids, std::vector<double>{c.seconds}, ModelConfig{});
    EXPECT_THAT(axis(index, &Position::t), ElementsAreArray(c.t));
    const int after = c.t[14];
    EXPECT_THAT(axis(index, &Position::h),
                ElementsAre(0, 1, 2, 2, 3, 3, 2, 2, 3, 3, 2, 2, 3, 3, after, after + 1));
    EXPECT_THAT(axis(index, &Position::w),
                ElementsAre(0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, after, after + 1));
    EXPECT_EQ(index.delta, c.delta);
  }
}

TEST(RopeIndex, a_video_without_seconds_counts_one_second_per_slice) {
  const auto tokens = prompt({{kStart, 1}, {kVideo, 3}, {kText, 1}});
  const std::vector<Grid> grids = {{3, 2, 2}};
  const RopeIndex index = rope_index(tokens, grids, {}, ModelConfig{});
  EXPECT_THAT(axis(index, &Position::t), ElementsAre(0, 1, 3, 5, 6));
}

TEST(RopeIndex, several_pictures_take_their_grids_in_order) {
  const auto tokens =
      prompt({{kStart, 1}, {kImage, 2}, {kEnd, 1}, {kStart, 1}, {kVideo, 2}, {kStart, 1}, {kImage, 3}});
  const std::vector<Grid> grids = {{1, 2, 4}, {2, 2, 2}, {1, 6, 2}};
  const RopeIndex index = rope_index(tokens, grids, std::vector<double>{0, 2, 0}, ModelConfig{});
  EXPECT_THAT(axis(index, &Position::t), ElementsAre(0, 1, 1, 3, 4, 5, 9, 10, 11, 11, 11));
  EXPECT_THAT(axis(index, &Position::h), ElementsAre(0, 1, 1, 3, 4, 5, 5, 10, 11, 12, 13));
  EXPECT_THAT(axis(index, &Position::w), ElementsAre(0, 1, 2, 3, 4, 5, 5, 10, 11, 11, 11));
  EXPECT_EQ(index.delta, 14 - 11);
}

TEST(RopeIndex, runs_that_disagree_with_their_grids_are_refused) {
  const std::vector<Grid> grids = {{1, 4, 6}};
  EXPECT_THAT(rope_error(prompt({{kStart, 1}, {kImage, 5}, {kEnd, 1}}), grids), HasSubstr("has 5 pads"));
  EXPECT_THAT(rope_error(prompt({{kStart, 1}, {kImage, 7}, {kEnd, 1}}), grids), HasSubstr("has 7 pads"));
  EXPECT_THAT(rope_error(prompt({{kStart, 1}, {kImage, 3}, {kVideo, 3}}), grids), HasSubstr("has 3 pads"));
}

TEST(RopeIndex, wrong_numbers_of_grids_are_refused) {
  const auto one = prompt({{kStart, 1}, {kImage, 1}});
  EXPECT_THAT(rope_error(one, {}), HasSubstr("more image and video runs than the 0 pictures"));
  EXPECT_THAT(rope_error(one, {{1, 2, 2}, {1, 2, 2}}), HasSubstr("2 pictures given, but the prompt has 1"));
  EXPECT_THAT(rope_error(one, {{1, 2, 2}}, {0.0, 0.0}), HasSubstr("second_per_grid has 2 values for 1"));
}

TEST(RopeIndex, pads_outside_vision_start_are_refused) {
  EXPECT_THAT(rope_error(prompt({{kText, 1}, {kImage, 1}}), {{1, 2, 2}}),
              HasSubstr("does not follow vision_start"));
  EXPECT_THAT(rope_error(prompt({{kVideo, 1}}), {{1, 2, 2}}), HasSubstr("does not follow vision_start"));
}

TEST(RopeIndex, impossible_grids_and_times_are_refused) {
  const auto one = prompt({{kStart, 1}, {kImage, 1}});
  for (const Grid& grid : {Grid{0, 2, 2}, Grid{1, 3, 2}, Grid{1, 2, -2}, Grid{-1, -2, 2}})
    EXPECT_THAT(rope_error(one, {grid}), HasSubstr("expected positive sides"));
  constexpr int kBig = std::numeric_limits<int>::max() - 1;
  EXPECT_THAT(rope_error(one, {{kBig, kBig, kBig}}), HasSubstr("has 1 pads"));
  // 2^22 * 2^21 * 2^21 wraps to 0 in 64 bits.
  EXPECT_THAT(rope_error(one, {{1 << 22, 1 << 22, 1 << 22}}), HasSubstr("has 1 pads"));

  const auto video = prompt({{kStart, 1}, {kVideo, 2}});
  for (double seconds : {-1.0, 1e30, std::nan(""), HUGE_VAL})
    EXPECT_THAT(rope_error(video, {{2, 2, 2}}, {seconds}), HasSubstr("unusable position")) << seconds;
}

TEST(WindowIndex, a_grid_smaller_than_a_window_keeps_its_order) {
  const std::vector<Grid> grids = {{1, 4, 6}};
  const WindowIndex windows = window_index(grids, VisionConfig{});
  EXPECT_THAT(windows.index, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(windows.cumulative, ElementsAre(0, 24));
}

TEST(WindowIndex, a_ragged_grid_is_cut_into_windows_row_by_row) {
  const std::vector<Grid> grids = {{1, 10, 12}};
  const WindowIndex windows = window_index(grids, VisionConfig{});
  EXPECT_THAT(windows.index, ElementsAre(0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21, 4, 5, 10, 11,
                                         16, 17, 22, 23, 24, 25, 26, 27, 28, 29));
  EXPECT_THAT(windows.cumulative, ElementsAre(0, 64, 96, 112, 120));
  std::vector<int> inverse(windows.index.size());
  for (size_t g = 0; g < inverse.size(); ++g)
    inverse[static_cast<size_t>(windows.index[g])] = static_cast<int>(g);
  EXPECT_THAT(inverse, ElementsAre(0, 1, 2, 3, 16, 17, 4, 5, 6, 7, 18, 19, 8, 9, 10, 11, 20, 21, 12, 13, 14,
                                   15, 22, 23, 24, 25, 26, 27, 28, 29));
}

TEST(WindowIndex, an_exact_window_adds_no_empty_ones) {
  const std::vector<Grid> grids = {{1, 8, 8}};
  const WindowIndex windows = window_index(grids, VisionConfig{});
  std::vector<int> order(16);
  std::iota(order.begin(), order.end(), 0);
  EXPECT_THAT(windows.index, ElementsAreArray(order));
  EXPECT_THAT(windows.cumulative, ElementsAre(0, 64));
}

TEST(WindowIndex, slices_and_pictures_continue_the_numbering) {
  const std::vector<Grid> grids = {{2, 2, 10}, {1, 2, 4}};
  const WindowIndex windows = window_index(grids, VisionConfig{});
  EXPECT_THAT(windows.index, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(windows.cumulative, ElementsAre(0, 16, 20, 36, 40, 48));
}

TEST(WindowIndex, impossible_grids_and_windows_are_refused) {
  const auto error = [](Grid grid, VisionConfig config = {}) {
    return error_of([&] { window_index(std::vector<Grid>{grid}, config); });
  };
  EXPECT_THAT(error({1, 3, 4}), HasSubstr("multiples of 2"));
  EXPECT_THAT(error({0, 2, 4}), HasSubstr("positive sides"));
  EXPECT_THAT(error({1 << 20, 1 << 20, 1 << 20}), HasSubstr("larger than"));
  VisionConfig narrow;
  narrow.window_size = 20;
  EXPECT_THAT(error({1, 4, 4}, narrow), HasSubstr("holds no merge block"));
}

}  // namespace
}  // namespace dvlm
