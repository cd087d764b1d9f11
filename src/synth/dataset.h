// Synthetic data sets: a folder with images/*.png and data.jsonl, one conversation or question a line.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "synth/questions.h"

namespace dvlm {

struct SynthOptions {
  static constexpr int64_t kMaxCount = 100'000'000, kMaxFirst = 1'000'000'000'000;
  static constexpr int kMaxTurns = 16;

  std::filesystem::path output;  // folder; made when missing
  int64_t count = 1000;          // lines
  int64_t first = 0;             // index of the first scene: continue a set, or add to it
  uint64_t seed = 1;
  Split split = Split::train;
  double benchmark_share = 0;        // of conversations that are asked as benchmarks ask
  bool conversations = true;         // false: one question a line, with "type" and "answer" fields
  int min_turns = 6, max_turns = 8;  // of a conversation
  // Of questions (single ones: in turn), repeated where one is to come more often; empty: all about scenes.
  std::vector<QuestionType> types;
  SceneOptions scene;
  int threads = 1;
  bool images = true;         // false: only data.jsonl
  bool cell_regions = false;  // also say of the image tokens that show an object where they are: "C5"
  bool overwrite = false;     // replace an existing data.jsonl

  void validate() const;  // throws Error naming the bad field; `output` may be empty for a contact sheet
};

// Returns the number of lines written: fewer than `count` after Ctrl-C, when the set is still complete in
// itself. Line i depends on (seed, split, first + i) and the options above, not on `count` or `threads`.
//
// A line of conversations:
//   {"id": "train-1-000000", "messages": [{"role": "user", "content": [{"type": "image", "image":
//   "images/000000.png"}, {"type": "text", "text": "..."}]}, {"role": "assistant", "content": "..."}, ...],
//   "types": ["where", ...], "scene": {...}}
// A line of single questions has one user message, and "type", "answer", "metric" and "long" in place of
// "types". A chart or document is described by "paper" in place of "scene".
int64_t write_dataset(const SynthOptions& options);

// Draws the first columns x rows pictures of the options in one PNG.
void write_contact_sheet(const SynthOptions& options, const std::filesystem::path& path, int columns,
                         int rows);

}  // namespace dvlm
