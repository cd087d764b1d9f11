#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "core/card_number.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/memory.h"
#include "core/plugin.h"
#include "core/random.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/types.h"
#include "core/utf8.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using ::testing::HasSubstr;

TEST(NumberTypes, EveryBf16ValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const bf16 value{static_cast<uint16_t>(bits)};
    const float wide = to_float(value);
    if (std::isnan(wide))
      EXPECT_TRUE(std::isnan(to_float(to_bf16(wide))));
    else
      EXPECT_EQ(to_bf16(wide).bits, bits);
  }
}

TEST(NumberTypes, EveryF16ValueSurvivesTheRoundTripAndTiesGoToEven) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const f16 value{static_cast<uint16_t>(bits)};
    const float wide = to_float(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(wide))));
      continue;
    }
    EXPECT_EQ(to_f16(wide).bits, bits);
    if ((bits & 0x7FFF) >= 0x7BFF) continue;  // nothing finite follows
    const f16 next{static_cast<uint16_t>(bits + 1)};
    const float middle = (wide + to_float(next)) / 2;
    EXPECT_EQ(to_f16(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(to_f16(std::nextafter(middle, wide)).bits, bits);
    EXPECT_EQ(to_f16(std::nextafter(middle, to_float(next))).bits, bits + 1);
  }
  EXPECT_EQ(to_f16(65519.99f).bits, 0x7BFF);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7C00);
  EXPECT_EQ(to_f16(-INFINITY).bits, 0xFC00);
}

TEST(NumberTypes, Bf16RoundsHalfwayCasesToEven) {
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000u)).bits, 0x3F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000u)).bits, 0x3F82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001u)).bits, 0x3F81);
  EXPECT_EQ(to_bf16(INFINITY).bits, 0x7F80);
}

#if !defined(__clang__)  // before 15 it has no half on x86
#if defined(__aarch64__)
using CompilersHalf = __fp16;  // GCC's C++ knows _Float16 there only from 13 on
#else
using CompilersHalf = _Float16;
#endif

TEST(NumberTypes, F16AgreesWithTheCompilersHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto expected = static_cast<float>(std::bit_cast<CompilersHalf>(static_cast<uint16_t>(bits)));
    const float found = to_float(f16{static_cast<uint16_t>(bits)});
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(found));
    else
      EXPECT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(expected)) << bits;
  }
}

#endif

TEST(NumberTypes, E4m3HasItsNamedValues) {
  EXPECT_EQ(to_float(e4m3{0x7E}), 448.0f);
  EXPECT_EQ(to_float(e4m3{0x08}), 0x1p-6f);
  EXPECT_EQ(to_float(e4m3{0x01}), 0x1p-9f);
  EXPECT_EQ(to_float(e4m3{0xB8}), -1.0f);
  EXPECT_TRUE(std::isnan(to_float(e4m3{0x7F})) && std::isnan(to_float(e4m3{0xFF})));
}

TEST(NumberTypes, E4m3RoundsAndSaturates) {
  const std::pair<float, float> cases[] = {{17, 16},
                                           {18, 18},
                                           {25, 24},
                                           {27, 28},
                                           {240, 240},
                                           {248, 256},
                                           {447, 448},
                                           {1.0625f, 1},
                                           {1.1875f, 1.25f},
                                           {0.001f, 0x1p-9f},
                                           {0x1p-10f, 0},
                                           {0x3p-10f, 0x1p-8f},
                                           {0.0146f, 0.013671875f},
                                           {0.017f, 0.017578125f},
                                           {464, 448},
                                           {INFINITY, 448}};
  for (const auto& [value, expected] : cases) {
    EXPECT_EQ(to_float(to_e4m3(value)), expected) << value;
    EXPECT_EQ(to_float(to_e4m3(-value)), -expected) << value;
  }
  EXPECT_TRUE(std::isnan(to_float(to_e4m3(NAN))));
  EXPECT_EQ(to_e4m3(-0.0f).bits, 0x80);
}

TEST(NumberTypes, EveryE4m3ValueSurvivesTheRoundTrip) {
  for (int bits = 0; bits < 256; ++bits) {
    const float wide = to_float(e4m3{static_cast<uint8_t>(bits)});
    EXPECT_EQ(to_e4m3(wide).bits, bits) << wide;
  }
}

