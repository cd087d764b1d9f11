#include "synth/paper.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace dvlm {
namespace {

constexpr int kPapers = 300;
constexpr std::array<Family, 2> kFamilies = {Family::charts, Family::documents};

std::string words_of(const Paper& paper) {
  std::string text;
  for (const std::string& line : printed_lines(paper)) text += line + "\n";
  return text;
}

// The labels that a text's words and digits should have.
std::multiset<std::string> labels_of(const std::string& text) {
  std::multiset<std::string> labels;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word.ends_with(':')) word.pop_back();
    const bool number = word.find_first_of("0123456789") != std::string::npos;
    if (!number) labels.insert(" " + word);
    for (const char c : word)
      if (number && c >= '0' && c <= '9') labels.insert(std::string(1, c));
  }
  return labels;
}

std::multiset<std::string> labels_of(const std::vector<Mark>& marks) {
  std::multiset<std::string> labels;
  for (const Mark& mark : marks) labels.insert(mark.label);
  return labels;
}

bool is_number(const Mark& mark) {
  return mark.label[0] != ' ';
}

const uint8_t* rgb(const Image& picture, int x, int y) {
  return picture.pixels.data() + (static_cast<ptrdiff_t>(y) * picture.width + x) * 3;
}

// The share of the box's pixels that differ clearly from the colour that most of them have, about.
double written_share(const Image& picture, const Box& box) {
  std::map<int, int> shades;
  const auto brightness = [&](int x, int y) {
    const uint8_t* p = rgb(picture, x, y);
    return (p[0] + p[1] + p[2]) / 3;
  };
  for (int y = box.y1; y < box.y2; ++y)
    for (int x = box.x1; x < box.x2; ++x) ++shades[brightness(x, y) / 16];
  const int ground =
      std::ranges::max_element(shades, {}, [](const auto& shade) { return shade.second; })->first * 16 + 8;
  int written = 0;
  for (int y = box.y1; y < box.y2; ++y)
    for (int x = box.x1; x < box.x2; ++x) written += std::abs(brightness(x, y) - ground) > 60;
  return static_cast<double>(written) / ((box.x2 - box.x1) * (box.y2 - box.y1));
}

TEST(Paper, SameSeedSamePixelsAndMarks) {
  for (const Family family : kFamilies) {
    for (int64_t i = 0; i < 20; ++i) {
      const PaperPicture first = paint_paper(make_paper(family, 7, Split::train, i));
      const PaperPicture second = paint_paper(make_paper(family, 7, Split::train, i));
      EXPECT_EQ(first.picture.pixels, second.picture.pixels);
      EXPECT_EQ(labels_of(first.marks), labels_of(second.marks));
    }
  }
}

TEST(Paper, SeedIndexAttemptAndSplitAllChangeThePicture) {
  for (const Family family : kFamilies) {
    std::set<std::vector<uint8_t>> pictures;
    for (const uint64_t seed : {1, 2})
      for (const Split split : {Split::train, Split::test})
        for (const int index : {0, 1})
          for (const int attempt : {0, 1})
            pictures.insert(paint_paper(make_paper(family, seed, split, index, attempt)).picture.pixels);
    EXPECT_EQ(pictures.size(), 16u);
  }
}

TEST(Paper, TrainAndTestShareNoPicture) {
  for (const Family family : kFamilies) {
    std::set<std::vector<uint8_t>> train;
    for (int64_t i = 0; i < kPapers; ++i)
      train.insert(paint_paper(make_paper(family, 7, Split::train, i)).picture.pixels);
    EXPECT_EQ(train.size(), static_cast<size_t>(kPapers));
    for (int64_t i = 0; i < kPapers; ++i)
      EXPECT_FALSE(train.contains(paint_paper(make_paper(family, 7, Split::test, i)).picture.pixels)) << i;
  }
}

