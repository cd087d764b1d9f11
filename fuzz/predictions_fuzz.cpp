// Kept answers, whose last line a crash may have torn: what is read is the same when it is written again, and
// adds up to finite numbers.
#include <cmath>

#include "evaluate/agreement.h"
#include "evaluate/predictions.h"
#include "evaluate/report.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  PredictionSet set;
  if (!fuzz::accepts([&] { set = read_predictions(file.path(), TokenScores::read); })) return 0;
  std::vector<TaskResult> results;
  if (!fuzz::accepts([&] { results = results_of({set}); })) return 0;
  const DecoderResult& result = results.at(0).decoders.at(0);
  DVLM_ASSERT(result.score.values.size() == set.predictions.size());
  for (const TaskScore::Part& part : result.score.parts) {
    DVLM_ASSERT(part.score >= 0 && part.score <= 1);
    if (const auto interval = interval_of(part))
      DVLM_ASSERT(interval->first >= 0 && interval->first <= interval->second && interval->second <= 1);
  }
  DVLM_ASSERT(std::isfinite(result.speed.tokens_per_s()) && std::isfinite(result.speed.tokens_per_pass()));
  const Agreement agreement = compare({set}, {set}).at(0);
  DVLM_ASSERT(agreement.identical == agreement.answers && agreement.largest_kl == 0);
  DVLM_ASSERT(report_markdown(results).ends_with("|\n"));
  return 0;
}