TEST(NumberTypes, EveryBf16ValueGoesToANearestE4m3) {
  std::vector<float> finite;  // ascending, non-negative
  finite.reserve(0x7F);
  for (int bits = 0; bits < 0x7F; ++bits) finite.push_back(to_float(e4m3{static_cast<uint8_t>(bits)}));
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = to_float(bf16{static_cast<uint16_t>(bits)});
    if (std::isnan(value)) continue;
    const double magnitude = std::min(std::abs(double{value}), 448.0);
    const e4m3 found = to_e4m3(value);
    ASSERT_EQ(found.bits >> 7, bits >> 15);
    const int code = found.bits & 0x7F;
    ASSERT_LT(code, 0x7F);
    const double error = std::abs(finite[code] - magnitude);
    for (int other : {code - 1, code + 1}) {
      if (other < 0 || other > 0x7E) continue;
      const double distance = std::abs(finite[other] - magnitude);
      ASSERT_TRUE(error < distance || (error == distance && code % 2 == 0)) << value;
    }
  }
}

TEST(Philox, MatchesThePublishedVectors) {  // kat_vectors of Random123, philox4x32-10
  EXPECT_EQ(philox(0, 0, 0), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint64_t ones = ~uint64_t{0};
  EXPECT_EQ(philox(ones, ones, ones),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Philox, UniformNumbersFillTheUnitInterval) {
  double sum = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const double u = uniform(7, 3, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
}

TEST(Utf8, ReplacesMaximalSubpartsAsPythonDoes) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), r);
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82x"), r + "x");
  EXPECT_EQ(replace_invalid_utf8("\xC0\x80"), r + r);
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(code_points("a\xED\xA0z\xC3\xA4\xF0\x9F\x98\x80"), U"a\uFFFD\uFFFDz\u00E4\U0001F600");
}

TEST(Utf8, EveryCharacterRoundTrips) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char c = next_utf8(text, 0);
    ASSERT_TRUE(c.valid && c.code == code && c.length == text.size()) << static_cast<uint32_t>(code);
  }
}

TEST(Utf8, StreamsHoldBackHalfCharacters) {
  EXPECT_EQ(complete_utf8_prefix("ab\xF0\x9F\x98"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xF0\x9F\x98\x80"), 6u);
  EXPECT_EQ(complete_utf8_prefix("ab\x80\x80\x80\x80"), 6u);
  EXPECT_EQ(complete_utf8_prefix(""), 0u);
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      for (int repeat = 0; repeat < 50; ++repeat)
        pool.parallel_for(count, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
      for (const auto& hit : hits) EXPECT_EQ(hit, 50);
    }
  }
}

TEST(Plugins, AreRefusedWhenTheyAreNotThereOrOfAnotherVersion) {
  EXPECT_THAT(message_of([] { Plugin("libnone.so", "--device x", "build it"); }),
              testing::AllOf(HasSubstr("--device x needs libnone.so"), HasSubstr("build it")));
  EXPECT_THAT(message_of([] { Plugin("libold_plugin.so", "--device x", "build it"); }),
              testing::AllOf(HasSubstr("libold_plugin.so is of dvlm 0.0.0, and this is dvlm"),
                             HasSubstr("build it")));
}

TEST(Files, LinesComeOneByOneAndNoneIsEndless) {
  TemporaryFolder folder;
  const auto lines = [](const auto& path, size_t most = 100) {
    std::vector<std::string> out;
    read_lines(
        path,
        [&](int number, std::string_view line) {
          out.emplace_back(line);
          EXPECT_EQ(number, std::ssize(out));
          return out.size() < most;
        },
        1 << 20);
    return out;
  };
  const std::string wide(100'000, 'x');  // wider than what is read at once
  write_file(folder / "file", "a\n\n" + wide + "\nlast");
  EXPECT_EQ(lines(folder / "file"), (std::vector<std::string>{"a", "", wide, "last"}));
  EXPECT_EQ(lines(folder / "file", 1), std::vector<std::string>{"a"});
  write_file(folder / "file", "a\n");
  EXPECT_EQ(lines(folder / "file"), std::vector<std::string>{"a"});
  write_file(folder / "file", "");
  EXPECT_TRUE(lines(folder / "file").empty());
  EXPECT_THAT(message_of([&] { lines("/dev/zero"); }), HasSubstr("/dev/zero, line 1: it is longer than"));
  EXPECT_THROW(lines(folder / "none"), Error);
}

TEST(Files, MissingFileAndUnwritableTargetAreNamed) {
  TemporaryFolder folder;
  EXPECT_THROW(read_file(folder / "none"), Error);
  EXPECT_THROW(read_file(folder.path()), Error);
  EXPECT_THROW(write_file(folder / "no/such/folder/file", "x"), Error);
  write_file(folder / "file", "hello");
  EXPECT_EQ(read_file(folder / "file"), "hello");
  EXPECT_THROW(read_file(folder / "file", 4), Error);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { read_file(folder / "pipe"); }), HasSubstr("nobody writes to"));
  EXPECT_THAT(message_of([&] { InputFile{folder / "pipe"}; }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { MappedFile{folder / "pipe"}; }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { InputFile{"/dev/zero"}; }), HasSubstr("not a regular file"));
}