TEST(Paper, EveryKindAppearsInSizesThatAModelSeesUnscaled) {
  std::map<PaperKind, int> kinds;
  for (const Family family : kFamilies) {
    for (int64_t i = 0; i < kPapers; ++i) {
      const Paper paper = make_paper(family, 7, Split::train, i);
      ++kinds[paper.kind];
      EXPECT_EQ(paper.is_chart(), family == Family::charts);
      EXPECT_EQ(paper.width % 28, 0);
      EXPECT_EQ(paper.height % 28, 0);
      EXPECT_LE(paper.width * paper.height, 72 * 28 * 28);  // max_pixels of examples/tiny/model
    }
  }
  EXPECT_EQ(kinds.size(), 6u);
  for (const auto& [kind, count] : kinds) EXPECT_GT(count, kPapers / 8) << kind_name(kind);
}

TEST(Paper, ChartsHaveDifferentNamesAndValuesOnTheAxis) {
  int unprinted = 0;
  for (int64_t i = 0; i < kPapers; ++i) {
    const Paper chart = make_paper(Family::charts, 7, Split::train, i);
    std::set<std::string> names;
    std::set<int> values;
    for (const PaperEntry& entry : chart.entries) {
      names.insert(entry.name), values.insert(entry.number);
      EXPECT_EQ(entry.text, std::to_string(entry.number));
      EXPECT_GT(entry.number, 0);
      EXPECT_LT(entry.number, chart.top);
      // Half the distance of two lines of the grid: what can be read off them.
      if (!chart.printed) {
        EXPECT_EQ(entry.number % (chart.top / 10), 0);
      }
    }
    EXPECT_EQ(names.size(), chart.entries.size());
    EXPECT_EQ(values.size(), chart.entries.size());
    EXPECT_GE(chart.entries.size(), 3u);
    unprinted += !chart.printed;
  }
  EXPECT_NEAR(unprinted, 0.19 * kPapers, 0.08 * kPapers);
}

TEST(Paper, ATotalIsTheSumOfTheItems) {
  int receipts = 0;
  for (int64_t i = 0; i < kPapers; ++i) {
    const Paper paper = make_paper(Family::documents, 7, Split::train, i);
    if (paper.kind != PaperKind::receipt) continue;
    ++receipts;
    int sum = 0;
    for (const PaperEntry* item : paper.entries_of(Role::item)) {
      sum += item->number;
      EXPECT_EQ(item->text, price_text(item->number));
    }
    EXPECT_EQ(paper.entries.back().role, Role::total);
    EXPECT_EQ(paper.entries.back().text, price_text(sum));
  }
  EXPECT_GT(receipts, 0);
  EXPECT_EQ(price_text(1205), "12.05");
}

TEST(Paper, EveryWordAndDigitHasAMarkWhereItIsDrawn) {
  for (const Family family : kFamilies) {
    for (int64_t i = 0; i < kPapers; ++i) {
      const Paper paper = make_paper(family, 7, Split::train, i);
      const PaperPicture drawn = paint_paper(paper);
      const auto labels = labels_of(drawn.marks);
      if (!paper.is_chart()) {
        EXPECT_EQ(labels, labels_of(words_of(paper))) << i;
      }
      EXPECT_TRUE(std::ranges::includes(labels, labels_of(paper.title))) << i;
      std::set<std::string> bars;  // whose marks come before those of their names
      for (const PaperEntry& entry : paper.entries)
        if (paper.kind == PaperKind::bars || paper.kind == PaperKind::rows) bars.insert(" " + entry.name);
      for (const Mark& mark : drawn.marks) {
        const Box& box = mark.box;
        ASSERT_TRUE(box.x1 >= 0 && box.y1 >= 0 && box.x1 < box.x2 && box.y1 < box.y2 &&
                    box.x2 <= paper.width && box.y2 <= paper.height)
            << i << mark.label;
        if (is_number(mark)) {
          EXPECT_GE(box.y2 - box.y1, 22) << "a digit is at least 13 pixels high";
        }
        if (bars.erase(mark.label) == 0) {
          EXPECT_GT(written_share(drawn.picture, box), 0.02) << i << mark.label;
        }
      }
      if (!paper.is_chart() || !paper.printed) continue;
      for (const PaperEntry& entry : paper.entries)
        EXPECT_TRUE(std::ranges::includes(labels, labels_of(entry.text))) << i << entry.text;
    }
  }
}

