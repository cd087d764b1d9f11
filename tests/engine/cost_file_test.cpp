#include "engine/cost_file.h"

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "checkpoint/config.h"
#include "core/files.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;

const DraftEvidences kNoDrafts;

DraftEvidences some_drafts() {
  DraftEvidence evidence{{{0, 0}, {3.5, 4.25}}, {3.5, 4.25}, {}, {20, 4}};
  evidence.sure[10] = {1, 1};
  return {evidence, {}, evidence};
}

const PassCosts kCosts = {{{{1, 200.5}, {8, 210}, {32, 480}}}, {{{1, 60}, {31, 300.25}}}};

class Costs : public testing::Test {
 protected:
  std::filesystem::path path() const { return folder_.path() / "dvlm" / "costs.json"; }
  CostFile file() const { return CostFile(path()); }
  json content() const { return json::parse(read_file(path())); }

 private:
  TemporaryFolder folder_;
};

TEST_F(Costs, AreFoundUnderTheirKeyAndForSmallerBlocks) {
  EXPECT_FALSE(file().find("a", 8)) << "no file, no folder";
  file().keep("a", 32, kCosts, false, kNoDrafts);
  for (const int largest : {2, 32}) {
    const auto found = file().find("a", largest);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->costs.exact.points, kCosts.exact.points);
    EXPECT_EQ(found->costs.draft.points, kCosts.draft.points);
    EXPECT_TRUE(found->drafts[0][0].places.empty());
  }
  EXPECT_FALSE(file().find("a", 33));
  EXPECT_FALSE(file().find("b", 8));
  EXPECT_FALSE(file().find("", 8));
}

TEST_F(Costs, OfModelsWithoutApproximatePassesAreKept) {
  file().keep("a", 8, {kCosts.exact, {}}, false, kNoDrafts);
  const auto found = file().find("a", 8);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->costs.exact.points, kCosts.exact.points);
  EXPECT_TRUE(found->costs.draft.points.empty());
}

TEST_F(Costs, StandBesideWhatDraftsWereWorth) {
  EXPECT_TRUE(file().keep("b", 32, kCosts, false, kNoDrafts));
  EXPECT_TRUE(file().keep("a", 32, kCosts, true, some_drafts()));
  EXPECT_TRUE(file().keep("a", 64, kCosts, false, kNoDrafts)) << "says nothing of those with a grammar";
  const auto found = file().find("a", 64);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->largest, 64);
  for (const DraftEvidence& plain : found->drafts[0]) EXPECT_EQ(plain.all.seen, 0);
  const DraftEvidence& kept = found->drafts[1][2];
  ASSERT_EQ(kept.places.size(), 2u);
  EXPECT_EQ(kept.places[1].right, 3.5);
  EXPECT_EQ(kept.places[1].seen, 4.25);
  EXPECT_EQ(kept.all.seen, 4.25);
  EXPECT_EQ(kept.sure[10].right, 1);
  EXPECT_EQ(kept.left_out.right, 20);
  EXPECT_EQ(found->drafts[1][1].all.seen, 0);
  EXPECT_EQ(file().drafts_of("a")[1][2].all.seen, 4.25);
  EXPECT_EQ(file().drafts_of("c")[1][2].all.seen, 0);
  DraftEvidences shorter = some_drafts();
  shorter[2].places.resize(1);
  EXPECT_TRUE(file().keep("a", 64, kCosts, true, shorter));
  EXPECT_EQ(file().drafts_of("a")[1][2].places.at(1).right, 3.5)
      << "smaller blocks say nothing of further places";
  EXPECT_TRUE(file().keep("\xff", 8, kCosts, false, kNoDrafts)) << "whatever processors are called";
  EXPECT_EQ(file().find("b", 8)->drafts[1][2].all.seen, 0);
}

TEST_F(Costs, OfLargerBlocksStayUntilTheyAreOld) {
  file().keep("a", 64, kCosts, false, kNoDrafts);
  const PassCosts smaller{{{{1, 100}, {24, 150}}}, {}};
  EXPECT_TRUE(file().keep("a", 8, smaller, true, some_drafts()));
  const auto found = file().find("a", 64);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->costs.exact.points, kCosts.exact.points);
  EXPECT_EQ(found->drafts[1][2].all.seen, 4.25);
  json changed = content();
  changed["entries"][0]["measured"] = 5;
  write_file(path(), changed.dump());
  EXPECT_TRUE(file().keep("a", 8, smaller, true, some_drafts()));
  const auto newer = file().find("a", 8);
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->largest, 8);
}

TEST_F(Costs, OfPassesThatAreTooWideForTheFileAreLeftOut) {
  PassCosts wide = kCosts;
  wide.exact.points.push_back({5000, 9000});
  EXPECT_TRUE(file().keep("a", 32, wide, false, kNoDrafts));
  const auto found = file().find("a", 32);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->costs.exact.points, kCosts.exact.points);
}

