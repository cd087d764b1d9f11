#include "text/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "text/folders.h"

namespace dvlm::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal_of(const TempFolder& folder) {
  try {
    const Tokenizer tokenizer(folder.path());
    return "accepted";
  } catch (const Error& e) {
    return e.what();
  }
}

std::string refusal_of_file(const std::string& content) {
  const TempFolder folder;
  folder.write("tokenizer.json", content);
  return refusal_of(folder);
}

std::string refusal_after(const std::function<void(json&)>& change) {
  json root = small_tokenizer_json();
  change(root);
  return refusal_of_file(root.dump());
}

TEST(TokenizerFiles, SmallTokenizerMergesByRank) {
  const TempFolder folder;
  folder.write("tokenizer.json", small_tokenizer_json());
  const Tokenizer tokenizer(folder.path());
  EXPECT_THAT(tokenizer.encode("hell", ControlTokens::parse), ElementsAre(258));
  EXPECT_THAT(tokenizer.encode("helll", ControlTokens::parse), ElementsAre(258, 'l' - '!'));
  EXPECT_THAT(tokenizer.encode("lll", ControlTokens::parse), ElementsAre(257, 'l' - '!'));
  EXPECT_THAT(tokenizer.encode("he<note>", ControlTokens::parse), ElementsAre(256, 260));
  EXPECT_EQ(tokenizer.size(), 261);
}

TEST(TokenizerFiles, VocabAndMergesGiveTheSameTokenizerAsTokenizerJson) {
  const TempFolder folder;
  std::string merges = "#version: 0.2\r\n";
  for (const std::string& merge : qwen_merges()) merges += merge + "\n";
  folder.write("vocab.json", vocabulary_of(qwen_merges()));
  folder.write("merges.txt", merges);
  json added = json::object(), decoder = json::object();
  for (const json& token : qwen_added_tokens()) {
    added[token["content"].get<std::string>()] = token["id"];
    if (token["id"] < 151660) decoder[std::to_string(token["id"].get<int>())] = token;
  }
  folder.write("tokenizer_config.json",
               {{"added_tokens_decoder", decoder}, {"tokenizer_class", "Qwen2Tokenizer"}});
  folder.write("added_tokens.json", added);
  folder.write("special_tokens_map.json",
               {{"additional_special_tokens", json::array({{{"content", "|<MASK>|"}}})}});
  const Tokenizer tokenizer(folder.path());
  const Tokenizer& reference = qwen_tokenizer();
  ASSERT_EQ(tokenizer.size(), reference.size());
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    ASSERT_EQ(tokenizer.bytes_of(id), reference.bytes_of(id)) << id;
    ASSERT_EQ(tokenizer.is_special(id), reference.is_special(id)) << id;
  }
  const char* text = "Hello <|im_start|> |<MASK>| world, e\xCC\x81 it's 42 <tool_call>\n\n";
  for (const auto control : {ControlTokens::parse, ControlTokens::as_text})
    EXPECT_EQ(tokenizer.encode(text, control), reference.encode(text, control));
}

TEST(TokenizerFiles, AddsTokensThatOnlyTokenizerConfigNames) {
  const TempFolder folder;
  folder.write("tokenizer.json", small_tokenizer_json());
  folder.write("tokenizer_config.json",
               {{"added_tokens_decoder",
                 {{"300", added_token(300, "|<MASK>|")}, {"259", added_token(259, "<|im_end|>")}}}});
  const Tokenizer tokenizer(folder.path());
  EXPECT_THAT(tokenizer.encode("l|<MASK>|", ControlTokens::parse), ElementsAre('l' - '!', 300));
  EXPECT_EQ(tokenizer.size(), 301);
  EXPECT_EQ(tokenizer.bytes_of(280), "");
}

TEST(TokenizerFiles, TakesTheLongestOfTheLeftmostAddedTokens) {
  json root = small_tokenizer_json();
  root["added_tokens"] = {added_token(259, "ab"), added_token(260, "abc"), added_token(261, "bcd")};
  const TempFolder folder;
  folder.write("tokenizer.json", root);
  const Tokenizer tokenizer(folder.path());
  EXPECT_THAT(tokenizer.encode("abcd", ControlTokens::parse), ElementsAre(260, 'd' - '!'));
  EXPECT_THAT(tokenizer.encode("abbcd", ControlTokens::parse), ElementsAre(259, 261));
}

