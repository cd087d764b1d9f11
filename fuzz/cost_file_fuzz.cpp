// The file of costs, which anything may have written: what is found in it is a curve, what is kept
// is found, and a file that is something else stays as it is.
#include "engine/cost_file.h"

#include <cmath>
#include <ctime>

#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;

void check(const CostCurve& curve) {
  DVLM_ASSERT(curve.points.empty() || curve.points.front().rows >= 1);
  for (size_t i = 0; i < curve.points.size(); ++i) {
    DVLM_ASSERT(std::isfinite(curve.points[i].time) && curve.points[i].time > 0);
    DVLM_ASSERT(curve.points[i].unseen >= 0);
    DVLM_ASSERT(i == 0 || (curve.points[i].rows > curve.points[i - 1].rows &&
                           curve.points[i].time >= curve.points[i - 1].time));
  }
}

}  // namespace

// "now" as a time becomes the time, or what is kept would be too old soon.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  std::string text(fuzz::text_of(data, size));
  const std::string now = "\"now\"";
  for (size_t at; (at = text.find(now)) != text.npos;)
    text.replace(at, now.size(), std::to_string(std::time(nullptr) - 60));
  folder.put("costs.json", text);
  const CostFile file(folder.path() / "costs.json");
  for (const char* key : {"a", "b", "tiny"})
    if (const auto found = file.find(key, 8)) {
      DVLM_ASSERT(!found->costs.exact.points.empty());  // those of drafts may be: the model has none
      check(found->costs.exact), check(found->costs.draft);
      for (const auto& drafts : found->drafts) {
        const RoundPlan plan = BlockChooser(found->costs, 8, drafts).choose(8);
        DVLM_ASSERT(plan.block >= 1 && plan.block <= 8 && plan.rate >= 0);
      }
    }
  const PassCosts given{{{{1, 1.5}, {8, 2.0}}}, {{{1, 1.0}}}};
  file.keep("tiny", 32, given, false, {});
  const auto kept = file.find("tiny", 32);
  if (kept)
    DVLM_ASSERT(kept->largest > 32 || (kept->costs.exact.points == given.exact.points &&
                                       kept->costs.draft.points == given.draft.points));
  else
    DVLM_ASSERT(folder.text("costs.json") == text);
  return 0;
}
