#include "engine/stop_strings.h"

#include <gtest/gtest.h>

namespace dvlm {
namespace {

std::string fed_in_pieces(const std::string& text, size_t piece, std::vector<std::string> stops) {
  StopStrings filter(std::move(stops));
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) out += filter.push(text.substr(at, piece));
  return out + filter.finish();
}

TEST(StopStrings, cut_at_the_first_whatever_the_pieces) {
  for (size_t piece = 1; piece < 12; ++piece) {
    EXPECT_EQ(fed_in_pieces("one two three", piece, {"thr", "two"}), "one ");
    EXPECT_EQ(fed_in_pieces("aaab", piece, {"aab"}), "a");
    EXPECT_EQ(fed_in_pieces("one two", piece, {"three", "two!"}), "one two");
    EXPECT_EQ(fed_in_pieces("stop", piece, {"stop"}), "");
    EXPECT_EQ(fed_in_pieces("one two", piece, {}), "one two");
    EXPECT_EQ(fed_in_pieces("abcd", piece, {"abcd", "bc", "c"}), "a")
        << "the first that is complete, the longest";
  }
}

TEST(StopStrings, hold_back_no_more_than_could_become_one) {
  StopStrings filter({"###", "abc"});
  EXPECT_EQ(filter.push("text #"), "text ");
  EXPECT_EQ(filter.push("x ab"), "#x ");
  EXPECT_EQ(filter.push("d"), "abd");
  EXPECT_FALSE(filter.found());
  EXPECT_EQ(filter.push("ab"), "");
  EXPECT_EQ(filter.push("c more"), "");
  EXPECT_TRUE(filter.found());
  EXPECT_EQ(filter.push("text"), "");
}

}  // namespace
}  // namespace dvlm
