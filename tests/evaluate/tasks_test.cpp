// Prompts and scores beside VLMEvalKit's own code (tools/fixtures/make_eval_oracle.py).
#include "evaluate/tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/files.h"
#include "evaluate/choices.h"
#include "evaluate/python_text.h"
#include "evaluate/vqa.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const fs::path kFolder = DVLM_FIXTURES "/evaluate";

json fixture(const char* name) {
  return json::parse(read_file(kFolder / name));
}

Options options_of(const json& texts) {
  Options out;
  for (const auto& [letter, text] : texts.items()) out[letter[0]] = text;
  return out;
}

std::string letter_text(char letter) {
  return letter == 0 ? "" : std::string(1, letter);
}

TEST(Benchmarks, ScoreAnswersAsVlmEvalKitDoes) {
  const json rows = fixture("scores.json");
  std::map<std::string, int> counts;
  for (const json& row : rows) {
    const std::string rule = row[0], answer = row[2];
    ++counts[rule];
    const std::string what = row.dump();
    if (rule == "option") {
      EXPECT_EQ(letter_text(option_of(answer, options_of(row[1]))), row[3]) << what;
    } else if (rule == "last_line") {
      EXPECT_EQ(letter_text(option_of(last_line_answer(answer), options_of(row[1]))), row[3]) << what;
    } else if (rule == "yes_no") {
      EXPECT_EQ(yes_or_no(answer), row[3]) << what;
    } else {
      const std::string expected = row[1];
      const auto references = python::list_of(expected).value_or(std::vector{expected});
      const auto score = rule == "vqa_score"          ? vqa_score
                         : rule == "anls"             ? anls_score
                         : rule == "relaxed_accuracy" ? relaxed_score
                                                      : equal_score;
      EXPECT_DOUBLE_EQ(score(references, answer), row[3]) << what;
    }
  }
  EXPECT_EQ(counts.size(), 7u);
  EXPECT_GE(rows.size(), 800u);
}

TEST(Benchmarks, AskAsVlmEvalKitDoes) {
  const json tasks = fixture("prompts.json");
  EXPECT_EQ(tasks.size(), 14u) << "twelve files, of which two may ask for thoughts";
  for (const auto& [name, prompts] : tasks.items()) {
    const bool think = name.ends_with("_COT");
    const auto task =
        open_benchmark(kFolder / (name.substr(0, name.size() - (think ? 4 : 0)) + ".tsv"), think);
    EXPECT_EQ(task->name(), name);
    ASSERT_EQ(task->size(), static_cast<int64_t>(prompts.size())) << name;
    for (int64_t i = 0; i < task->size(); ++i) {
      json parts = json::array();
      const TestQuestion question = task->question(i);
      for (const ContentPart& part : question.conversation.at(0).content) {
        if (part.type == ContentPart::Type::text)
          parts.push_back({"text", part.text});
        else
          parts.push_back({"image", part.source.substr(std::string("data:;base64,").size())});
      }
      EXPECT_EQ(parts, prompts[static_cast<size_t>(i)]) << name << " row " << i;
    }
  }
}

// Splits, rotations of options, F1: whole evaluations.
TEST(Benchmarks, AddUpAsVlmEvalKitDoes) {
  const json runs = fixture("reports.json");
  EXPECT_EQ(runs.size(), 17u);
  for (const json& run : runs) {
    const std::string task = run[0];
    const auto set = open_benchmark(kFolder / (task + ".tsv"));
    std::vector<json> rows;
    std::vector<std::string> texts;
    for (int64_t i = 0; i < set->size(); ++i) {
      rows.push_back(set->question(i).row);
      texts.push_back(run[1][static_cast<size_t>(i)]);
    }
    std::vector<Answered> answers;
    for (size_t i = 0; i < rows.size(); ++i) answers.push_back({rows[i], texts[i]});
    const TaskScore score = score_benchmark(task, answers);
    EXPECT_EQ(score.parts.at(0).name, task == "MMMU_DEV_VAL" ? "validation" : "all");
    for (const auto& [name, value] : run[2].items()) {
      const auto part = std::ranges::find(score.parts, name, &TaskScore::Part::name);
      const double found = part == score.parts.end() ? 0 : 100 * part->score;
      EXPECT_NEAR(found, value, 1e-9) << task << run[1] << name;
    }
  }
}