TEST(TokenizerFiles, HonoursTheFlagsOfAddedTokens) {
  json root = small_tokenizer_json();
  root["added_tokens"] = {added_token(259, "<l>"), added_token(260, "<r>"), added_token(261, "x\xC3\xA9")};
  root["added_tokens"][0]["lstrip"] = true;
  root["added_tokens"][1]["rstrip"] = true;
  root["added_tokens"][2]["normalized"] = true;
  const TempFolder folder;
  folder.write("tokenizer.json", root);
  const Tokenizer tokenizer(folder.path());
  EXPECT_THAT(tokenizer.encode("h \xE3\x80\x80\n<l>", ControlTokens::parse), ElementsAre('h' - '!', 259));
  EXPECT_THAT(tokenizer.encode("<r> \n h", ControlTokens::parse), ElementsAre(260, 'h' - '!'));
  EXPECT_THAT(tokenizer.encode("<r> <l>", ControlTokens::parse), ElementsAre(260, 259));
  EXPECT_THAT(tokenizer.encode("hxe\xCC\x81", ControlTokens::parse), ElementsAre('h' - '!', 261));
}

TEST(TokenizerFiles, RefusesOtherKindsOfTokenizer) {
  const auto expect = [](const std::function<void(json&)>& change, const char* words) {
    const std::string message = refusal_after(change);
    EXPECT_THAT(message, HasSubstr(words));
    EXPECT_THAT(message, HasSubstr("Qwen2 family only"));
    EXPECT_THAT(message, HasSubstr("tokenizer.json"));
  };
  expect([](json& t) { t["model"]["type"] = "Unigram"; }, "Unigram");
  expect([](json& t) { t["normalizer"] = {{"type", "NFKC"}}; }, "NFKC");
  expect([](json& t) { t["normalizer"] = nullptr; }, "normalizer");
  expect([](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; }, "pattern");
  expect([](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }, "pattern");
  expect([](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; }, "pattern");
  expect([](json& t) { t["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; }, "pre-tokenizer");
  expect([](json& t) { t["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = true; }, "pre-tokenizer");
  expect([](json& t) { t["pre_tokenizer"] = {{"type", "Whitespace"}}; }, "pre-tokenizer");
  expect([](json& t) { t["post_processor"] = {{"type", "TemplateProcessing"}}; }, "post-processor");
  expect([](json& t) { t["decoder"] = {{"type", "Metaspace"}}; }, "decoder");
  expect([](json& t) { t["model"]["byte_fallback"] = true; }, "byte_fallback");
  expect([](json& t) { t["model"]["ignore_merges"] = true; }, "ignore_merges");
  expect([](json& t) { t["model"]["dropout"] = 0.1; }, "dropout");
  expect([](json& t) { t["model"]["unk_token"] = "<unk>"; }, "unk_token");
  expect([](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix");
  expect([](json& t) { t["model"]["vocab"].erase("!"); }, "byte 0x21");
  expect([](json& t) { t["added_tokens"][0]["single_word"] = true; }, "single_word");
  expect([](json& t) { t["added_tokens"].push_back(added_token(258, "hell")); }, "plain text");
  expect([](json& t) { t["added_tokens"].push_back(added_token(0, "!")); }, "plain text");
}

TEST(TokenizerFiles, RefusesDamagedVocabularies) {
  const auto expect = [](const std::function<void(json&)>& change, const char* words) {
    EXPECT_THAT(refusal_after(change), HasSubstr(words));
  };
  expect([](json& t) { t["model"]["vocab"]["he"] = 255; }, "two tokens have the id 255");
  expect([](json& t) { t["model"]["vocab"]["he"] = -1; }, "the id -1");
  expect([](json& t) { t["model"]["vocab"]["he"] = 4000000000; }, "the id 4000000000");
  expect([](json& t) { t["model"]["vocab"]["he"] = 18446744073709551615u; }, "the id 18446744073709551615");
  expect([](json& t) { t["model"]["vocab"]["he"] = 1.5; }, "the id 1.5");
  expect([](json& t) { t["model"]["vocab"]["he"] = "256"; }, "the id \"256\"");
  expect([](json& t) { t["model"]["vocab"][""] = 400; }, "0 bytes");
  expect([](json& t) { t["model"]["vocab"][std::string(5000, 'a')] = 400; }, "5000 bytes");
  expect([](json& t) { t["model"]["vocab"] = json::array(); }, "no vocabulary");
  expect([](json& t) { t["model"].erase("vocab"); }, "no vocabulary");
  expect([](json& t) { t["model"].erase("merges"); }, "no merges");
  expect([](json& t) { t["model"]["merges"] = 3; }, "no list of merges");
  expect([](json& t) { t["model"]["merges"][1] = "x y"; }, "merge 1 names \"xy\"");
  expect([](json& t) { t["model"]["merges"][1] = "xyz l"; }, "merge 1 names \"xyz\"");
  expect([](json& t) { t["model"]["merges"][1] = "ll"; }, "expected two tokens");
  expect([](json& t) { t["model"]["merges"][1] = "l l l"; }, "expected two tokens");
  expect([](json& t) { t["model"]["merges"][1] = {"l"}; }, "expected two tokens");
  expect([](json& t) { t["model"]["merges"][2] = "h e"; }, "repeats merge 0");
  expect([](json& t) { t["added_tokens"][1]["id"] = 259; }, "two tokens have the id 259");
  expect([](json& t) { t["added_tokens"][1]["content"] = "<|im_end|>"; }, "appears twice");
  expect([](json& t) { t["added_tokens"][1]["content"] = ""; }, "0 bytes");
  expect([](json& t) { t["added_tokens"][1]["special"] = "yes"; }, "not true or false");
  expect([](json& t) { t["added_tokens"][1].erase("content"); }, "no content");
  expect([](json& t) { t["added_tokens"][1].erase("id"); }, "no id");
  expect([](json& t) { t["added_tokens"].push_back(added_token(999, "hell")); }, "has the id 999, but 258");
  expect([](json& t) { t["added_tokens"] = 5; }, "not a list");
  expect([](json& t) { t = json::array(); }, "no \"model\" object");
}

TEST(TokenizerFiles, RefusesFilesThatAreNotTokenizers) {
  EXPECT_THAT(refusal_of_file(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal_of_file("null"), HasSubstr("no \"model\" object"));
  EXPECT_THAT(refusal_of_file("\xFF\xFE{}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal_of_file(std::string(3'000'000, '[')), HasSubstr("64 levels"));
  const int depth = 1'000'000;
  EXPECT_THAT(refusal_of_file(std::string(depth, '[') + std::string(depth, ']')), HasSubstr("64 levels"));
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "{\"model\":";
  EXPECT_THAT(refusal_of_file(nested + "1" + std::string(100'000, '}')), HasSubstr("64 levels"));
}

TEST(TokenizerFiles, RefusesEveryTruncationOfTokenizerJson) {
  const std::string whole = small_tokenizer_json().dump();
  for (size_t length = 0; length < whole.size(); length += 7)
    ASSERT_THAT(refusal_of_file(whole.substr(0, length)), HasSubstr("not valid JSON")) << length;
  EXPECT_EQ(refusal_of_file(whole), "accepted");
}

TEST(TokenizerFiles, SurvivesRandomDamage) {
  const std::string whole = small_tokenizer_json().dump();
  uint64_t state = 1;
  for (int round = 0; round < 600; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 3; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      damaged[(state >> 20) % damaged.size()] = static_cast<char>(state >> 56);
    }
    const TempFolder folder;
    folder.write("tokenizer.json", damaged);
    try {
      const Tokenizer tokenizer(folder.path());
      tokenizer.decode(tokenizer.encode("hello <|im_end|>\n", ControlTokens::parse), true);
    } catch (const Error&) {
    }
  }
}

TEST(TokenizerFiles, RefusesFoldersWithoutATokenizer) {
  const TempFolder folder;
  EXPECT_THAT(refusal_of(folder), HasSubstr("neither tokenizer.json nor vocab.json"));
  folder.write("vocab.json", vocabulary_of({"h e"}));
  EXPECT_THAT(refusal_of(folder), HasSubstr("merges.txt"));
  folder.write("merges.txt", std::string("h e\n"));
  EXPECT_EQ(refusal_of(folder), "accepted");
  folder.write("tokenizer_config.json", {{"tokenizer_class", "GPT2Tokenizer"}});
  EXPECT_THAT(refusal_of(folder), HasSubstr("GPT2Tokenizer"));
  folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"x1", added_token(1, "<x>")}}}});
  EXPECT_THAT(refusal_of(folder), HasSubstr("the id \"x1\""));
  folder.write("tokenizer_config.json", json::object());
  folder.write("merges.txt", std::string("h\n"));
  EXPECT_THAT(refusal_of(folder), HasSubstr("expected two tokens"));
}

}  // namespace
}  // namespace dvlm::test
