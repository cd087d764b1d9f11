#include "synth/dataset.h"

#include <gmock/gmock.h>
#include <png.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class SynthDataset : public testing::Test {
 protected:
  SynthDataset() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / (std::string("dvlm_synth_") + info->name());
    fs::remove_all(folder_);
  }
  ~SynthDataset() override { fs::remove_all(folder_); }

  SynthOptions options(const char* name, Split split, int64_t count) const {
    SynthOptions options;
    options.output = folder_ / name;
    options.split = split, options.count = count;
    options.conversations = split == Split::train;
    return options;
  }
  static std::vector<json> lines(const SynthOptions& options) {
    std::istringstream stream(read_file(options.output / "data.jsonl"));
    std::vector<json> all;
    for (std::string line; std::getline(stream, line);) all.push_back(json::parse(line));
    return all;
  }

  fs::path folder_;
};

TEST_F(SynthDataset, SameSeedSameBytesWhateverTheThreadsAndTheCount) {
  SynthOptions one = options("one", Split::train, 12), two = options("two", Split::train, 30);
  two.threads = 3;
  EXPECT_EQ(write_dataset(one), 12);
  EXPECT_EQ(write_dataset(two), 30);
  const std::string text = read_file(one.output / "data.jsonl");
  EXPECT_EQ(text, read_file(two.output / "data.jsonl").substr(0, text.size()));
  for (const auto& entry : fs::directory_iterator(one.output / "images"))
    EXPECT_EQ(read_file(entry.path()), read_file(two.output / "images" / entry.path().filename()));
}

TEST_F(SynthDataset, FirstContinuesASet) {
  SynthOptions all = options("all", Split::train, 10), rest = options("rest", Split::train, 4);
  all.images = rest.images = false, rest.first = 6;
  write_dataset(all), write_dataset(rest);
  const auto expected = lines(all), got = lines(rest);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(got[i], expected[i + 6]);
}

TEST_F(SynthDataset, TrainLinesAreConversationsAboutOnePicture) {
  const SynthOptions train = options("train", Split::train, 40);
  write_dataset(train);
  for (const json& line : lines(train)) {
    const json& messages = line["messages"];
    ASSERT_EQ(messages.size(), 2 * line["types"].size());
    EXPECT_GE(line["types"].size(), 6u);
    EXPECT_LE(line["types"].size(), 8u);
    EXPECT_EQ(messages[0]["content"][0]["type"], "image");
    EXPECT_TRUE(fs::exists(train.output / messages[0]["content"][0]["image"].get<std::string>()));
    EXPECT_EQ(messages[2]["content"].size(), 1u) << "the picture comes once";
    for (size_t i = 0; i < messages.size(); ++i)
      EXPECT_EQ(messages[i]["role"], i % 2 == 0 ? "user" : "assistant");
    EXPECT_GE(line["scene"]["objects"].size(), 2u);
  }
}

TEST_F(SynthDataset, TestLinesAreSingleQuestionsOfEveryTypeEquallyOften) {
  SynthOptions test = options("test", Split::test, 10 * kSceneTypes);
  test.images = false;
  write_dataset(test);
  std::map<std::string, int> types;
  for (const json& line : lines(test)) {
    EXPECT_EQ(line["messages"].size(), 1u);
    EXPECT_FALSE(line["answer"].get<std::string>().empty());
    ++types[line["type"].get<std::string>()];
  }
  EXPECT_EQ(types.size(), static_cast<size_t>(kSceneTypes));
  for (const auto& [type, count] : types) EXPECT_EQ(count, 10) << type;
}

TEST_F(SynthDataset, TypesCanBeChosen) {
  SynthOptions test = options("test", Split::test, 8);
  test.images = false, test.types = {QuestionType::read, QuestionType::plan};
  write_dataset(test);
  for (const json& line : lines(test)) EXPECT_THAT(line["type"], testing::AnyOf("read", "plan"));
}

// A test line says itself how its answer is compared, and whether it is long.
TEST_F(SynthDataset, TestLinesNameTheirMetric) {
  SynthOptions test = options("test", Split::test, kQuestionTypes);
  test.images = false, test.types = types_from_names({"scenes", "charts", "documents"});
  write_dataset(test);
  std::map<std::string, std::pair<std::string, bool>> said;
  for (const json& line : lines(test))
    said[line["type"]] = {line["metric"].get<std::string>(), line["long"].get<bool>()};
  EXPECT_EQ(said.size(), static_cast<size_t>(kQuestionTypes));
  using Said = std::pair<std::string, bool>;
  EXPECT_EQ(said["where"], Said("exact", false));
  EXPECT_EQ(said["box"], Said("boxes", false));
  EXPECT_EQ(said["boxes"], Said("boxes", true));
  EXPECT_EQ(said["plan"], Said("sentences", true));
  EXPECT_EQ(said["chart_value"], Said("relaxed", false));
  EXPECT_EQ(said["chart_table"], Said("sentences", true));
  EXPECT_EQ(said["doc_total"], Said("anls", false));
  EXPECT_EQ(said["doc_text"], Said("sentences", true));
}

