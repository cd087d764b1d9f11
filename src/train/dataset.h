// Conversations on disk, one JSON object per line, and the order in which training reads them.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "core/memory.h"
#include "image/preprocess.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include "train/layout.h"
#include "train/regions.h"

namespace dvlm {

// One conversation, tokenised: the clean stream with its pictures.
struct Sample {
  std::vector<TokenId> ids;
  std::vector<Position> positions;
  std::vector<Span> answers;         // tokens to learn
  std::vector<Patches> visuals;      // pictures and videos in the order of their pads in `ids`
  std::vector<RegionToken> regions;  // image tokens that the line has words for
  uint64_t draw = 0;                 // epoch * dataset size + line: addresses this sample's noise
};

// What turns text and pictures into a sample. Refers to objects of the caller.
struct SampleContext {
  const Tokenizer& tokenizer;
  const ModelConfig& config;
  AnswerMarkers markers;
  int max_length = 2048;
};

// JSONL files, mapped: {"messages": [...], "regions": [...]} per line, regions optional, other keys ignored,
// blank lines skipped. Picture paths are relative to the file's folder.
class Dataset {
 public:
  // Throws Error when a file is missing or holds no line.
  explicit Dataset(const std::vector<std::string>& paths);

  int64_t size() const { return static_cast<int64_t>(lines_.size()); }
  // Something that grows with the sample's length and costs nothing: the bytes of its line.
  int64_t length_hint(int64_t i) const {
    return static_cast<int64_t>(lines_[static_cast<size_t>(i)].text.size());
  }

  // Reads sample i. Longer ones are cut to max_length; one whose pictures do not fit comes back empty (no
  // ids). Throws Error naming file and line when the line is malformed, a picture is missing, or there is no
  // answer.
  Sample load(int64_t i, const SampleContext& context) const;

 private:
  struct Line {
    std::string_view text;
    size_t file = 0;
    int64_t number = 0;
  };
  std::vector<std::filesystem::path> paths_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<Line> lines_;
};

// The batches of one epoch: a seeded permutation, sorted by length inside windows of 32 batches so that a
// batch pads little, then the batches of a window shuffled. Every sample once; the last batch may be smaller.
std::vector<std::vector<int64_t>> epoch_batches(const Dataset& dataset, int batch_size, uint64_t seed,
                                                int64_t epoch);

// Reads the samples of coming steps in a thread of its own. What step s holds depends on nothing but s.
class StepLoader {
 public:
  struct Step {
    std::vector<std::vector<Sample>> batches;  // one per accumulation pass
    int64_t epoch = 0;                         // of its first sample
    int64_t dropped = 0;                       // samples whose pictures did not fit max_length
  };
  StepLoader(const Dataset& dataset, SampleContext context, int batch_size, int accumulation, uint64_t seed,
             int64_t first_step);
  ~StepLoader();
  StepLoader(const StepLoader&) = delete;
  StepLoader& operator=(const StepLoader&) = delete;

  Step next();  // waits when reading falls behind; rethrows its errors

 private:
  void read_ahead(const std::stop_token& stop, int64_t step);
  Step read_step(int64_t step);

  const Dataset& dataset_;
  SampleContext context_;
  int batch_size_, accumulation_;
  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<std::vector<int64_t>> order_;  // of epoch_
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Step> ready_;
  std::exception_ptr error_;
  std::jthread thread_;  // last: it must end before what it uses
};

}  // namespace dvlm
