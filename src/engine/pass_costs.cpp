#include "engine/pass_costs.h"

#include <algorithm>
#include <limits>

#include "core/stopwatch.h"
#include "model/prompt.h"

namespace dvlm {

namespace {

// Passes that verify and draft: up to three blocks wide, but no wider than would ever pay.
int widest(int largest) {
  return std::max(largest, std::min(3 * largest, 128));
}

double timed_pass(Model& model, Sequence& sequence, int rows, bool draft) {
  const std::vector<TokenId> tokens(static_cast<size_t>(rows), 0);
  const std::vector<Position> positions = text_positions(0, rows);
  const std::vector<Wanted> every = want_rows(0, rows);
  const Segment segment{.sequence = &sequence,
                        .tokens = tokens,
                        .positions = positions,
                        .features = {},
                        .visibility = draft ? Visibility::bidirectional : Visibility::causal,
                        .approximate = draft,
                        .wanted = every};
  return milliseconds_of([&] { model.forward({&segment, 1}); });
}

double best_of(Model& model, Sequence& sequence, int rows, bool draft) {
  constexpr int kMaxPasses = 4;
  constexpr double kEnoughMs = 100;
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int i = 0; i < kMaxPasses && spent < kEnoughMs; ++i) {
    const double ms = timed_pass(model, sequence, rows, draft);
    best = std::min(best, ms);
    spent += ms;
  }
  return best;
}

// Passes of 1, 2, 4, ... `largest` rows. Once twice the rows take almost twice the time, wider passes will
// too.
CostCurve measure(Model& model, int largest, bool draft) {
  constexpr double kProportional = 1.8;
  const auto sequence = model.new_sequence(largest);
  CostCurve curve;
  for (int rows = 1; rows <= largest; rows = rows < largest ? std::min(2 * rows, largest) : largest + 1) {
    curve.points.emplace_back(rows, best_of(model, *sequence, rows, draft));
    if (rows >= 16 && curve.points.back().second > kProportional * curve.of(rows / 2)) break;
  }
  // Every width is timed a second time: buffers have grown by then, and a bad moment of the machine has
  // passed.
  double before = 0;
  for (auto& [rows, ms] : curve.points) {
    // A wider pass never costs less: what looks so is noise.
    before = ms = std::max(before, std::min(ms, best_of(model, *sequence, rows, draft)));
  }
  const auto [rows, ms] = curve.points.back();
  if (rows < largest) curve.points.emplace_back(largest, ms * largest / rows);
  return curve;
}

}  // namespace

PassCosts measure_pass_costs(Model& model, int largest) {
  return {measure(model, widest(largest), false), measure(model, largest, true)};
}

}  // namespace dvlm