// Pictures of one set are of several subjects, as often as their types are listed; a line has one subject.
TEST_F(SynthDataset, TypesOfAllSubjectsMixByWeight) {
  SynthOptions train = options("train", Split::train, 400);
  train.images = false, train.types = types_from_names({"where:2", "box:2", "chart_value", "doc_total:3"});
  write_dataset(train);
  int scenes = 0, charts = 0, receipts = 0;
  for (const json& line : lines(train)) {
    EXPECT_NE(line.contains("scene"), line.contains("paper"));
    EXPECT_FALSE(line["types"].empty());
    if (line.contains("scene"))
      ++scenes;
    else if (line["paper"]["kind"] == "receipt")
      ++receipts;
    else
      ++charts;
    for (const json& type : line["types"]) {
      if (line.contains("scene")) {
        EXPECT_THAT(type, testing::AnyOf("where", "box"));
      } else {
        EXPECT_EQ(type, line["paper"]["kind"] == "receipt" ? "doc_total" : "chart_value");
      }
    }
  }
  EXPECT_NEAR(scenes, 200, 40);
  EXPECT_NEAR(charts, 50, 25);
  EXPECT_NEAR(receipts, 150, 40);
}

TEST_F(SynthDataset, PapersAreDescribedAndMarked) {
  SynthOptions train = options("train", Split::train, 30);
  train.types = types_from_names({"charts", "documents"});
  write_dataset(train);
  for (const json& line : lines(train)) {
    const json& paper = line["paper"];
    EXPECT_TRUE(fs::exists(train.output / line["messages"][0]["content"][0]["image"].get<std::string>()));
    EXPECT_GE(paper["entries"].size(), 2u);
    EXPECT_GT(line["regions"].size(), 4u);
    for (const json& region : line["regions"]) {
      const json& box = region["bbox_2d"];
      EXPECT_TRUE(box[0] >= 0 && box[1] >= 0 && box[2] <= paper["width"] && box[3] <= paper["height"]);
      const std::string label = region["label"];
      EXPECT_TRUE(label[0] == ' ' || label.size() == 1) << label << " is a word or a digit";
    }
  }
}

// The regions of "47": left half 4, right half 7, and its place; none says "47".
TEST_F(SynthDataset, DigitsOfASignHaveARegionEach) {
  SynthOptions train = options("train", Split::train, 300);
  train.images = false, train.scene.sign_share = 1;
  write_dataset(train);
  int numbers = 0, words = 0;
  for (const json& line : lines(train)) {
    for (const json& object : line["scene"]["objects"]) {
      if (object["name"] != "sign") continue;
      const std::string text = object["text"];
      const json& box = object["bbox_2d"];
      std::string read;
      for (const json& region : line["regions"]) {
        const json& part = region["bbox_2d"];
        const std::string label = region["label"];
        if (part[1] != box[1] || part[0] < box[0] || part[2] > box[2] || label[0] == ' ') continue;
        read += label;
        if (label.size() == 1) {
          EXPECT_NEAR(part[2].get<int>() - part[0].get<int>(), (box[2].get<int>() - box[0].get<int>()) / 2.0,
                      1);
        }
      }
      EXPECT_EQ(read, text);
      ++(text[0] >= '0' && text[0] <= '9' ? numbers : words);
    }
  }
  EXPECT_NEAR(numbers, (numbers + words) / 3.0, 30) << "a third of the signs are numbers";
}

// The same pictures and questions, of which a share is asked otherwise.
TEST_F(SynthDataset, AShareIsAskedAsBenchmarksAsk) {
  SynthOptions plain = options("plain", Split::train, 200), some = options("some", Split::train, 200);
  plain.images = some.images = false, some.benchmark_share = 0.25;
  write_dataset(plain), write_dataset(some);
  const auto without = lines(plain), with = lines(some);
  int changed = 0;
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_EQ(with[i]["scene"], without[i]["scene"]);
    EXPECT_EQ(with[i]["types"], without[i]["types"]);
    changed += with[i]["messages"] != without[i]["messages"];
  }
  EXPECT_NEAR(changed, 50, 20);
}

