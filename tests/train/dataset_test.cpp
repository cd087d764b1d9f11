#include "train/dataset.h"

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <set>

#include "run_fixture.h"
#include "train/step_loader.h"

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
    return toy::error_of([&] { Dataset({DataSource{path()}}).load(0, context()); });
  }
};

TEST(Dataset, ReadsPicturesAndAnswersOfALine) {
  const Data data;
  const Sample sample = Dataset({DataSource{data.path()}}).load(1, data.context());
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
  const Sample sample = Dataset({DataSource{data.path()}}).load(0, data.context());
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
      "on the network");
}

TEST(Dataset, EmptyOrMissingFilesAreRefused) {
  const Data data;
  toy::write_text(data.path(), "\n  \n");
  EXPECT_THAT(toy::error_of([&] { Dataset({DataSource{data.path()}}); }), HasSubstr("data.jsonl"));
  EXPECT_THAT(toy::error_of([&] { Dataset({DataSource{data.path() + "x"}}); }), HasSubstr("data.jsonlx"));
}

TEST(Dataset, LongSamplesAreCutAndPicturesNeverInHalf) {
  const Data data;
  const Dataset dataset({DataSource{data.path()}});
  const Sample whole = dataset.load(1, data.context());
  const int shorter = whole.answers[0].begin + 3;
  const Sample cut = dataset.load(1, data.context(shorter));
  EXPECT_FALSE(cut.shrunk);
  EXPECT_EQ(cut.ids.size(), static_cast<size_t>(shorter));
  ASSERT_EQ(cut.answers.size(), 1u);
  EXPECT_EQ(cut.answers[0].size(), 3);
  EXPECT_TRUE(dataset.load(1, data.context(10)).ids.empty());
}

std::vector<BatchOrder::Batch> epoch_of(BatchOrder& order, int64_t epoch) {
  std::vector<BatchOrder::Batch> out;
  for (int64_t i = 0; i < order.per_epoch(); ++i) out.push_back(order.batch(epoch, i));
  return out;
}

// Of this process, in bytes, from when it is made.
class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << 5;
    before_ = now();
  }
  size_t grown() const { return now() - before_; }

 private:
  static size_t now() {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;)
      if (size_t kib = 0; word == "VmHWM:" && file >> kib) return kib * 1024;
    return 0;
  }
  size_t before_ = 0;
};

nlohmann::json record_of(const std::vector<nlohmann::json>& parts) {
  nlohmann::json content = parts;
  content.push_back({{"type", "text"}, {"text", "What?"}});
  return {{"messages",
           {{{"role", "user"}, {"content", content}}, {{"role", "assistant"}, {"content", "It is dark."}}}}};
}

TEST(Dataset, PicturesTakeNoMoreMemoryForBeingManyOrEnlarged) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer keeps four bytes of its own for each byte of a picture";
#endif
  const Data data(1);
  const std::filesystem::path large = data.fixture.folder / "data/large.ppm";
  const std::string head = "P6\n5000 5000\n255\n";
  toy::write_text(large, head);
  std::filesystem::resize_file(large, head.size() + 75'000'000);  // black
  const nlohmann::json plain = {{"type", "image"}, {"image", "large.ppm"}},
                       enlarged = {{"type", "image"},
                                   {"image", "pictures/0.ppm"},
                                   {"min_pixels", 200'000'000},
                                   {"max_pixels", 200'000'000}};
  const std::vector<std::vector<nlohmann::json>> records = {std::vector(10, plain), std::vector(3, enlarged)};
  toy::write_text(data.path(), record_of(records[0]).dump() + "\n" + record_of(records[1]).dump() + "\n");
  const Dataset dataset({DataSource{data.path()}});
  for (size_t i = 0; i < records.size(); ++i) {
    const PeakMemory peak;
    const Sample sample = dataset.load(static_cast<int64_t>(i), data.context());
    EXPECT_TRUE(sample.shrunk);
    EXPECT_LE(sample.ids.size(), 256u);
    EXPECT_EQ(sample.visuals.size(), records[i].size());
    EXPECT_LT(peak.grown(), size_t{600} << 20) << "record " << i;
  }
}

TEST(Dataset, FramesThatAreTooManyAreNotMadeAtTheirSize) {
  const Data data(1);
  toy::write_text(data.path(), record_of({{{"type", "video"},
                                           {"video", std::vector<std::string>(64, "pictures/0.ppm")},
                                           {"min_pixels", 1'000'000},
                                           {"max_pixels", 1'000'000}}})
                                       .dump() +
                                   "\n");
  const Dataset dataset({DataSource{data.path()}});
  const PeakMemory peak;
  const Sample sample = dataset.load(0, data.context());
  EXPECT_TRUE(sample.shrunk);
  EXPECT_LE(sample.ids.size(), 256u);
  EXPECT_EQ(sample.visuals.at(0).grid.t, 32);
  EXPECT_LT(peak.grown(), size_t{200} << 20);
}

