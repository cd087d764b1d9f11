// The interface of a loaded checkpoint on one device. It knows nothing of decoding policies.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/config.h"
#include "image/preprocess.h"
#include "model/options.h"

namespace dvlm {

// Position of a token on M-RoPE's three axes: time, height, width. Text has all three equal.
struct Position {
  int32_t t = 0, h = 0, w = 0;
  bool operator==(const Position&) const = default;
};

// Merger output of one image or video: [tokens, text hidden size].
struct ImageFeatures {
  std::vector<float> values;
  int tokens = 0;
};

// A growing run of committed tokens and their K/V, owned by the model that made it. Freed with the handle.
class Sequence {
 public:
  explicit Sequence(const void* owner = nullptr) : owner_(owner) {}
  virtual ~Sequence() = default;
  const void* owner() const { return owner_; }  // the model that made it
  virtual int length() const = 0;               // committed tokens
  virtual int capacity() const = 0;             // that it has room for
  virtual void truncate(int length) = 0;        // forget everything from `length` on
  // An independent copy of the first `length` tokens without room for more, see reserve(). It may share
  // memory with this one. Throws Error when memory for what cannot be shared is short.
  virtual std::unique_ptr<Sequence> fork(int length) const = 0;
  // Makes room for `capacity` committed tokens and keeps those held; false when it cannot, e.g. for want of
  // memory.
  virtual bool reserve(int capacity) = 0;
  virtual void trim() = 0;  // gives back the room beyond what is held

 private:
  const void* owner_;
};

// Memory of keys and values, in bytes.
struct KvMemory {
  size_t used = 0, limit = 0;  // limit 0: what the machine has
};

// What a model's weights take, in bytes, and what drafts are made with.
struct WeightMemory {
  size_t weights = 0, drafts = 0;
  DraftPrecision draft = DraftPrecision::same;
};

// Ids that a row must not choose: the mask token and the padding rows of the head. The default allows all.
struct ExcludedTokens {
  TokenId token = -1;  // never chosen; -1 = none
  int limit = 0;       // ids at or above it are not chosen; 0 = all allowed
};

enum class Choice : uint8_t {
  greedy,  // the largest logit, the lowest id among equals
  draw,    // temperature, then top-k, then top-p (the crossing token included), then the inverse CDF at u,
           // walked from the most probable token down, the lower id first among equals
  logits,  // no token: the row itself, for scoring and tests
};

// A logit becomes x = logit + add, then x / divide where x is above 0 and x * divide elsewhere, then less
// `subtract`.
struct LogitChange {
  TokenId token = 0;
  float add = 0, divide = 1, subtract = 0;  // divide: above 0

  float of(float logit) const {
    const float x = logit + add;
    return (x > 0 ? x / divide : x * divide) - subtract;
  }
};

// What is asked of one row of a segment. The choice is made where the logits are: rows of the vocabulary do
// not leave the device.
struct Wanted {
  int row = 0;
  Choice choice = Choice::greedy;
  double temperature = 1;  // above 0
  int top_k = 0;           // 0 = all
  double top_p = 1;        // (0, 1]
  double u = 0;            // uniform in [0, 1): decides the draw
  ExcludedTokens excluded = {};
  std::span<const uint64_t> allowed = {};  // bit id % 64 of word id / 64; ids beyond are not; empty = all
  // Of the row before all else, so that probabilities are of what it becomes; in ascending order of tokens,
  // each at most once. Choice::logits has none.
  std::span<const LogitChange> changes = {};
  bool probability = false;  // see Chosen
  int alternatives = -1;     // so many in Chosen::top, and the log probability; -1: neither
};

// Rows `first` to `end` - 1, each as `like` is.
inline std::vector<Wanted> want_rows(int first, int end, const Wanted& like = {}) {
  std::vector<Wanted> out(static_cast<size_t>(end - first), like);
  for (int row = first; row < end; ++row) out[static_cast<size_t>(row - first)].row = row;
  return out;
}

enum class RowFault : uint8_t {
  none,
  nan,    // a logit is not a number
  empty,  // no id that may be chosen has a logit above minus infinity
};

struct Chosen {
  TokenId token = -1;
  RowFault fault = RowFault::none;
  // Greedy: its softmax over the whole row. Drawn: its share of what temperature, top-k and top-p left.
  float probability = 0;
  // Natural logarithm of its softmax over the whole row, before anything was excluded; at least -9999.
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top = {};  // most probable ids and their logprobs, best first
  std::span<const float> logits = {};               // [vocab], for Choice::logits