// Each cell that shows an object is called by its own column and row, when asked for.
TEST_F(SynthDataset, CellsAreRegionsOnRequest) {
  SynthOptions plain = options("plain", Split::train, 20), cells = options("cells", Split::train, 20);
  plain.images = cells.images = false, cells.cell_regions = true;
  write_dataset(plain), write_dataset(cells);
  const auto without = lines(plain), with = lines(cells);
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_EQ(with[i]["messages"], without[i]["messages"]);
    std::map<std::string, json> found;
    for (const json& region : with[i]["regions"]) {
      const std::string label = region["label"];
      if (label.size() != 2 || label[0] < 'A' || label[0] > 'I' || label[1] < '1' || label[1] > '9') continue;
      const int x = 28 * (label[0] - 'A'), y = 28 * (label[1] - '1');
      EXPECT_EQ(region["bbox_2d"], (std::vector{x, y, x + 28, y + 28}));
      found[label] = region;
    }
    EXPECT_EQ(with[i]["regions"].size(), without[i]["regions"].size() + found.size());
    for (const json& object : with[i]["scene"]["objects"]) {
      const json& box = object["bbox_2d"];
      const int x = (box[0].get<int>() + box[2].get<int>()) / 2 / 28,
                y = (box[1].get<int>() + box[3].get<int>()) / 2 / 28;
      const std::string middle = {static_cast<char>('A' + x), static_cast<char>('1' + y)};
      EXPECT_TRUE(found.contains(middle)) << object;
    }
  }
}

TEST_F(SynthDataset, TrainAndTestShareNoScene) {
  SynthOptions train = options("train", Split::train, 400), test = options("test", Split::test, 400);
  train.images = test.images = false, test.conversations = true;
  write_dataset(train), write_dataset(test);
  std::set<std::string> seen;
  for (const json& line : lines(train)) seen.insert(line["scene"].dump());
  EXPECT_EQ(seen.size(), 400u);
  for (const json& line : lines(test)) EXPECT_FALSE(seen.count(line["scene"].dump())) << line["id"];
}

TEST_F(SynthDataset, PicturesAreReadablePng) {
  const SynthOptions train = options("train", Split::train, 3);
  write_dataset(train);
  for (const json& line : lines(train)) {
    const std::string bytes =
        read_file(train.output / line["messages"][0]["content"][0]["image"].get<std::string>());
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    ASSERT_TRUE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) << image.message;
    EXPECT_EQ(image.width, line["scene"]["width"].get<unsigned>());
    EXPECT_EQ(image.height, line["scene"]["height"].get<unsigned>());
    png_image_free(&image);
  }
}

TEST_F(SynthDataset, RefusesToReplaceASetUnlessTold) {
  SynthOptions train = options("train", Split::train, 1);
  train.images = false;
  write_dataset(train);
  EXPECT_THROW(write_dataset(train), Error);
  train.overwrite = true;
  EXPECT_EQ(write_dataset(train), 1);
}

TEST_F(SynthDataset, AnInterruptLeavesACompleteSetOfFewerLines) {
  SynthOptions train = options("train", Split::train, 1'000'000);
  train.images = false;
  install_interrupt_handler();
  std::thread([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    std::raise(SIGINT);
  }).detach();
  const int64_t written = write_dataset(train);
  clear_interrupt();
  EXPECT_LT(written, train.count);
  EXPECT_EQ(static_cast<int64_t>(lines(train).size()), written);
}

TEST_F(SynthDataset, OptionsOutOfRangeAreNamed) {
  const auto problem = [&](auto change) {
    SynthOptions broken = options("bad", Split::train, 1);
    change(broken);
    try {
      write_dataset(broken);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(problem([](SynthOptions& o) { o.count = 0; }), testing::HasSubstr("count"));
  EXPECT_THAT(problem([](SynthOptions& o) { o.first = -1; }), testing::HasSubstr("first"));
  EXPECT_THAT(problem([](SynthOptions& o) { o.max_turns = 2; }), testing::HasSubstr("max_turns"));
  EXPECT_THAT(problem([](SynthOptions& o) { o.threads = 0; }), testing::HasSubstr("threads"));
  EXPECT_THAT(problem([](SynthOptions& o) { o.output = "/dev/null/x"; }), testing::HasSubstr("/dev/null/x"));
}

TEST_F(SynthDataset, ContactSheetIsWritten) {
  SynthOptions train = options("train", Split::train, 1);
  fs::create_directories(folder_);
  write_contact_sheet(train, folder_ / "sheet.png", 2, 1);
  EXPECT_GT(fs::file_size(folder_ / "sheet.png"), 1000u);
  EXPECT_THROW(write_contact_sheet(train, folder_ / "sheet.png", 0, 1), Error);
}

}  // namespace
}  // namespace dvlm
