#include "train/meter.h"

#include <algorithm>

namespace dvlm {

void Meter::add(const LogPoint& step) {
  const LogPoint before = sums_;
  sums_ = step;
  sums_.loss += before.loss, sums_.noisy += before.noisy, sums_.clean += before.clean;
  sums_.regions += before.regions, sums_.gradient_norm += before.gradient_norm;
  ++steps_;
}

LogPoint Meter::take() {
  const auto n = static_cast<double>(steps_);
  const double spent = std::max(seconds_since(start_), 1e-9);
  LogPoint point = sums_;
  point.loss /= n, point.noisy /= n, point.clean /= n, point.regions /= n, point.gradient_norm /= n;
  point.samples_per_second = static_cast<double>(samples_) / spent;
  point.tokens_per_second = static_cast<double>(tokens_) / spent;
  *this = Meter();
  return point;
}

}  // namespace dvlm
