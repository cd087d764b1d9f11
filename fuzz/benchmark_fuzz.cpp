// Benchmarks' files and answers to them: rows are found again by reading them alone, scores are shares.
#include <cmath>

#include "evaluate/tasks.h"
#include "evaluate/tsv.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  constexpr const char* kNames[] = {"AI2D_X",    "MMBench_X", "MMMU_X",    "MMMU_Pro_X", "MMMU_Pro_V_X",
                                    "ChartQA_X", "DocVQA_X",  "TextVQA_X", "GQA_X",      "POPE_X"};
  static fuzz::Folder folder;
  if (size == 0) return 0;
  const std::string name = kNames[data[0] % std::size(kNames)];
  const auto path = folder.path() / (name + ".tsv");
  folder.put(name + ".tsv", fuzz::text_of(data + 1, size - 1));
  std::unique_ptr<TestSet> set;
  if (!fuzz::accepts([&] { set = open_benchmark(path); })) return 0;
  const TsvFile file(path);
  DVLM_ASSERT(set->size() >= 1 && set->size() <= file.size());
  std::vector<nlohmann::json> rows;
  std::vector<std::string> texts;
  for (int64_t i = 0; i < std::min<int64_t>(set->size(), 16); ++i) {
    TestQuestion question;
    if (!fuzz::accepts([&] { question = set->question(i); })) continue;
    DVLM_ASSERT(question.id == set->id(i) && question.conversation.size() == 1);
    rows.push_back(question.row);
    // Any text of the row may be the answer: the right one, an option, the question.
    const auto any = std::next(rows.back().begin(), static_cast<int64_t>(data[0]) % std::ssize(rows.back()));
    texts.push_back(*any);
  }
  std::vector<Answered> answers;
  for (size_t i = 0; i < rows.size(); ++i) answers.push_back({rows[i], texts[i]});
  TaskScore score;
  if (!fuzz::accepts([&] { score = score_benchmark(name, answers); })) return 0;
  DVLM_ASSERT(score.values.size() == answers.size() && !score.parts.empty());
  for (const double value : score.values) DVLM_ASSERT(std::isnan(value) || (value >= 0 && value <= 1));
  for (const TaskScore::Part& part : score.parts) DVLM_ASSERT(part.score >= 0 && part.score <= 1);
  return 0;
}