TEST_F(Costs, ThatNobodySawStayGuesses) {
  const PassCosts costs{{{{1, 200}, {8, 200, 2}, {32, 300, 1}}}, {}};
  file().keep("a", 32, costs, false, kNoDrafts);
  EXPECT_EQ(file().find("a", 32)->costs.exact.points, costs.exact.points);
  json older = content();
  for (json& point : older["entries"][0]["exact"]) point.erase(2);
  write_file(path(), older.dump());
  EXPECT_EQ(file().find("a", 32)->costs.exact.points[1].unseen, 0) << "a file from before there were any";
}

TEST_F(Costs, OfAsManyModelsAndAsLargeBlocksAsThereCanBeFitTheFile) {
  const DraftEvidence::Count count{12.3456, 14.2857};
  DraftEvidence full{std::vector<DraftEvidence::Count>(kMaxBlockSize, count), count, {}, count};
  full.sure.fill(count);
  for (size_t i = 0; i < CostFile::kMost; ++i) {
    const std::string key = std::string(200, 'k') + std::to_string(i);
    for (const bool grammar : {false, true})
      ASSERT_TRUE(file().keep(key, kMaxBlockSize, kCosts, grammar, {full, full, full})) << i;
  }
  EXPECT_TRUE(file().find(std::string(200, 'k') + "0", kMaxBlockSize));
}

TEST_F(Costs, OfOneKeyReplaceEachOtherAndOldOnesLeave) {
  for (size_t i = 0; i < CostFile::kMost + 2; ++i)
    file().keep(std::to_string(i), 8, kCosts, false, kNoDrafts);
  EXPECT_EQ(content()["entries"].size(), CostFile::kMost);
  EXPECT_FALSE(file().find("1", 8));
  EXPECT_TRUE(file().find("2", 8));
  file().keep("2", 16, kCosts, false, kNoDrafts);
  EXPECT_EQ(content()["entries"].size(), CostFile::kMost);
  EXPECT_TRUE(file().find("2", 16));
}

TEST_F(Costs, AreLearntAnewAfterAMonth) {
  file().keep("a", 8, kCosts, false, kNoDrafts);
  json changed = content();
  changed["entries"][0]["measured"] = std::time(nullptr) - CostFile::kDays * 24 * 3600 - 1;
  write_file(path(), changed.dump());
  EXPECT_FALSE(file().find("a", 8));
  changed["entries"][0]["measured"] = std::time(nullptr) + 1000;
  write_file(path(), changed.dump());
  EXPECT_FALSE(file().find("a", 8)) << "from the future";
}

TEST_F(Costs, ThatAreDamagedAreNotBelievedAndNotTouched) {
  file().keep("a", 8, kCosts, false, some_drafts());
  const json good = content();
  const auto broken = [&](const char* place, const json& value) {
    json changed = good;
    changed[json::json_pointer(place)] = value;
    return changed.dump();
  };
  for (const std::string& text : {std::string("not json"),
                                  std::string("[]"),
                                  good.dump().substr(0, 60),
                                  broken("/dvlm", "something else"),
                                  broken("/entries", 5),
                                  broken("/entries/0/key", 5),
                                  broken("/entries/0/largest", 0),
                                  broken("/entries/0/exact", json::array()),
                                  broken("/entries/0/measured", INT64_MIN),
                                  broken("/entries/0/largest", 1e300),
                                  broken("/entries/0/exact/0/0", 1e300),
                                  broken("/entries/0/exact/0/0", 0),
                                  broken("/entries/0/exact/1/0", 1),
                                  broken("/entries/0/exact/1/1", 3),
                                  broken("/entries/0/draft/0/1", -1),
                                  broken("/entries/0/draft/0/2", -1),
                                  broken("/entries/0/draft/0/2", 100),
                                  broken("/entries/0/draft/0", json::array()),
                                  broken("/entries/0/draft/0/1", "x"),
                                  broken("/entries/0/drafts", json::array()),
                                  broken("/entries/0/drafts/1", json::array()),
                                  broken("/entries/0/drafts/0/0/places/1/0", 5),
                                  broken("/entries/0/drafts/0/0/places/1/1", 1e300),
                                  broken("/entries/0/drafts/0/0/places", "x"),
                                  broken("/entries/0/drafts/0/0/sure", json::array()),
                                  broken("/entries/0/drafts/0/2/all/0", -1),
                                  broken("/entries/0/drafts/0/2/left_out", 3)}) {
    write_file(path(), text);
    testing::internal::CaptureStderr();
    EXPECT_FALSE(file().find("a", 8)) << text;
    EXPECT_NE(testing::internal::GetCapturedStderr().find("costs.json"), std::string::npos) << text;
    EXPECT_FALSE(file().keep("a", 8, kCosts, false, some_drafts()));
    EXPECT_EQ(read_file(path()), text);
  }
}

TEST_F(Costs, ThatCannotBeKeptCostAWarning) {
  write_file(path().parent_path().parent_path() / "file", "");
  const CostFile under_a_file(path().parent_path().parent_path() / "file" / "costs.json");
  testing::internal::CaptureStderr();
  under_a_file.keep("a", 8, kCosts, false, kNoDrafts);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("not kept"), std::string::npos);
  CostFile({}).keep("a", 8, kCosts, false, kNoDrafts);
  EXPECT_FALSE(CostFile({}).find("a", 8));
}

}  // namespace
}  // namespace dvlm
