#include "measure/pass_costs.h"

#include <algorithm>
#include <limits>

#include "core/stopwatch.h"
#include "model/prompt.h"

namespace dvlm {

namespace {

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

CostCurve measure(Model& model, Sequence& sequence, int largest, bool draft) {
  constexpr double kProportional = 0.9;  // of a pass that costs what its rows cost alone
  constexpr int kNarrow = 16;
  CostCurve curve;
  for (const int rows : cost_widths(largest)) {
    curve.points.push_back({rows, best_of(model, sequence, rows, draft)});
    if (rows <= kNarrow) continue;
    const CostPoint& before = *(curve.points.end() - 2);
    if (curve.points.back().time > kProportional * before.time * rows / before.rows) break;  // as wider ones
  }
  // Narrow passes a second time: weights are touched, buffers have grown, a bad moment of the machine has
  // passed.
  for (CostPoint& point : curve.points)
    if (point.rows <= kNarrow) point.time = std::min(point.time, best_of(model, sequence, point.rows, draft));
  settle(curve);
  const CostPoint last = curve.points.back();
  if (last.rows < largest) curve.points.push_back({largest, last.time * largest / last.rows});
  return curve;
}

}  // namespace

void settle(CostCurve& curve) {
  auto& points = curve.points;
  for (size_t i = points.size() - 1; i > 0; --i)
    points[i - 1].time = std::min(points[i - 1].time, points[i].time);
}

PassCosts measure_pass_costs(Model& model, int largest) {
  const int wide = widest_exact(largest);
  const std::unique_ptr<Sequence> sequence = model.new_sequence(wide);
  PassCosts costs{measure(model, *sequence, wide, false), {}};
  if (model.weight_memory().draft != DraftPrecision::same)
    costs.draft = measure(model, *sequence, largest, true);
  return costs;
}

}  // namespace dvlm
