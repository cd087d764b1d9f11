#include "train/regions.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "run_fixture.h"

namespace dvlm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Fixture {
  toy::RunFixture run{1};
  Tokenizer tokenizer{run.folder / "model"};
  ModelConfig config = read_config(run.folder / "model");

  // A picture of 80 x 40 pixels that the model sees as 4 x 2 tokens.
  static Patches picture() {
    Patches patches;
    patches.grid = {1, 4, 8};
    patches.original = {40, 80};
    return patches;
  }
  std::vector<RegionToken> find(const std::vector<Region>& regions, size_t pictures = 1) const {
    const Patches patches = picture();
    const std::vector<const Patches*> all(pictures, &patches);
    std::vector<TokenId> ids(3, 5);
    for (size_t p = 0; p < pictures; ++p) {
      ids.insert(ids.end(), 8, config.image_token);
      ids.insert(ids.end(), 2, 5);
    }
    return region_tokens(ids, regions, all, tokenizer, config);
  }
};

std::vector<int> places(const std::vector<RegionToken>& tokens) {
  std::vector<int> at(tokens.size());
  std::transform(tokens.begin(), tokens.end(), at.begin(), [](const RegionToken& token) { return token.at; });
  return at;
}

TEST(Regions, CoverTheTokensWhoseCentresTheyHold) {
  const Fixture f;
  // Token centres: x = 10, 30, 50, 70; y = 10, 30. The first token is number 3.
  EXPECT_THAT(places(f.find({{0, 0, 40, 20, "key"}})), ElementsAre(3, 4));
  EXPECT_THAT(places(f.find({{31, 0, 51, 40, "key"}})), ElementsAre(5, 9));
  EXPECT_THAT(places(f.find({{11, 11, 29, 29, "key"}})), ElementsAre());
  EXPECT_THAT(places(f.find({{0, 0, 20, 20, "key", 1}}, 2)), ElementsAre(13));
}

TEST(Regions, OverlappingOnesAddTheirWords) {
  const Fixture f;
  const auto tokens = f.find({{0, 0, 80, 40, "top left"}, {60, 20, 80, 40, "red star"}});
  ASSERT_EQ(tokens.size(), 8u);
  const auto text = [&](const RegionToken& token) { return f.tokenizer.decode(token.words, false); };
  EXPECT_EQ(text(tokens[0]), "top left");
  EXPECT_EQ(text(tokens[7]), "top leftred star");
}

TEST(Regions, HaveSoManyWordsInAll) {
  const Fixture f;
  const Region all{0, 0, 80, 40, "red star on a table"};
  const size_t words = f.tokenizer.encode(all.label, ControlTokens::as_text).size();
  const std::vector<Region> most(65536 / (8 * words), all);
  EXPECT_EQ(f.find(most).size(), 8u);
  std::vector<Region> more = most;
  more.insert(more.end(), 8, all);
  EXPECT_THAT(toy::error_of([&] { f.find(more); }), HasSubstr("more than 65536"));
}

TEST(Regions, ErrorsNameTheFault) {
  const auto error = [](const char* regions, size_t pictures = 1) {
    return toy::error_of([&] { parse_regions({{"regions", nlohmann::json::parse(regions)}}, pictures); });
  };
  EXPECT_TRUE(parse_regions(nlohmann::json::object(), 0).empty());
  EXPECT_THAT(error("{}"), HasSubstr("list"));
  EXPECT_THAT(error("[3]"), HasSubstr("object"));
  EXPECT_THAT(error(R"([{"label":"x"}])"), HasSubstr("bbox_2d"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1],"label":"x"}])"), HasSubstr("bbox_2d"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,"1"],"label":"x"}])"), HasSubstr("numbers"));
  EXPECT_THAT(error(R"([{"bbox_2d":[5,0,1,1],"label":"x"}])"), HasSubstr("x1 < x2"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,1]}])"), HasSubstr("label"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,1],"label":""}])"), HasSubstr("label"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,1],"label":"x","image":1}])"), HasSubstr("1 pictures"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,1],"label":"x","image":-1}])"), HasSubstr("image"));
  EXPECT_THAT(error(R"([{"bbox_2d":[0,0,1,1],"label":"x"}])", 0), HasSubstr("no picture"));
}

TEST(Regions, ScoreEveryWordAtItsTokenOfTheCleanStream) {
  Sample sample = toy::two_turns();
  toy::add_picture(sample, toy::small_config().vision);
  sample.regions = {{4, {40}}, {6, {41, 42}}};
  const Layout layout = make_layout(32, sample.answers, 4);
  Row row = make_row(sample, layout, std::vector<MaskedFlags>(1, MaskedFlags(32, 0)), toy::tokens(), {});
  score_regions(row, sample);
  using S = Row::Scored;  // 27 tokens of the noisy copy come first
  EXPECT_THAT(row.regions, ElementsAre(S{27 + 4, 40}, S{27 + 6, 41}, S{27 + 6, 42}));
}

TEST(Regions, ReachTheSampleThroughTheDataFile) {
  const Fixture f;
  nlohmann::json line = nlohmann::json::parse(
      R"({"messages":[{"role":"user","content":[{"type":"image","image":"pictures/0.ppm"},
      {"type":"text","text":"?"}]},{"role":"assistant","content":"x"}]})");
  line["regions"] = {{{"bbox_2d", {0, 0, 28, 28}}, {"label", "red star"}}};
  const auto path = f.run.folder / "data/data.jsonl";
  const SampleContext context{f.tokenizer, f.config, answer_markers(f.tokenizer), 256};
  toy::write_text(path, line.dump() + "\n");
  const Sample sample = Dataset({DataSource{path.string()}}).load(0, context);
  ASSERT_EQ(sample.regions.size(), 1u);
  EXPECT_EQ(sample.ids[static_cast<size_t>(sample.regions[0].at)], f.config.image_token);
  EXPECT_EQ(f.tokenizer.decode(sample.regions[0].words, false), "red star");
  line["regions"][0]["bbox_2d"] = "all";
  toy::write_text(path, line.dump() + "\n");
  EXPECT_THAT(toy::error_of([&] { Dataset({DataSource{path.string()}}).load(0, context); }),
              HasSubstr("line 1"));
}

}  // namespace
}  // namespace dvlm