TEST(Epochs, HoldEverySampleOnceInAnOrderOfTheirOwn) {
  const Data data(150);
  const Dataset dataset({DataSource{data.path()}});
  const SampleContext context = data.context();
  BatchOrder order(dataset, context, 2, 1);
  const auto first = epoch_of(order, 0), second = epoch_of(order, 1);
  std::set<int64_t> records, places;
  int64_t spread = 0;
  for (const auto& batch : first) {
    for (const Dataset::Draw& draw : batch) records.insert(draw.record), places.insert(draw.place);
    spread += std::abs(dataset.length(batch.front().record, context) -
                       dataset.length(batch.back().record, context));
  }
  EXPECT_EQ(first.size(), 75u);
  EXPECT_EQ(records.size(), 150u);
  EXPECT_EQ(places.size(), 150u);
  EXPECT_LE(spread, 10) << "samples of a batch have similar lengths";
  EXPECT_NE(first, second);
  EXPECT_EQ(first, epoch_of(order, 0)) << "whatever was asked for before";
  BatchOrder other_seed(dataset, context, 2, 2);
  EXPECT_NE(first, epoch_of(other_seed, 0));
}

TEST(Epochs, OnlyTheLastBatchIsIncomplete) {
  const Data data(131);
  const Dataset dataset({DataSource{data.path()}});
  const SampleContext context = data.context();
  BatchOrder order(dataset, context, 4, 1);
  const auto batches = epoch_of(order, 0);
  for (size_t i = 0; i + 1 < batches.size(); ++i) EXPECT_EQ(batches[i].size(), 4u);
  EXPECT_EQ(batches.back().size(), 3u);
}

TEST(Epochs, WeightsRepeatRecordsAndDrawSomeOfThemAnew) {
  const Data data(20);
  const std::string path = data.path();
  const Dataset dataset(
      {DataSource{.path = path, .weight = 2.5, .limit = 8}, DataSource{.path = path, .weight = 0.25}});
  EXPECT_EQ(dataset.size(), 28);
  ASSERT_EQ(dataset.epoch_size(), 25);
  std::set<std::set<int64_t>> chosen;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::map<int64_t, int> times;
    std::set<int64_t> places, thrice;
    for (const Dataset::Draw& draw : dataset.epoch_order(1, epoch))
      ++times[draw.record], places.insert(draw.place);
    EXPECT_EQ(places.size(), 25u) << "each has noise of its own";
    for (int64_t i = 0; i < 8; ++i) {
      EXPECT_TRUE(times[i] == 2 || times[i] == 3);
      if (times[i] == 3) thrice.insert(i);
    }
    EXPECT_EQ(thrice.size(), 4u);
    chosen.insert(thrice);
  }
  EXPECT_GT(chosen.size(), 1u);
}

TEST(Dataset, ItsFingerprintIsThatOfTheContent) {
  const Data data;
  const auto fingerprint = [](const std::string& path) { return Dataset({DataSource{path}}).fingerprint(); };
  const std::string before = fingerprint(data.path()), copy = (data.fixture.folder / "copy.jsonl").string();
  std::filesystem::copy_file(data.path(), copy);
  EXPECT_EQ(fingerprint(copy), before);
  std::ofstream(copy, std::ios::app) << R"({"messages": []})" << '\n';
  EXPECT_NE(fingerprint(copy), before);
}

