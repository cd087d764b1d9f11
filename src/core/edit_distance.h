// Levenshtein's distance.
#pragma once
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace dvlm {

// The fewest characters to insert, delete or replace that make one text of the other.
template <class Text>
size_t edit_distance(const Text& a, const Text& b) {
  std::vector<size_t> row(b.size() + 1);  // distances of a's first i characters to each beginning of b
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t k = 0; k < b.size(); ++k) {
      const size_t replaced = diagonal + (a[i] != b[k]);
      diagonal = row[k + 1];
      row[k + 1] = std::min({replaced, row[k] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

}  // namespace dvlm
