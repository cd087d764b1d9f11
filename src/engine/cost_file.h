// What passes cost and drafts were worth in earlier processes, in a small file.
#pragma once
#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "decode/block_chooser.h"

namespace dvlm {

struct KeptCosts {
  PassCosts costs;
  std::array<DraftEvidences, 2> drafts = {};  // [1]: where a grammar is followed
};

// A JSON file with the costs of at most kMost models, the last measured first. Written as a whole or not at
// all. What cannot be read or written costs time and a warning; a file that is something else is never
// touched.
class CostFile {
 public:
  static constexpr size_t kMost = 32;
  static constexpr int kDays = 30;  // that costs are believed

  explicit CostFile(std::filesystem::path path) : path_(std::move(path)) {}  // empty: none

  // What was kept under this key for blocks of at least `largest` tokens.
  std::optional<KeptCosts> find(const std::string& key, int largest) const;
  // What drafts were worth, however old the costs beside that are and whatever they were measured for.
  std::array<DraftEvidences, 2> drafts_of(const std::string& key) const;
  // Whether they were kept, as here below.
  bool keep(const std::string& key, int largest, const PassCosts& costs) const;
  // Of a model whose costs are kept.
  bool keep_drafts(const std::string& key, bool grammar, const DraftEvidences& drafts) const;

 private:
  const std::filesystem::path path_;
};

}  // namespace dvlm
