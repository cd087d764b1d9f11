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
  SynthOptions test = options("test", Split::test, 10 * kQuestionTypes);
  test.images = false;
  write_dataset(test);
  std::map<std::string, int> types;
  for (const json& line : lines(test)) {
    EXPECT_EQ(line["messages"].size(), 1u);
    EXPECT_FALSE(line["answer"].get<std::string>().empty());
    ++types[line["type"].get<std::string>()];
  }
  EXPECT_EQ(types.size(), static_cast<size_t>(kQuestionTypes));
  for (const auto& [type, count] : types) EXPECT_EQ(count, 10) << type;
}

TEST_F(SynthDataset, TypesCanBeChosen) {
  SynthOptions test = options("test", Split::test, 8);
  test.images = false, test.types = {QuestionType::read, QuestionType::plan};
  write_dataset(test);
  for (const json& line : lines(test)) EXPECT_THAT(line["type"], testing::AnyOf("read", "plan"));
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
