#include "text/mask_token.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "text/folders.h"

namespace dvlm::test {
namespace {

// The tokenizer of dvlm-tiny with another text for its mask token, and that token under another id.
Tokenizer tokenizer_with(const char* text, TokenId id) {
  json file = read_json(std::filesystem::path(DVLM_MODELS) / "dvlm-tiny" / "tokenizer.json");
  json& last = file["added_tokens"].back();
  EXPECT_EQ(last["content"], kMaskToken);
  last["content"] = text;
  last["id"] = id;
  const TempFolder folder;
  folder.write("tokenizer.json", file);
  return Tokenizer(folder.path());
}

ModelConfig config_of(const char* architecture, int vocabulary) {
  ModelConfig config;
  config.architecture = architecture;
  config.text.vocab_size = vocabulary;
  return config;
}

constexpr const char* kFast = "Fast_dVLMForConditionalGeneration";

TEST(MaskToken, is_the_added_token_whatever_its_id) {
  const Tokenizer tokenizer = tokenizer_with(kMaskToken, 1023);
  EXPECT_EQ(mask_token(tokenizer, config_of(kFast, 151936)), 1023);
  EXPECT_EQ(mask_token(tokenizer, config_of("Qwen2_5_VLForConditionalGeneration", 151936)), 1023);
}

TEST(MaskToken, is_the_published_one_where_a_converted_model_has_its_row_alone) {
  const Tokenizer without = tokenizer_with("<|other|>", 1023);
  testing::internal::CaptureStderr();
  EXPECT_EQ(mask_token(without, config_of(kFast, 151936)), 151665);
  EXPECT_EQ(mask_token(without, config_of(kFast, 151666)), 151665);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("151665"), std::string::npos);
  EXPECT_EQ(said.find("151665"), said.rfind("151665"));  // once
}

TEST(MaskToken, is_missing_otherwise) {
  const Tokenizer without = tokenizer_with("<|other|>", 1023);
  EXPECT_EQ(mask_token(without, config_of(kFast, 151665)), std::nullopt);
  EXPECT_EQ(mask_token(without, config_of("Qwen2_5_VLForConditionalGeneration", 151936)), std::nullopt);
  EXPECT_EQ(mask_token(tokenizer_with("<|taken|>", 151665), config_of(kFast, 151936)), std::nullopt);
}

TEST(MaskToken, files_of_a_tokenizer_may_be_pointers_of_git_lfs) {
  for (const char* name : {"tokenizer.json", "vocab.json"}) {
    const TempFolder folder;
    folder.write(name, std::string("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"));
    try {
      const Tokenizer tokenizer(folder.path());
      ADD_FAILURE() << name;
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("run git lfs pull"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace dvlm::test