TEST(Benchmarks, BadFilesAreRefused) {
  const TemporaryFolder folder;
  const auto problem = [&](const std::string& name, const std::string& text) {
    write_file(folder / name, text);
    return message_of([&] {
      const auto set = open_benchmark(folder / name);
      set->question(0);
    });
  };
  const std::string picture(80, 'A'), head = "index\timage\tquestion\tanswer\n";
  EXPECT_EQ(problem("POPE.tsv", head + "0\t" + picture + "\tIs it?\tYes\n"), "no error");
  EXPECT_THAT(problem("MMLU.tsv", head + "0\tA\tB\tC\n"), HasSubstr("no benchmark is called MMLU"));
  EXPECT_THAT(problem("POPE.tsv", head), HasSubstr("holds no rows"));
  EXPECT_THAT(problem("POPE.tsv", "image\n" + picture + "\n"), HasSubstr("\"index\""));
  EXPECT_THAT(problem("POPE.tsv", head + "0\t" + picture + "\ta\tb\tc\n"),
              HasSubstr("5 values for 4 columns"));
  EXPECT_THAT(problem("POPE.tsv", head + "0\t0\tIs it?\tYes\n"), HasSubstr("without one"));
  EXPECT_THAT(problem("POPE.tsv", head + "0\t" + picture + "\t\tYes\n"), HasSubstr("\"question\""));
  EXPECT_THAT(problem("POPE.tsv", "index\tindex\n0\t1\n"), HasSubstr("two columns"));
  EXPECT_THAT(problem("MMMU_X.tsv", head + "0\t" + picture + "\t<image 2>\tA\n"), HasSubstr("picture 2"));
  EXPECT_THAT(problem("MMMU_X.tsv", head + "0\t" + picture + "\t<image two>\tA\n"), HasSubstr("no number"));
  EXPECT_THAT(problem("POPE.tsv", "index\timage_path\tquestion\n0\tgone.png\tIs it?\n"),
              HasSubstr("gone.png"));
  EXPECT_THAT(message_of([&] { open_benchmark(folder / "POPE.tsv", true); }), HasSubstr("thoughts"));
  write_file(folder / "there.png", "x");
  EXPECT_EQ(problem("POPE.tsv", "index\timage_path\tquestion\n0\tthere.png\tIs it?\n"), "no error");
}

// Interrupted runs: a question whose first rotation was not answered yet, and none answered at all.
TEST(Benchmarks, ScoreWhatIsThere) {
  const auto row = [](const char* index) {
    return json{{"index", index}, {"A", "x"}, {"B", "y"}, {"answer", "A"}};
  };
  const std::vector<json> rows = {row("1000007"), row("2000007"), row("2000009"), row("9"), row("3000004")};
  const std::string right = "A", wrong = "B";
  const std::vector<Answered> answers = {
      {rows[0], right}, {rows[1], wrong}, {rows[2], right}, {rows[3], right}, {rows[4], right}};
  const TaskScore score = score_benchmark("MMBench_X", answers);
  EXPECT_EQ(score.parts.at(0).answers, 3);
  EXPECT_NEAR(score.parts[0].score, 2.0 / 3, 1e-12);
  for (const char* task : {"AI2D_X", "MMBench_X", "MMMU_X", "POPE_X", "DocVQA_X"}) {
    const TaskScore nothing = score_benchmark(task, {});
    ASSERT_FALSE(nothing.parts.empty()) << task;
    EXPECT_EQ(nothing.parts[0].answers, 0) << task;
  }
}

}  // namespace
}  // namespace dvlm
