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

// Times passes on one sequence, and tells of them.
class Timer {
 public:
  Timer(Model& model, int widest, const LayerWatch& watch, int64_t expected)
      : model_(model), sequence_(model.new_sequence(widest)), watch_(watch), expected_(expected) {
    if (watch_) watch_(0, expected_);
  }

  double best_of(int rows, bool draft) {
    constexpr int kMaxPasses = 4;
    constexpr double kEnoughMs = 100;
    double best = std::numeric_limits<double>::infinity(), spent = 0;
    for (int i = 0; i < kMaxPasses && spent < kEnoughMs; ++i) {
      const double ms = timed_pass(model_, *sequence_, rows, draft);
      best = std::min(best, ms);
      spent += ms;
    }
    if (watch_) watch_(std::min(++done_, expected_ - 1), expected_);
    return best;
  }
  void finish() const {
    if (watch_) watch_(expected_, expected_);
  }

 private:
  Model& model_;
  std::unique_ptr<Sequence> sequence_;
  const LayerWatch& watch_;
  int64_t done_ = 0;
  const int64_t expected_;  // about
};

// 1, 8, 32, 128, ... `largest`: lines between these are as good to choose by as every width, and somebody
// waits.
std::vector<int> widths(int largest) {
  std::vector<int> out = {1};
  for (int rows = 8; rows < largest; rows *= 4) out.push_back(rows);
  if (largest > 1) out.push_back(largest);
  return out;
}

CostCurve measure(Timer& timer, int largest, bool draft) {
  constexpr double kProportional = 0.9;  // of a pass that costs what its rows cost alone
  constexpr int kNarrow = 16;
  CostCurve curve;
  for (const int rows : widths(largest)) {
    curve.points.emplace_back(rows, timer.best_of(rows, draft));
    if (rows <= kNarrow) continue;
    const auto& [before, ms] = *(curve.points.end() - 2);
    if (curve.points.back().second > kProportional * ms * rows / before) break;  // as wider ones will
  }
  // Narrow passes a second time: weights are touched, buffers have grown, a bad moment of the machine has
  // passed.
  for (auto& [rows, ms] : curve.points)
    if (rows <= kNarrow) ms = std::min(ms, timer.best_of(rows, draft));
  settle(curve);
  const auto [rows, ms] = curve.points.back();
  if (rows < largest) curve.points.emplace_back(largest, ms * largest / rows);
  return curve;
}

}  // namespace

void settle(CostCurve& curve) {
  auto& points = curve.points;
  for (size_t i = points.size() - 1; i > 0; --i)
    points[i - 1].second = std::min(points[i - 1].second, points[i].second);
}

PassCosts measure_pass_costs(Model& model, int largest, const LayerWatch& watch) {
  const int wide = widest(largest);
  const bool approximates = model.weight_memory().draft != DraftPrecision::same;
  const auto passes = [](int most) { return std::ssize(widths(most)) + 2; };
  Timer timer(model, wide, watch, passes(wide) + (approximates ? passes(largest) : 0));
  PassCosts costs{measure(timer, wide, false), {}};
  if (approximates) costs.draft = measure(timer, largest, true);
  timer.finish();
  return costs;
}

}  // namespace dvlm
