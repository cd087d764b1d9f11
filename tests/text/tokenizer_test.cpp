#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <ctime>
#include <thread>

#include "core/error.h"
#include "text/folders.h"
#include "text/lines.h"

namespace dvlm::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

uint64_t hash_of(const std::vector<TokenId>& ids) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
  return hash;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string to_hex(const std::string& bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

ControlTokens control_of_line(uint64_t index) {
  return index % 2 == 0 ? ControlTokens::parse : ControlTokens::as_text;
}

// Of the processor: a busy machine is not the tokenizer's fault.
double seconds_for(const std::string& text) {
  const std::clock_t start = std::clock();
  qwen_tokenizer().encode(text, ControlTokens::parse);
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

TEST(Tokenizer, GivesTheIdsOfHuggingFaceForEveryGeneratedLine) {
  const std::string file = read_file(DVLM_FIXTURES "/text/encode_hashes.bin");
  ASSERT_EQ(file.size(), Lines::kCount * 8);
  const Lines lines;
  int wrong = 0;
  for (uint64_t index = 0; index < Lines::kCount; ++index) {
    uint64_t expected = 0;
    std::memcpy(&expected, file.data() + index * 8, 8);
    const std::string line = lines.line(index);
    if (hash_of(qwen_tokenizer().encode(line, control_of_line(index))) == expected) continue;
    if (++wrong <= 10) ADD_FAILURE() << "line " << index << ", bytes " << to_hex(line);
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, GivesTheIdsOfTheWrittenOutExamples) {
  const json examples = read_fixture("examples.json");
  ASSERT_GE(examples["encode"].size(), 200u);
  for (const json& example : examples["encode"]) {
    const std::string line = from_hex(example["bytes"]);
    EXPECT_EQ(Lines().line(example["line"]), line);
    EXPECT_EQ(qwen_tokenizer().encode(line, control_of_line(example["line"])),
              example["ids"].get<std::vector<TokenId>>())
        << "line " << example["line"];
  }
}

TEST(Tokenizer, DecodesRandomIdsAsHuggingFace) {
  const json examples = read_fixture("examples.json");
  ASSERT_EQ(examples["decode"].size(), 300u);
  for (const json& example : examples["decode"])
    EXPECT_EQ(qwen_tokenizer().decode(example["ids"].get<std::vector<TokenId>>(), example["skip_special"]),
              example["text"].get<std::string>())
        << example["ids"].dump();
}

TEST(Tokenizer, KnowsTheIdsOfTheSpecification) {
  const Tokenizer& tokenizer = qwen_tokenizer();
  const auto ids = [&](const char* text) { return tokenizer.encode(text, ControlTokens::parse); };
  EXPECT_THAT(ids("\n"), ElementsAre(198));
  EXPECT_THAT(ids("system"), ElementsAre(8948));
  EXPECT_THAT(ids("user"), ElementsAre(872));
  EXPECT_THAT(ids("assistant"), ElementsAre(77091));
  EXPECT_THAT(ids("You are a helpful assistant."), ElementsAre(2610, 525, 264, 10950, 17847, 13));
  EXPECT_THAT(ids("|<MASK>|"), ElementsAre(151665));
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 151645);
  EXPECT_EQ(tokenizer.find("<|nothing|>"), std::nullopt);
  EXPECT_EQ(tokenizer.size(), 151666);
  ASSERT_EQ(tokenizer.added_tokens().size(), 23u);
  EXPECT_EQ(tokenizer.added_tokens().front().text, "<|endoftext|>");
  EXPECT_TRUE(tokenizer.is_special(151665));
  EXPECT_FALSE(tokenizer.is_special(151657));
  EXPECT_THAT(ids(""), IsEmpty());
}

TEST(Tokenizer, DecodingAnEncodingGivesTheTextBack) {
  const Lines lines;
  int exact = 0;
  for (uint64_t index = 0; index < Lines::kCount; ++index) {
    const std::string line = lines.line(index);
    const auto ids = qwen_tokenizer().encode(line, control_of_line(index));
    const std::string text = qwen_tokenizer().decode(ids, false);
    // Normalised text is a fixed point; ordinary text already is.
    EXPECT_EQ(qwen_tokenizer().decode(qwen_tokenizer().encode(text, ControlTokens::as_text), false), text);
    exact += text == line;
  }
  EXPECT_GT(exact, 12000);
}

TEST(Tokenizer, NeverMakesAnAddedTokenFromTextThatIsNotParsed) {
  const Lines lines;
  for (uint64_t index = 0; index < Lines::kCount; ++index)
    for (const TokenId id : qwen_tokenizer().encode(lines.line(index), ControlTokens::as_text))
      ASSERT_LT(id, 151643) << "line " << index;
}

TEST(Tokenizer, AppendsToTheIdsGiven) {
  std::vector<TokenId> ids{7};
  qwen_tokenizer().encode("user", ControlTokens::as_text, ids);
  EXPECT_THAT(ids, ElementsAre(7, 872));
}

TEST(Tokenizer, DecodesUnknownIdsToNothing) {
  const TokenId ids[] = {-1, 872, 151666, 2147483647, -2147483647};
  EXPECT_EQ(qwen_tokenizer().decode(ids, false), "user");
  EXPECT_EQ(qwen_tokenizer().bytes_of(-5), "");
}

TEST(Tokenizer, EncodesTheSameFromManyThreads) {
  const Lines lines;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (uint64_t worker = 0; worker < 4; ++worker)
    threads.emplace_back([&, worker] {
      for (uint64_t index = 4000 + worker; index < 6000; ++index) {
        const std::string line = lines.line(index);
        const auto ids = qwen_tokenizer().encode(line, ControlTokens::as_text);
        wrong += ids != qwen_tokenizer().encode(line, ControlTokens::as_text);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Times that a quadratic step anywhere would exceed by orders of magnitude: minutes to hours for each text.
TEST(Tokenizer, TakesTimeInProportionToHostileText) {
  for (const std::string unit :
       {"a", " ", "!", "0", "\n", "'", "qwjzx", "\xCC\x81\xCC\xA3", "\xCC\xA3\xCC\x81", "\xE1\x84\x80",
        "\xC3\xA9", "\xFF", "<|im_start", "|<MASK>"}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    EXPECT_LT(seconds_for(text), 20) << to_hex(unit);
  }
}

TEST(Tokenizer, RefusesTextBeyondItsLimit) {
  EXPECT_NO_THROW(qwen_tokenizer().encode("", ControlTokens::parse));
  const std::string_view endless("x", size_t{1} << 40);  // must not be read
  EXPECT_THROW(qwen_tokenizer().encode(endless, ControlTokens::parse), Error);
}

TEST(StreamDecoder, PrintsWholeCharactersAndTheSameTextAsDecode) {
  const Lines lines;
  for (uint64_t index = 0; index < Lines::kCount; index += 3) {
    const auto ids = qwen_tokenizer().encode(lines.line(index), control_of_line(index));
    StreamDecoder stream(qwen_tokenizer());
    std::string text;
    for (const TokenId& id : ids) {
      const std::string part = stream.push({&id, 1});
      EXPECT_TRUE(is_valid_utf8(part));
      text += part;
    }
    text += stream.finish();
    EXPECT_EQ(text, qwen_tokenizer().decode(ids, true)) << "line " << index;
  }
}

TEST(StreamDecoder, HoldsBackHalfACharacterAndReplacesItAtTheEnd) {
  const std::string kFace = "\xF0\x9F\xAB\xA0";  // young enough to be no token of its own
  const auto ids = qwen_tokenizer().encode(kFace, ControlTokens::as_text);
  ASSERT_GT(ids.size(), 1u);
  StreamDecoder stream(qwen_tokenizer());
  EXPECT_EQ(stream.push({ids.data(), 1}), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push(ids), kFace);
}

}  // namespace
}  // namespace dvlm::test
