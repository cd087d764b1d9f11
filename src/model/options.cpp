#include "model/options.h"

namespace dvlm {

DraftPrecision drafts_that_pay(size_t weights, size_t int4_drafts, size_t free) {
  constexpr size_t kLarge = size_t{256} << 20;  // no cache holds it
  const size_t both = weights + int4_drafts;
  return weights >= kLarge && both + both / 4 <= free ? DraftPrecision::int4 : DraftPrecision::same;
}

}  // namespace dvlm
