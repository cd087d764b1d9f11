#include "engine/cost_learner.h"

#include <algorithm>
#include <utility>

namespace dvlm {

namespace {

// Of passes that take no less than `row` for each of their rows, where one of narrow.rows took narrow.ms.
CostCurve guess(SeenPass narrow, double row, int largest) {
  CostCurve curve;
  for (const int rows : cost_widths(largest)) {
    const double fewer = narrow.ms - row * std::max(0, narrow.rows - rows);
    curve.points.push_back({rows, std::max(fewer, row * rows), kUnseen});
  }
  return curve;
}

int rows_of(std::span<const Segment> segments) {
  int rows = 0;
  for (const Segment& segment : segments) rows += static_cast<int>(segment.tokens.size());
  return rows;
}

}  // namespace

PassCosts guess_costs(const WeightMemory& memory, int largest, SeenPass narrow, SeenPass prompt) {
  constexpr double kFreeRows = 64;  // that a pass is thought to have room for where no prompt tells
  constexpr int kWider = 4;  // times as wide a prompt tells more of its rows than of the machine's moods
  constexpr double kCheaperRow = 4;  // drafts multiply at most so many times as fast
  const double known = (prompt.ms - narrow.ms) / std::max(1, prompt.rows - narrow.rows);
  const bool tells = prompt.rows >= kWider * narrow.rows && known > 0;
  const double row = std::min(tells ? known : narrow.ms / kFreeRows, narrow.ms / narrow.rows);
  PassCosts out{guess(narrow, row, widest_exact(largest)), {}};
  out.exact.learn(narrow.rows, narrow.ms);
  if (memory.draft == DraftPrecision::same) return out;
  const double share =
      memory.weights > 0 ? static_cast<double>(memory.drafts) / static_cast<double>(memory.weights) : 1;
  out.draft = guess({narrow.rows, narrow.ms * std::min(share, 1.0)}, row / kCheaperRow, largest);
  return out;
}

void widen(PassCosts& costs, int largest) {
  for (auto [curve, most] :
       {std::pair{&costs.exact, widest_exact(largest)}, std::pair{&costs.draft, largest}}) {
    if (curve->points.empty()) continue;
    for (const int rows : cost_widths(most))
      if (rows > curve->most()) curve->points.push_back({rows, curve->of(rows), kUnseen});
  }
}

std::shared_ptr<BlockChooser> new_chooser(const Model& model, int largest, const PassCosts& costs,
                                          const DraftEvidences& known) {
  const bool approximates = model.weight_memory().draft != DraftPrecision::same;
  return std::make_shared<BlockChooser>(costs, largest, known, approximates);
}

void CostLearner::read(std::span<const Segment> segments, double ms) {
  const int rows = rows_of(segments);
  if (rows > prompt_.rows || (rows == prompt_.rows && ms < prompt_.ms)) prompt_ = {rows, ms};
}

void CostLearner::wrote(std::span<const Segment> segments, double ms, std::span<BlockChooser* const> choosers,
                        int largest) const {
  const SeenPass pass{rows_of(segments), ms};
  if (pass.rows == 0 || !(ms > 0)) return;
  const bool drafted = std::ranges::all_of(segments, &Segment::approximate);
  for (auto chooser = choosers.begin(); chooser != choosers.end(); ++chooser) {
    if (std::find(choosers.begin(), chooser, *chooser) != chooser) continue;  // it has learnt already
    if (!(*chooser)->costs().exact.points.empty())
      (*chooser)->saw_pass(pass.rows, drafted, pass.ms);
    else if (!drafted || memory_.draft == DraftPrecision::same)
      (*chooser)->set_costs(guess_costs(memory_, largest, pass, prompt_));
  }
}

}  // namespace dvlm