// "47" and "74" differ inside the marks of their digits and nowhere else, and the marks say which is which.
TEST(Paper, DigitsHaveAMarkEach) {
  for (const PaperKind kind : {PaperKind::receipt, PaperKind::form, PaperKind::notice}) {
    Paper paper;
    paper.kind = kind, paper.title = "OPEN", paper.look = 5;
    paper.entries = {{Role::field, "Room", "47"}, {Role::person, "Ask", "Anna"}};
    const PaperPicture first = paint_paper(paper);
    paper.entries[0].text = "74";
    const PaperPicture second = paint_paper(paper);
    std::vector<Mark> before, after;
    std::ranges::copy_if(first.marks, std::back_inserter(before), is_number);
    std::ranges::copy_if(second.marks, std::back_inserter(after), is_number);
    ASSERT_EQ(before.size(), 2u);
    ASSERT_EQ(after.size(), 2u);
    EXPECT_EQ(before[0].label + before[1].label, "47");
    EXPECT_EQ(after[0].label + after[1].label, "74");
    EXPECT_EQ(before[0].box.x1, after[0].box.x1);
    EXPECT_LE(before[0].box.x2, before[1].box.x1);
    int changed = 0;
    for (int y = 0; y < paper.height; ++y) {
      for (int x = 0; x < paper.width; ++x) {
        if (std::equal(rgb(first.picture, x, y), rgb(first.picture, x, y) + 3, rgb(second.picture, x, y)))
          continue;
        ++changed;
        EXPECT_TRUE(std::ranges::any_of(before,
                                        [&](const Mark& mark) {
                                          return x >= mark.box.x1 && x < mark.box.x2 && y >= mark.box.y1 &&
                                                 y < mark.box.y2;
                                        }))
            << x << ' ' << y;
      }
    }
    EXPECT_GT(changed, 40);
  }
}

// A bar is called by its name, and its box is as long as its value.
TEST(Paper, BarsAreMarkedAsLongAsTheirValues) {
  Paper chart;
  chart.title = "Sold today", chart.noun = "thing", chart.top = 100;
  chart.entries = {
      {Role::point, "cup", "20", 20}, {Role::point, "key", "40", 40}, {Role::point, "saw", "80", 80}};
  for (const PaperKind kind : {PaperKind::bars, PaperKind::rows}) {
    chart.kind = kind;
    std::map<std::string, int> length;
    for (const Mark& mark : paint_paper(chart).marks) {
      const int side = kind == PaperKind::bars ? mark.box.y2 - mark.box.y1 : mark.box.x2 - mark.box.x1;
      length[mark.label] = std::max(length[mark.label], side);
    }
    EXPECT_NEAR(length[" saw"], 4 * length[" cup"], 20 + 4);
    EXPECT_NEAR(length[" saw"], 2 * length[" key"], 4);
  }
}

// The room that names take decides how many pixels a unit has.
TEST(Paper, BarsOfOneUnitHaveAMark) {
  Paper chart;
  chart.title = "Things we need", chart.noun = "thing", chart.top = 100, chart.kind = PaperKind::rows;
  for (chart.width = 224; chart.width <= 280; ++chart.width) {
    chart.entries = {{Role::point, "screwdriver", "1", 1}, {Role::point, "alarm clock", "86", 86}};
    for (const Mark& mark : paint_paper(chart).marks) ASSERT_LT(mark.box.x1, mark.box.x2) << mark.label;
  }
}

}  // namespace
}  // namespace dvlm
