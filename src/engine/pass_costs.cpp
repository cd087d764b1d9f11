#include "engine/pass_costs.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

namespace dvlm {

namespace {

// Passes that verify and draft: up to three blocks wide, but no wider than would ever pay.
int widest(int largest) {
  return std::max(largest, std::min(3 * largest, 128));
}

double timed_pass(Model& model, Sequence& sequence, int rows, bool draft) {
  const std::vector<TokenId> tokens(static_cast<size_t>(rows), 0);
  std::vector<Position> positions(tokens.size());
  for (int i = 0; i < rows; ++i) positions[static_cast<size_t>(i)] = {i, i, i};
  std::vector<int> every(static_cast<size_t>(rows));
  std::iota(every.begin(), every.end(), 0);
  const Segment segment{.sequence = &sequence,
                        .tokens = tokens,
                        .positions = positions,
                        .features = {},
                        .visibility = draft ? Visibility::bidirectional : Visibility::causal,
                        .approximate = draft,
                        .logit_rows = every};
  const auto start = std::chrono::steady_clock::now();
  model.forward({&segment, 1});
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Passes of 1, 2, 4, ... `largest` rows. Once twice the rows take almost twice the time, wider passes will
// too.
CostCurve measure(Model& model, int largest, bool draft) {
  constexpr int kMostPasses = 6;
  constexpr double kEnoughMs = 150;  // per width, once it has been seen
  constexpr double kProportional = 1.8;
  const auto sequence = model.new_sequence(largest);
  timed_pass(model, *sequence, std::min(largest, 4), draft);  // pages are touched
  CostCurve curve;
  for (int rows = 1; rows <= largest; rows = rows < largest ? std::min(2 * rows, largest) : largest + 1) {
    double best = std::numeric_limits<double>::infinity(), spent = 0;
    for (int i = 0; i < kMostPasses && spent < kEnoughMs; ++i) {
      const double ms = timed_pass(model, *sequence, rows, draft);
      if (i > 0 || spent + ms >= kEnoughMs) best = std::min(best, ms);  // the first one makes buffers grow
      spent += ms;
    }
    const double before = curve.points.empty() ? 0 : curve.points.back().second;
    // A wider pass never costs less: what looks so is noise.
    curve.points.emplace_back(rows, std::max(best, before));
    const int narrower = rows / 2;
    if (rows >= 16 && rows < largest && best > kProportional * curve.of(narrower)) {
      curve.points.emplace_back(largest, curve.points.back().second * largest / rows);
      break;
    }
  }
  return curve;
}

}  // namespace

PassCosts measure_pass_costs(Model& model, int largest) {
  return {measure(model, widest(largest), false), measure(model, largest, true)};
}

}  // namespace dvlm