TEST(MappedFiles, that_become_shorter_are_named) {
  TemporaryFolder folder;
  write_file(folder / "weights", std::string(8192, 'x'));
  const MappedFile file(folder / "weights");
  const auto read_what_is_lost = [&] {
    explain_lost_files();
    std::filesystem::resize_file(folder / "weights", 0);
    std::exit(file.bytes()[5000] == std::byte{'x'} ? 0 : 2);
  };
  EXPECT_EXIT(read_what_is_lost(), testing::ExitedWithCode(1), "weights became shorter while it was in use");
}

// As after kill -9: the name says which process wrote it, the lock that it still does.
TEST(Files, OrphansOfKilledWritersAreRemoved) {
  TemporaryFolder folder;
  // By others, before this process writes to the folder.
  const auto others_write = [&](const char* name) { std::ofstream(folder / name) << "half"; };
  others_write("a.77-3.partial");
  others_write("a.77-4.partial");
  others_write("a.b.partial");       // a user's own
  others_write("a.b.77-3.partial");  // another target's
  others_write("b.77-3.partial");
  const int writing = ::open((folder / "a.77-4.partial").c_str(), O_RDONLY);
  ASSERT_EQ(::flock(writing, LOCK_EX), 0);
  {
    FileWriter first(folder / "a");  // removes the orphan
    FileWriter second(folder / "a");
    first.append("first"), second.append("second");
    first.commit(), second.commit();
  }
  ::close(writing);
  EXPECT_EQ(read_file(folder / "a"), "second");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.77-3.partial"));
  for (const char* kept : {"a.77-4.partial", "a.b.partial", "a.b.77-3.partial", "b.77-3.partial"})
    EXPECT_TRUE(std::filesystem::exists(folder / kept)) << kept;
  write_file(folder / "b", "whole");
  EXPECT_FALSE(std::filesystem::exists(folder / "b.77-3.partial"));
}

TEST(Files, ThatManyWriteAtOnceAreWholeAndLeaveNothingBehind) {
  TemporaryFolder folder;
  const auto write = [&](char letter) {
    for (int i = 0; i < 200; ++i) write_file(folder / "a", std::string(5000, letter));
  };
  {
    std::vector<std::jthread> writers;
    for (const char letter : {'x', 'y', 'z'}) writers.emplace_back(write, letter);
  }
  const std::string content = read_file(folder / "a");
  EXPECT_EQ(content, std::string(5000, content.at(0)));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(LineWriter, NeverWaitsForItsReaderAndCountsWhatItDrops) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  LineWriter writer(ends[1]);
  const std::string line = std::string(9999, 'a') + "\n";
  for (int i = 0; i < 100; ++i) writer.write(line);  // a pipe holds 64 KiB
  std::string read(size_t{1} << 20, 0);
  size_t got = static_cast<size_t>(::read(ends[0], read.data(), read.size()));
  const size_t whole = got / line.size();
  EXPECT_THAT(whole, testing::AllOf(testing::Ge(4u), testing::Lt(10u)));
  EXPECT_EQ(read.substr(0, line.size()), line);
  writer.write("again\n");
  got = static_cast<size_t>(::read(ends[0], read.data(), read.size()));
  EXPECT_THAT(read.substr(0, got), testing::AllOf(HasSubstr(fmt::format("dvlm: {} lines", 100 - whole)),
                                                  testing::EndsWith("\nagain\n")));
  ::close(ends[0]), ::close(ends[1]);
}

TEST(Bytes, AreToldInTheUnitThatFits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(0x1p20 * 9.25), "9.2 MiB");
  EXPECT_EQ(bytes_text(0x1p50 * 3), "3072.0 TiB");
}

TEST(Printable, MakesHostileTextSafe) {
  EXPECT_EQ(printable("a\x1b[31m\nb\xFF"), "a?[31m?b?");
  EXPECT_EQ(printable(std::string(200, 'x'), 10), "xxxxxxxxxx...");
  EXPECT_EQ(message_of([] { fail("cannot open {}", "a\n\x1b[31m" + std::string(200, 'x')); }),
            "cannot open a??[31m" + std::string(200, 'x'));
}

