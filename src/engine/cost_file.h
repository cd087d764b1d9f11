// Costs of passes that were measured before, in a small file.
#pragma once
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "decode/block_chooser.h"

namespace dvlm {

// A JSON file with the costs of at most kMost models, the last measured first. Written as a whole or not at
// all. What cannot be read or written costs time and a warning; a file that is something else is never
// touched.
class CostFile {
 public:
  static constexpr size_t kMost = 32;
  static constexpr int kDays = 30;  // that costs are believed

  explicit CostFile(std::filesystem::path path) : path_(std::move(path)) {}  // empty: none

  // What was kept under this key for blocks of at least `largest` tokens.
  std::optional<PassCosts> find(const std::string& key, int largest) const;
  void keep(const std::string& key, int largest, const PassCosts& costs) const;

 private:
  const std::filesystem::path path_;
};

}  // namespace dvlm
