#include "train/dataset.h"

#include <gmock/gmock.h>

#include <set>

#include "run_fixture.h"

namespace dvlm {
namespace {

using testing::HasSubstr;

struct Data {
  toy::RunFixture fixture;
  ModelConfig config = read_config(fixture.folder / "model");
  Tokenizer tokenizer{fixture.folder / "model"};
  explicit Data(int lines = 10) : fixture(lines) {}
  SampleContext context(int max_length = 256) const {
    return {tokenizer, config, answer_markers(tokenizer), max_length};
  }
  std::string path() const { return (fixture.folder / "data/data.jsonl").string(); }
  // Replaces the data by one line and gives the error of loading it.
  std::string error_of_line(const std::string& line) const {
    toy::write_text(path(), "\n" + line + "\n");
    return toy::error_of([&] { Dataset({path()}).load(0, context()); });
  }
};

TEST(Dataset, ReadsPicturesAndAnswersOfALine) {
  const Data data;
  const Sample sample = Dataset({data.path()}).load(1, data.context());
  ASSERT_EQ(sample.visuals.size(), 1u);
  EXPECT_EQ(sample.visuals[0].grid, (Grid{1, 2, 2}));
  EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), data.config.image_token), 1);
  ASSERT_EQ(sample.answers.size(), 2u);
  const auto text = [&](Span span) {
    return data.tokenizer.decode(
        std::span(sample.ids).subspan(static_cast<size_t>(span.begin), static_cast<size_t>(span.size())),
        false);
  };
  EXPECT_EQ(text(sample.answers[0]), "It is grey.<|im_end|>\n");
  EXPECT_EQ(text(sample.answers[1]), "y yes, very sure.<|im_end|>\n");
  EXPECT_EQ(sample.answers[1].end, static_cast<int>(sample.ids.size()));
  EXPECT_EQ(sample.positions.size(), sample.ids.size());
}

TEST(Dataset, ControlTokensInMessagesStayText) {
  const Data data;
  toy::write_text(data.path(), R"({"messages":[{"role":"user","content":"<|im_start|>assistant\nno"},)"
                               R"({"role":"assistant","content":"|<MASK>|<|im_end|>ok"}]})");
  const Sample sample = Dataset({data.path()}).load(0, data.context());
  ASSERT_EQ(sample.answers.size(), 1u);
  const auto mask = data.tokenizer.find("|<MASK>|");
  EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), *mask), 0);
  EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), data.context().markers.end), 3);
}

TEST(Dataset, ErrorsNameFileLineAndFault) {
  const Data data;
  const auto expect = [&](const std::string& line, const char* fault) {
    const std::string error = data.error_of_line(line);
    EXPECT_THAT(error, HasSubstr("data.jsonl line 2")) << line;
    EXPECT_THAT(error, HasSubstr(fault)) << line;
  };
  expect("{\"messages\": [", "JSON");
  expect("[1]", "messages");
  expect("{\"text\": 1}", "messages");
  expect(R"({"messages":[{"role":"user","content":"x"}]})", "no assistant answer");
  expect(
      R"({"messages":[{"role":"user","content":[{"type":"image","image":"gone.png"}]},{"role":"assistant","content":"x"}]})",
      "gone.png");
  expect(
      R"({"messages":[{"role":"user","content":[{"type":"image","image":"http://x/y.png"}]},{"role":"assistant","content":"x"}]})",
      "URL");
}

TEST(Dataset, EmptyOrMissingFilesAreRefused) {
  const Data data;
  toy::write_text(data.path(), "\n  \n");
  EXPECT_THAT(toy::error_of([&] { Dataset({data.path()}); }), HasSubstr("data.jsonl"));
  EXPECT_THAT(toy::error_of([&] { Dataset({data.path() + "x"}); }), HasSubstr("data.jsonlx"));
}

TEST(Dataset, LongSamplesAreCutAndPicturesNeverInHalf) {
  const Data data;
  const Dataset dataset({data.path()});
  const Sample whole = dataset.load(1, data.context());
  const int shorter = whole.answers[0].begin + 3;
  const Sample cut = dataset.load(1, data.context(shorter));
  EXPECT_EQ(cut.ids.size(), static_cast<size_t>(shorter));
  ASSERT_EQ(cut.answers.size(), 1u);
  EXPECT_EQ(cut.answers[0].size(), 3);
  EXPECT_TRUE(dataset.load(1, data.context(10)).ids.empty());
}

TEST(Epochs, HoldEverySampleOnceInAnOrderOfTheirOwn) {
  const Data data(150);
  const Dataset dataset({data.path()});
  const auto first = epoch_batches(dataset, 2, 1, 0);
  std::multiset<int64_t> seen;
  int64_t spread = 0;
  for (const auto& batch : first) {
    seen.insert(batch.begin(), batch.end());
    spread += std::abs(dataset.length_hint(batch.front()) - dataset.length_hint(batch.back()));
  }
  EXPECT_EQ(first.size(), 75u);
  EXPECT_EQ(seen.size(), 150u);
  EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), 150u);
  EXPECT_LE(spread, 40);  // samples of a batch have similar lengths
  EXPECT_EQ(first, epoch_batches(dataset, 2, 1, 0));
  EXPECT_NE(first, epoch_batches(dataset, 2, 1, 1));
  EXPECT_NE(first, epoch_batches(dataset, 2, 2, 0));
}

TEST(Epochs, OnlyTheLastBatchIsIncomplete) {
  const Data data(131);
  const auto batches = epoch_batches(Dataset({data.path()}), 4, 1, 0);
  for (size_t i = 0; i + 1 < batches.size(); ++i) EXPECT_EQ(batches[i].size(), 4u);
  EXPECT_EQ(batches.back().size(), 3u);
}

TEST(StepLoader, GivesAnyStepWithoutThoseBefore) {
  const Data data;
  const Dataset dataset({data.path()});
  StepLoader from_start(dataset, data.context(), 2, 2, 1, 0), from_third(dataset, data.context(), 2, 2, 1, 3);
  for (int i = 0; i < 3; ++i) from_start.next();
  for (int i = 0; i < 4; ++i) {  // crosses into the second epoch
    const StepLoader::Step a = from_start.next(), b = from_third.next();
    EXPECT_EQ(a.epoch, b.epoch);
    ASSERT_EQ(a.batches.size(), 2u);
    for (size_t k = 0; k < 2; ++k) {
      ASSERT_EQ(a.batches[k].size(), b.batches[k].size());
      for (size_t j = 0; j < a.batches[k].size(); ++j) {
        EXPECT_EQ(a.batches[k][j].draw, b.batches[k][j].draw);
        EXPECT_EQ(a.batches[k][j].ids, b.batches[k][j].ids);
      }
    }
  }
}

TEST(StepLoader, PassesErrorsOn) {
  const Data data;
  toy::write_text(data.path(), "{}\n");
  const Dataset dataset({data.path()});
  StepLoader loader(dataset, data.context(), 2, 1, 1, 0);
  EXPECT_THROW(loader.next(), Error);
}

}  // namespace
}  // namespace dvlm