  bool valid() const { return fault == RowFault::none; }
};

enum class Visibility : uint8_t { causal, bidirectional };  // inside the segment

// A run of new tokens that enters one pass. Views must stay valid until forward() returns.
struct Segment {
  Sequence* sequence = nullptr;
  std::span<const TokenId> tokens;
  std::span<const Position> positions;  // one per token
  // Rows that replace token embeddings: features[i] goes to the i-th image or video pad token of this
  // segment. [pads in this segment, hidden]; empty when there are none.
  std::span<const float> features;
  Visibility visibility = Visibility::causal;
  int context = 0;  // committed tokens of the sequence that it sees: the first `context`
  // It also sees the first parent_tokens tokens of segment `parent` (an earlier one, same sequence) of the
  // same pass.
  int parent = -1;
  int parent_tokens = 0;
  // Append the K/V of this segment's tokens at [context, context + tokens): requires context == sequence
  // length, no parent, and causal visibility unless the model's clean_attention is block.
  bool keep = false;
  // Its logits decide nothing (a draft that will be verified): cheaper arithmetic will do. Honoured when
  // every segment of a pass says so and keeps nothing.
  bool approximate = false;
  std::span<const Wanted> wanted;  // in ascending order of their rows
  // Called once, on forward()'s thread, before `allowed` of these rows is read, which it may set. A device
  // that computes by itself runs its layers meanwhile. What it throws ends the call, which then has changed
  // nothing.
  std::function<void()> before_choice = {};
};

// Hears how many of the layers of a call are done, from 0 on. What it throws ends the call, which then has
// changed nothing.
using LayerWatch = std::function<void(int64_t done, int64_t total)>;

// What computes throws DeviceLost (model/device_lost.h) when its device has failed for good.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual ImageFeatures encode_image(const Patches& patches) = 0;
  // `capacity`: the most committed tokens it will ever hold; throws Error when memory for the KV cache is
  // short.
  virtual std::unique_ptr<Sequence> new_sequence(int capacity) = 0;
  virtual KvMemory kv_memory() const { return {}; }  // of all its sequences, room included
  virtual WeightMemory weight_memory() const { return {}; }
  // What the times of its passes depend on: weights, arithmetic, machine. Equal names, equal times. Empty:
  // nothing is known, and times are not to be kept.
  virtual std::string timing_name() const { return {}; }
  // ONE pass over the weights for all segments of all sequences; an answer for each wanted row, in the order
  // of the segments, valid until the next forward(). What a row gives does not depend on which other rows
  // share the pass, nor on the number of threads.
  virtual std::span<const Chosen> forward(std::span<const Segment> segments) = 0;

  // Until the next call encode_image() and forward() tell `watch`, which may be empty, of their layers. A
  // model whose calls are short may say nothing.
  void set_watch(LayerWatch watch) { watch_ = std::move(watch); }

 protected:
  void tell(int64_t done, int64_t total) const {
    if (watch_) watch_(done, total);
  }

 private:
  LayerWatch watch_;
};

// M-RoPE positions of a prompt (docs/reference.md, Token positions): pads of the k-th image or video run take
// `grids[k]` (patch grid, in order of appearance, `second_per_grid[k]` 0 for images). Generated token n gets
// n + delta on all axes.
struct RopeIndex {
  std::vector<Position> positions;
  int delta = 0;
};
RopeIndex rope_index(std::span<const TokenId> tokens, std::span<const Grid> grids,
                     std::span<const double> second_per_grid, const ModelConfig& config);

// Windows of the vision tower (docs/reference.md, Window order): a permutation of merged tokens and the
// cumulative window lengths in patches.
struct WindowIndex {
  std::vector<int> index;  // new merged token g is old merged token index[g]
  std::vector<int> cumulative;
};
WindowIndex window_index(std::span<const Grid> grids, const VisionConfig& config);

}  // namespace dvlm
