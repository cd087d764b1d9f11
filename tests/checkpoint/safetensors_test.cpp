#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>

#include "core/error.h"
#include "core/files.h"
#include "core/random.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &size, 8);
  return out + header + std::string(data_bytes, '\x01');
}

std::string error_of(const std::string& content) {
  TemporaryFolder folder;
  write_file(folder / "t.safetensors", content);
  try {
    const Safetensors file(folder / "t.safetensors");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Safetensors, WritesWhatItReads) {
  TemporaryFolder folder;
  const float values[] = {1, 2, 3, 4, 5, 6};
  const uint16_t halves[] = {0x3F80, 0x4000, 0x4040};
  const NamedTensor tensors[] = {{"half", {DType::bf16, {3}, reinterpret_cast<const std::byte*>(halves)}},
                                 {"full", {DType::f32, {2, 3}, reinterpret_cast<const std::byte*>(values)}},
                                 {"empty", {DType::f32, {0, 4}, nullptr}}};
  write_safetensors(folder / "t.safetensors", tensors, {{"format", "pt"}});
  const Safetensors file(folder / "t.safetensors");
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const TensorView& full = file.tensors().at("full");
  EXPECT_EQ(full.shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> found(6);
  copy_to_float(full, 0, 6, found.data());
  EXPECT_EQ(found, std::vector<float>(std::begin(values), std::end(values)));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(full.data) % 64, 0u);
  EXPECT_EQ(std::memcmp(file.tensors().at("half").data, halves, sizeof halves), 0);
}

TEST(Safetensors, RefusesLyingFilesWithASentence) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::pair<std::string, std::string> cases[] = {
      {"", "too short"},
      {"1234567", "too short"},
      {std::string(8, '\xFF') + "{}", "header claims"},
      {std::string("\x10\0\0\0\0\0\0\0", 8) + "{}", "header claims"},
      {file_with("{\"w\":", 0), "not valid JSON"},
      {file_with("[]", 0), "not a JSON object"},
      {file_with(R"({"w":3})", 0), "expected a JSON object"},
      {file_with(entry("F33", "[1]", "[0,4]"), 4), "dtype"},
      {file_with(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4), "shape"},
      {file_with(entry("F32", "[2]", "[0,8]"), 4), "outside"},
      {file_with(entry("F32", "[2]", "[0,4]"), 8), "needs 8 bytes"},
      {file_with(entry("F32", "[-1]", "[0,4]"), 4), "whole numbers"},
      {file_with(entry("F32", "[4611686018427387904,4]", "[0,0]"), 4), "holds 4611686018427387904"},
      {file_with(entry("F32", "[4611686018427387903,4]", "[0,0]"), 4), "larger than any file"},
      {file_with(entry("F32", "[1]", "[4,0]"), 4), "outside"},
      {file_with(entry("F32", "[1]", "[0,1e300]"), 4), "whole numbers"},
      {file_with(entry("F32", "[1]", "[0]"), 4), "two numbers"},
      {file_with(entry("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), "at most 8"},
      {file_with(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           3),
       "share bytes"},
      {file_with(std::string(100000, '['), 0), "64 levels"},
  };
  for (const auto& [content, expected] : cases)
    EXPECT_NE(error_of(content).find(expected), std::string::npos)
        << "expected: " << expected << ", got: " << error_of(content);
}

TEST(Safetensors, ATensorNamedTwiceIsRefused) {
  const TemporaryFolder folder;
  const std::string entry = R"("a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})";
  const std::string header = "{" + entry + ", " + entry + "}";
  const uint64_t size = header.size();
  write_file(folder / "twice.safetensors",
             std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(4, '\0'));
  EXPECT_THAT(message_of([&] { Safetensors(folder / "twice.safetensors"); }),
              testing::HasSubstr("the key \"a\" twice"));
}

TEST(Safetensors, SurvivesRandomDamage) {
  const std::string good = file_with(
      R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})",
      32);
  ASSERT_EQ(error_of(good), "");
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bad =
        good.substr(0, static_cast<size_t>(random.below(static_cast<int64_t>(good.size()) + 1)));
    for (int64_t k = random.below(4); k > 0 && !bad.empty(); --k)
      bad[static_cast<size_t>(random.below(static_cast<int64_t>(bad.size())))] =
          static_cast<char>(random.below(256));
    error_of(bad);  // throws nothing but Error
  }
}

}  // namespace
}  // namespace dvlm
