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
  int largest = 0;  // tokens of a block that the costs are for
  PassCosts costs;
  std::array<DraftEvidences, 2> drafts = {};  // [1]: where a grammar is followed
};

// `newer` instead of `kept`, which stays where that says nothing: of places in larger blocks.
void replace_drafts(DraftEvidences& kept, const DraftEvidences& newer);

// A JSON file with the costs of at most kMost models, the last kept first. Written as a whole or not at all.
// What cannot be read or written costs time and a warning; a file that is something else is never touched.
class CostFile {
 public:
  static constexpr size_t kMost = 32;
  static constexpr int kDays = 30;  // that costs are believed

  explicit CostFile(std::filesystem::path path) : path_(std::move(path)) {}  // empty: none

  // What was kept under this key for blocks of at least `largest` tokens.
  std::optional<KeptCosts> find(const std::string& key, int largest) const;
  // What drafts were worth, however old the costs beside that are and whatever they are for.
  std::array<DraftEvidences, 2> drafts_of(const std::string& key) const;
  // In place of what was kept under this key, but for drafts with a grammar or, of these, without one, and
  // for costs of larger blocks. Returns whether it was kept.
  bool keep(const std::string& key, int largest, const PassCosts& costs, bool grammar,
            const DraftEvidences& drafts) const;

 private:
  const std::filesystem::path path_;
};

}  // namespace dvlm
