// Data files of other trainers against the tokens that their rules give
// (tools/fixtures/make_data_fixtures.py).
#include <gmock/gmock.h>

#include <set>

#include "checkpoint/config.h"
#include "checkpoint/json.h"
#include "core/files.h"
#include "temporary_folder.h"
#include "train/dataset.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

const fs::path kDataFiles = fs::path(DVLM_FIXTURES) / "data", kTiny = fs::path(DVLM_MODELS) / "dvlm-tiny";

TEST(DataFormats, give_the_tokens_that_the_rules_of_their_trainers_give) {
  const Tokenizer tokenizer(kTiny);
  const ModelConfig config = read_config(kTiny);
  const SampleContext context{tokenizer, config, answer_markers(tokenizer)};
  std::set<std::string> files;
  for (const nlohmann::json& one : read_json(kDataFiles / "expected.json")) {
    const std::string file = one["file"], root = one["image_root"];
    files.insert(file);
    const Dataset dataset({DataSource{.path = (kDataFiles / file).string(),
                                      .image_root = root.empty() ? "" : (kDataFiles / root).string()}});
    const Sample sample = dataset.load(one["record"], context);
    EXPECT_EQ(sample.ids, one["ids"].get<std::vector<TokenId>>()) << dataset.name(one["record"]);
    EXPECT_FALSE(sample.answers.empty());
    int64_t patches = 0;
    for (const Patches& visual : sample.visuals) patches += visual.grid.patches();
    EXPECT_EQ(patches, 4 * std::ranges::count_if(sample.ids, [&](TokenId id) {
                         return id == config.image_token || id == config.video_token;
                       }));
  }
  EXPECT_EQ(files.size(), 12u);
}

TEST(DataFormats, pictures_are_shrunk_to_the_context_and_not_dropped) {
  const Tokenizer tokenizer(kTiny);
  const ModelConfig config = read_config(kTiny);
  const auto load = [&](int max_length, int64_t max_pixels = 0) {
    const Dataset dataset({DataSource{.path = (kDataFiles / "ms_swift.jsonl").string()}});
    return dataset.load(1, {tokenizer, config, answer_markers(tokenizer), max_length, 0, max_pixels});
  };
  const auto pictures = [&](const Sample& sample) {
    return std::ranges::count(sample.ids, config.image_token);
  };
  const Sample whole = load(2048);
  const int all = static_cast<int>(whole.ids.size()), text = all - static_cast<int>(pictures(whole));
  ASSERT_GT(pictures(whole), 80);
  for (const int length : {all - 1, all - 20, text + 60}) {
    const Sample sample = load(length);
    EXPECT_TRUE(sample.shrunk);
    EXPECT_LE(std::ssize(sample.ids), length);
    EXPECT_EQ(std::ssize(sample.ids) - pictures(sample), text) << "no text is lost";
    EXPECT_EQ(sample.answers.size(), whole.answers.size());
  }
  EXPECT_FALSE(load(all).shrunk);
  const Sample small = load(2048, 28 * 28 * 12);
  EXPECT_FALSE(small.shrunk);
  EXPECT_LT(pictures(small), pictures(whole) / 3);
}

TEST(DataFormats, boxes_follow_their_picture) {
  const Tokenizer tokenizer(kTiny);
  const ModelConfig config = read_config(kTiny);
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "boxes.jsonl";
  const auto decoded = [&](const std::string& images, const std::string& answer) {
    const nlohmann::json record = {
        {"images", nlohmann::json::parse(images)},
        {"messages",
         {{{"role", "user"}, {"content", "Where?"}}, {{"role", "assistant"}, {"content", answer}}}}};
    write_file(file, record.dump());
    const Dataset dataset({DataSource{
        .path = file.string(), .image_root = (kDataFiles / "pictures").string(), .box_format = "pixels"}});
    const Sample sample = dataset.load(0, {tokenizer, config, answer_markers(tokenizer)});
    const Span answered = sample.answers.at(0);
    return tokenizer.decode(
        std::span(sample.ids)
            .subspan(static_cast<size_t>(answered.begin), static_cast<size_t>(answered.size())),
        true);
  };
  // 64 x 48 becomes 252 x 196 within 39,200 to 56,448 pixels.
  EXPECT_EQ(decoded(R"(["a.png"])", R"([{"bbox_2d": [0, 12, 32, 48]}])"),
            "[{\"bbox_2d\": [0, 49, 126, 196]}]\n");
  EXPECT_THAT([&] { decoded("[]", "[0, 12, 32, 48]"); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("before any picture")));
  EXPECT_THAT([&] { decoded(R"(["a.png", "b.png"])", "[0, 12, 32, 48]"); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("different sizes")));
}

}  // namespace
}  // namespace dvlm