TEST(StepLoader, GivesAnyStepWithoutThoseBeforeWhoeverReadsIt) {
  const Data data;
  const Dataset dataset({DataSource{data.path()}});
  LoaderOptions options{.batch_size = 2, .passes = 2, .seed = 1};
  StepLoader from_start(dataset, data.context(), options, 0);
  options.threads = 3;
  StepLoader from_third(dataset, data.context(), options, 3);
  options.first = 1, options.every = 2;
  StepLoader of_second_process(dataset, data.context(), options, 3);
  for (int i = 0; i < 3; ++i) from_start.next();
  for (int i = 0; i < 4; ++i) {  // crosses into the second epoch
    const StepLoader::Step a = from_start.next(), b = from_third.next(), part = of_second_process.next();
    EXPECT_EQ(a.epoch, b.epoch);
    ASSERT_EQ(part.batches.size(), 1u);
    ASSERT_EQ(part.batches[0].size(), a.batches[1].size());
    for (size_t j = 0; j < part.batches[0].size(); ++j)
      EXPECT_EQ(part.batches[0][j].draw, a.batches[1][j].draw);
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

// The kinds of docs/data.md.
TEST(StepLoader, EveryKindOfBadRecordIsLeftOutByName) {
  const Data data(3);
  toy::write_text(data.fixture.folder / "data/broken.png", "\x89PNG\r\n\x1a\n and no more");
  const auto asked = [](const std::string& question, const std::string& answer,
                        const std::string& rest = "") {
    return R"({"messages": [{"role": "user", "content": ")" + question +
           R"("}, {"role": "assistant", "content": ")" + answer + "\"}]" + rest + "}";
  };
  const std::string deep(70, '['), deep_end(70, ']');
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"{\"messages\": [", "JSON"},
      {R"({"messages": [], "messages": []})", "twice"},
      {"{\"messages\": " + deep + deep_end + "}", "64 levels"},
      {"[1]", "an object"},
      {R"({"text": "What?"})", "\"messages\" or \"conversations\""},
      {asked("What?", "x", R"(, "conversations": [])"), "not both"},
      {R"({"messages": [{"role": "critic", "content": "What?"}]})", "the role \"critic\""},
      {R"({"messages": [{"role": "user", "content": [{"type": "audio"}]}]})", "the type \"audio\""},
      {R"({"messages": [{"role": "user", "content": "What?", "loss": false}]})", "\"loss\""},
      {R"({"messages": [{"role": "user", "content": "What?"}]})", "no assistant answer"},
      {asked("What?", "\\nNothing."), "line break"},
      {asked("What?", "<image>", R"(, "images": ["pictures/0.ppm"])"), "an answer holds a picture"},
      {asked("<image>What?", "x", R"(, "images": ["gone.png"])"), "gone.png"},
      {asked("<image>What?", "x", R"(, "images": ["broken.png"])"), "broken.png"},
      {asked("<image>What?", "x", R"(, "images": ["/dev/zero"])"), "not a regular file"},
      {asked("<image>What?", "x", R"(, "images": ["https://example.com/a.png"])"), "on the network"},
      {asked("<image><image>?", "x", R"(, "images": ["pictures/0.ppm"])"), "more <image> than the 1"},
      {asked("<image>?", "x", R"(, "images": ["pictures/0.ppm", "pictures/1.ppm"])"), "2 images are listed"},
      {asked("What?", "x", R"(, "image_path": "pictures/0.ppm")"), "looks like pictures"},
      {asked("Where?", "[1, 2, 3, 4]"), "before any picture"},
      {asked(
           "<image>?", "x",
           R"(, "images": ["pictures/0.ppm"], "regions": [{"bbox_2d": [0, 0, 9, 9], "label": "x", "image": 1}])"),
       "one of the 1 pictures"},
  };
  std::string lines;
  for (const auto& kind : kinds) lines += kind.first + "\n";
  std::ofstream(data.path(), std::ios::app) << lines;
  const Dataset dataset({DataSource{.path = data.path(), .box_format = "pixels"}});
  StepLoader loader(dataset, data.context(), {.batch_size = 100}, 0);
  const StepLoader::Step step = loader.next();
  EXPECT_EQ(step.batches.at(0).size(), 3u) << "the others are read";
  EXPECT_EQ(step.dropped, 0);
  std::map<int64_t, std::string> why(step.bad.begin(), step.bad.end());
  ASSERT_EQ(why.size(), kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i)
    EXPECT_THAT(
        why[static_cast<int64_t>(i) + 3],
        AllOf(HasSubstr("data.jsonl line " + std::to_string(i + 4) + ": "), HasSubstr(kinds[i].second)));
}

TEST(StepLoader, LeavesOutBadRecordsUpToAShare) {
  const Data data(50);
  std::ofstream(data.path(), std::ios::app) << "{}\n";
  const Dataset dataset({DataSource{data.path()}});
  const auto read = [&](double share) {
    StepLoader loader(dataset, data.context(), {.batch_size = 3}, 0);
    BadRecords bad(dataset.size(), share);
    size_t samples = 0;
    for (int i = 0; i < 2 * 17; ++i) {  // two epochs
      const StepLoader::Step step = loader.next();
      samples += step.batches[0].size();
      for (const auto& [record, why] : step.bad) {
        EXPECT_EQ(loader.problem_of(record), why);
        if (!bad.holds(record)) bad.add(record, why, true);
      }
    }
    EXPECT_EQ(bad.count(), 1) << "counted once";
    return samples;
  };
  EXPECT_EQ(read(0.02), 100u);
  EXPECT_THAT(toy::error_of([&] { read(0.01); }), AllOf(HasSubstr("1 of 51 records"), HasSubstr("line 51")));
}

}  // namespace
}  // namespace dvlm
