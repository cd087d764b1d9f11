#include "evaluate/examples.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

class Examples : public testing::Test {
 protected:
  Examples()
      : file_(fs::temp_directory_path() / ("dvlm_examples_" + std::to_string(::getpid()) + ".jsonl")) {}
  ~Examples() override { fs::remove(file_); }

  // The example of a line with these keys beside its question.
  Example read(const std::string& keys) const {
    write_file(file_, "{\"messages\": [{\"role\": \"user\", \"content\": \"What?\"}], " + keys + "}\n");
    return read_examples(file_).at(0);
  }
  std::string problem(const std::string& keys) const {
    try {
      read(keys);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path file_;
};

TEST_F(Examples, NameTheirMetric) {
  EXPECT_EQ(read(R"("answer": "40", "metric": "relaxed")").metric, Metric::relaxed);
  EXPECT_EQ(read(R"("answer": "40", "type": "boxes")").metric, Metric::exact) << "a type is only a name";
  EXPECT_THAT(problem(R"("answer": "40", "metric": "rouge")"), testing::HasSubstr("rouge"));
  EXPECT_THAT(problem(R"("answer": "40", "metric": 5)"), testing::HasSubstr("metric"));
}

TEST_F(Examples, AreLongWhenTheyOrTheirAnswersSaySo) {
  const auto answer = [](size_t bytes) { return "\"answer\": \"" + std::string(bytes, 'a') + "\""; };
  EXPECT_FALSE(read(answer(kLongAnswer)).is_long);
  EXPECT_TRUE(read(answer(kLongAnswer + 1)).is_long);
  EXPECT_FALSE(read(answer(kLongAnswer + 1) + ", \"long\": false").is_long);
  EXPECT_TRUE(read(answer(5) + ", \"long\": true").is_long);
  EXPECT_THAT(problem(answer(5) + ", \"long\": \"yes\""), testing::HasSubstr("long"));
}

}  // namespace
}  // namespace dvlm
