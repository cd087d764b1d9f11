// Encoding and decoding speed with the Qwen2.5 vocabulary, on one core. The texts are the project's own
// documents and sources and the generated lines of the golden tests; each is encoded whole, and "cold" with a
// new tokenizer, whose cache of words is empty, each time.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>

#include "text/folders.h"
#include "text/lines.h"
#include "text/tokenizer.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

std::string files_with(std::initializer_list<std::string_view> folders,
                       std::initializer_list<std::string_view> suffixes) {
  std::vector<fs::path> paths;
  for (const std::string_view folder : folders)
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(DVLM_ROOT) / folder))
      if (std::find(suffixes.begin(), suffixes.end(), entry.path().extension().string()) != suffixes.end())
        paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::string text;
  for (const fs::path& path : paths) text += read_file(path);
  return text;
}

const std::string& code() {
  static const std::string text = files_with({"src", "tests", "apps"}, {".cpp", ".h"});
  return text;
}

const std::string& prose() {
  static const std::string text = files_with({"docs", "examples"}, {".md"});
  return text;
}

const std::string& mixed() {
  static const std::string text = [] {
    const test::Lines lines;
    std::string all;
    for (uint64_t index = 0; index < test::Lines::kCount; ++index) all += lines.line(index) + "\n";
    return all;
  }();
  return text;
}

void set_bytes(benchmark::State& state, const std::string& text) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(text.size()));
  state.SetLabel(std::to_string(text.size() >> 10) + " KiB");
}

void encode(benchmark::State& state, const std::string& (*source)()) {
  const std::string& text = source();
  const Tokenizer& tokenizer = test::qwen_tokenizer();
  std::vector<TokenId> ids;
  for (auto _ : state) {
    ids.clear();
    tokenizer.encode(text, ControlTokens::parse, ids);
    benchmark::DoNotOptimize(ids.data());
  }
  set_bytes(state, text);
}

void encode_cold(benchmark::State& state, const std::string& (*source)()) {
  const test::TempFolder folder;
  folder.write("tokenizer.json", test::tokenizer_json(test::qwen_merges(), test::qwen_added_tokens()));
  const std::string& text = source();
  for (auto _ : state) {
    state.PauseTiming();
    const auto tokenizer = std::make_unique<Tokenizer>(folder.path());
    state.ResumeTiming();
    benchmark::DoNotOptimize(tokenizer->encode(text, ControlTokens::parse).data());
  }
  set_bytes(state, text);
}

void decode(benchmark::State& state) {
  const auto ids = test::qwen_tokenizer().encode(code(), ControlTokens::parse);
  for (auto _ : state) benchmark::DoNotOptimize(test::qwen_tokenizer().decode(ids, true).data());
  set_bytes(state, code());
}

void one_long_word(benchmark::State& state) {
  std::string text;
  text.resize(10'000'000, 'a');
  for (auto _ : state)
    benchmark::DoNotOptimize(test::qwen_tokenizer().encode(text, ControlTokens::parse).data());
  set_bytes(state, text);
}

void load(benchmark::State& state) {
  const test::TempFolder folder;
  folder.write("tokenizer.json", test::tokenizer_json(test::qwen_merges(), test::qwen_added_tokens()));
  for (auto _ : state) {
    const Tokenizer tokenizer(folder.path());
    benchmark::DoNotOptimize(tokenizer.size());
  }
}

BENCHMARK_CAPTURE(encode, code, code)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, prose, prose)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, mixed_unicode, mixed)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_cold, code, code)->Unit(benchmark::kMillisecond)->Iterations(5);
BENCHMARK_CAPTURE(encode_cold, mixed_unicode, mixed)->Unit(benchmark::kMillisecond)->Iterations(5);
BENCHMARK(decode)->Unit(benchmark::kMillisecond);
BENCHMARK(one_long_word)->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dvlm