TEST(CardNumber, IsReadFromTheNameOfADevice) {
  EXPECT_EQ(card_number("cuda"), 0);
  EXPECT_EQ(card_number("cuda:0"), 0);
  EXPECT_EQ(card_number("cuda:31"), 31);
  for (const char* name : {"", "cpu", "gpu", "CUDA", "cuda:", "cuda1", "cuda:x", "cuda:-1", "cuda:-0",
                           "cuda:+1", "cuda:01", "cuda:1 ", "cuda:1:1", "cuda:99999999999"})
    EXPECT_FALSE(card_number(name)) << name;
}

TEST(Tensor, WidensEveryCheckpointType) {
  const uint16_t halves[] = {0x3C00, 0xC000};
  const TensorView view{DType::f16, {2}, reinterpret_cast<const std::byte*>(halves)};
  float out[2];
  copy_to_float(view, 0, 2, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  const int64_t whole[] = {1};
  EXPECT_THROW(copy_to_float({DType::i64, {1}, reinterpret_cast<const std::byte*>(whole)}, 0, 1, out), Error);
}

TEST(Machine, CountsWhatItsControlGroupsLeave) {
  const TemporaryFolder root;
  std::filesystem::create_directories(root / "outer" / "inner");
  EXPECT_EQ(group_memory_bytes(root.path(), "0::/outer/inner\n"), SIZE_MAX) << "no limits";
  write_file(root / "outer" / "memory.max", "1000\n");
  write_file(root / "outer" / "memory.current", "700\n");
  EXPECT_EQ(group_memory_bytes(root.path(), "0::/outer/inner\n"), 300u);
  write_file(root / "outer" / "memory.stat", "anon 500\nfile_mapped 7\nfile 200\n");
  EXPECT_EQ(group_memory_bytes(root.path(), "3:cpu:/x\n0::/outer/inner\n"), 500u) << "files are given back";
  write_file(root / "outer" / "inner" / "memory.max", "max\n");
  write_file(root / "outer" / "inner" / "memory.current", "600\n");
  EXPECT_EQ(group_memory_bytes(root.path(), "0::/outer/inner\n"), 500u);
  write_file(root / "outer" / "inner" / "memory.max", "400\n");
  EXPECT_EQ(group_memory_bytes(root.path(), "0::/outer/inner\n"), 0u) << "more is used than is allowed";
  EXPECT_EQ(group_memory_bytes(root.path(), "0::/\n"), SIZE_MAX);
  EXPECT_EQ(group_memory_bytes(root.path(), "4:memory:/outer\n"), SIZE_MAX) << "version 1";
}

TEST(Machine, CountsTheProcessorsThatItsControlGroupsLeave) {
  const TemporaryFolder root;
  std::filesystem::create_directories(root / "outer" / "inner");
  const auto processors = [&] { return group_processors(root.path(), "0::/outer/inner\n"); };
  EXPECT_EQ(processors(), INT_MAX) << "no limits";
  write_file(root / "outer" / "cpu.max", "max 100000\n");
  EXPECT_EQ(processors(), INT_MAX);
  write_file(root / "outer" / "cpu.max", "250000 100000\n");
  EXPECT_EQ(processors(), 3) << "two and a half";
  write_file(root / "outer" / "inner" / "cpu.max", "50000 100000\n");
  EXPECT_EQ(processors(), 1);
  write_file(root / "outer" / "inner" / "cpu.max", "9999999999999 1\n");
  EXPECT_EQ(processors(), 3);
}

TEST(Machine, KeepsThingsWhereTheUserSays) {
  const auto with = [](const char* cache, const char* xdg, const char* home) {
    for (const auto& [name, value] :
         {std::pair{"DVLM_CACHE", cache}, {"XDG_CACHE_HOME", xdg}, {"HOME", home}})
      value ? ::setenv(name, value, 1) : ::unsetenv(name);
    return cache_folder().string();
  };
  EXPECT_EQ(with("/a", "/b", "/c"), "/a");
  EXPECT_EQ(with("", "/b", "/c"), "");
  EXPECT_EQ(with(nullptr, "/b", "/c"), "/b/dvlm");
  EXPECT_EQ(with(nullptr, "relative", "/c"), "/c/.cache/dvlm");
  EXPECT_EQ(with(nullptr, nullptr, nullptr), "");
  EXPECT_FALSE(processor_name().empty());
}

}  // namespace
}  // namespace dvlm
