// Whole rows of logits, for tests that compare models.
#pragma once
#include <vector>

#include "model/model.h"

namespace dvlm {

inline std::vector<Wanted> want_logits(std::span<const int> rows) {
  std::vector<Wanted> out;
  out.reserve(rows.size());
  for (const int row : rows) out.push_back({.row = row, .choice = Choice::logits});
  return out;
}

// Of every row of a segment.
inline std::vector<Wanted> want_logits(int rows) {
  return want_rows(0, rows, {.choice = Choice::logits});
}

// Row after row.
inline std::vector<float> logits_of(std::span<const Chosen> chosen) {
  std::vector<float> out;
  for (const Chosen& row : chosen) out.insert(out.end(), row.logits.begin(), row.logits.end());
  return out;
}

}  // namespace dvlm
