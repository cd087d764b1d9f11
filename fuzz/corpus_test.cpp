// Every file of fuzz/corpus through its fuzzer, without libFuzzer: what a fuzzer found stays mended.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"

// FUZZER(name) for each that is linked: fuzz/CMakeLists.txt writes the list and renames the entry points.
#define FUZZER(name) extern "C" int fuzz_##name(const uint8_t* data, size_t size);
#include "fuzzers.inc"
#undef FUZZER

// Mutators ask for it; no input is changed here.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);
extern "C" size_t LLVMFuzzerMutate(uint8_t*, size_t size, size_t) {
  return size;
}

namespace dvlm {
namespace {

struct Fuzzer {
  const char* name;
  int (*run)(const uint8_t* data, size_t size);
};

constexpr Fuzzer kFuzzers[] = {
#define FUZZER(name) {#name, fuzz_##name},
#include "fuzzers.inc"
#undef FUZZER
};

// A fuzzer ends the process where something does not hold; the last line printed then names the file.
int run_corpus(const Fuzzer& fuzzer, const std::string& name) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(DVLM_FUZZ_CORPUS) + "/" + name)) {
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    const std::string content = read_file(entry.path());
    EXPECT_EQ(fuzzer.run(reinterpret_cast<const uint8_t*>(content.data()), content.size()), 0);
    ++files;
  }
  return files;
}

class FuzzCorpus : public testing::TestWithParam<Fuzzer> {};

TEST_P(FuzzCorpus, Holds) {
  EXPECT_GT(run_corpus(GetParam(), GetParam().name), 0);
}

INSTANTIATE_TEST_SUITE_P(Each, FuzzCorpus, testing::ValuesIn(kFuzzers),
                         [](const auto& fuzzer) { return std::string(fuzzer.param.name); });

TEST(FuzzCorpusDeathTest, ReportsWhatDoesNotHold) {
  const Fuzzer broken{"broken", [](const uint8_t*, size_t size) {
                        DVLM_ASSERT(size == 0);
                        return 0;
                      }};
  EXPECT_DEATH(run_corpus(broken, "stop_strings"), "size == 0 does not hold");
}

}  // namespace
}  // namespace dvlm
