// A model whose logits are a hash of the visible tokens: what AR text must be is computable without any
// decoder, and a K/V kept wrongly changes the text.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <vector>

#include "core/random.h"
#include "decode/decoder.h"
#include "model/choose.h"

namespace dvlm {

constexpr int kVocab = 40;
constexpr TokenId kMask = 39, kEos = 38;

// Checks the discipline of segments (docs/reference.md, Passes and the KV cache) on every pass.
class FakeModel : public Model {
 public:
  using Row = std::vector<float>;
  // Logits behind a causal prefix (prompt included).
  using Next = std::function<Row(std::span<const TokenId> prefix)>;
  // Logits of row i of a bidirectional pass over `block` behind `prefix`.
  using Draft = std::function<Row(std::span<const TokenId> prefix, std::span<const TokenId> block, int i)>;

  FakeModel(int vocab, Next next, Draft draft)
      : next_(std::move(next)), draft_(std::move(draft)), vocab_(vocab) {}

  struct Kv : Sequence {
    std::vector<TokenId> tokens;
    int room = 0;
    int length() const override { return static_cast<int>(tokens.size()); }
    int capacity() const override { return room; }
    void truncate(int length) override {
      ASSERT_LE(length, static_cast<int>(tokens.size()));
      tokens.resize(length);
    }
    bool reserve(int wanted) override {
      room = std::max(room, wanted);
      return true;
    }
    std::unique_ptr<Sequence> fork(int length) const override {
      auto copy = std::make_unique<Kv>(*this);
      copy->truncate(length);
      return copy;
    }
    void trim() override { room = length(); }
  };

  const ModelConfig& config() const override { return config_; }
  ImageFeatures encode_image(const Patches&) override { return {}; }
  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    auto kv = std::make_unique<Kv>();
    kv->room = capacity;
    return kv;
  }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    rows_.clear();
    chosen_.clear();
    for (const Segment& segment : segments) {
      check(segment, segments);
      if (segment.before_choice) segment.before_choice();
      auto& kv = dynamic_cast<Kv&>(*segment.sequence);
      std::vector<TokenId> prefix(kv.tokens.begin(), kv.tokens.begin() + segment.context);
      if (segment.parent >= 0) {
        const auto parent = segments[static_cast<size_t>(segment.parent)].tokens.first(
            static_cast<size_t>(segment.parent_tokens));
        prefix.insert(prefix.end(), parent.begin(), parent.end());
      }
      for (const Wanted& wanted : segment.wanted) {
        const int row = wanted.row;
        auto visible = prefix;
        const bool causal = segment.visibility == Visibility::causal;
        if (causal) visible.insert(visible.end(), segment.tokens.begin(), segment.tokens.begin() + row + 1);
        const Draft& draft = segment.approximate && approximate_draft ? approximate_draft : draft_;
        rows_.push_back(causal ? next_(visible) : draft(prefix, segment.tokens, row));
        EXPECT_EQ(std::ssize(rows_.back()), vocab_);
        chosen_.push_back(choose(rows_.back(), wanted));
      }
      if (segment.keep) kv.tokens.insert(kv.tokens.end(), segment.tokens.begin(), segment.tokens.end());
    }
    ++passes;
    return chosen_;
  }

  bool block_attention = false;  // kept tokens see all of their own segment
  Draft approximate_draft;       // of passes that may approximate, when they draft otherwise
  int passes = 0;
  int delta = 0;            // expected offset of generated positions
  int prompt_tokens = 0;    // where generated tokens begin
  int largest_segment = 0;  // after prefill
  size_t features = 0;      // floats seen so far
  int branches = 0;         // segments seen so far that have a parent

 private:
  void check(const Segment& segment, std::span<const Segment> segments) {
    auto& kv = dynamic_cast<Kv&>(*segment.sequence);
    const int size = static_cast<int>(segment.tokens.size());
    ASSERT_EQ(segment.positions.size(), segment.tokens.size());
    if (block_attention) {
      ASSERT_EQ(segment.visibility, Visibility::bidirectional) << "nothing is causal";
    } else {
      ASSERT_EQ(segment.keep, segment.visibility == Visibility::causal) << "only causal passes leave K/V";
    }
    if (segment.parent >= 0) {  // a branch of the causal segment before it, whose K/V are kept by now
      const Segment& parent = segments[static_cast<size_t>(segment.parent)];
      ASSERT_TRUE(segment.visibility == Visibility::bidirectional && parent.keep);
      ASSERT_TRUE(segment.parent_tokens >= 1 && segment.parent_tokens <= std::ssize(parent.tokens));
      ASSERT_EQ(segment.context, parent.context);
      ++branches;
    } else {
      ASSERT_EQ(segment.context, kv.length());
    }
    if (kv.room > 0) {
      ASSERT_LE(segment.context + segment.parent_tokens + size, kv.room);
    }
    for (const Wanted& wanted : segment.wanted) ASSERT_TRUE(wanted.row >= 0 && wanted.row < size);
    for (int i = 0; i < size; ++i) {
      const int index = segment.context + segment.parent_tokens + i;
      if (index < prompt_tokens) continue;
      ASSERT_EQ(segment.positions[i], (Position{index + delta, index + delta, index + delta}));
    }
    if (segment.context >= prompt_tokens) largest_segment = std::max(largest_segment, size);
    features += segment.features.size();
  }

  Next next_;
  Draft draft_;
  int vocab_;
  ModelConfig config_;
  std::deque<Row> rows_;
  std::vector<Chosen> chosen_;
};

inline uint64_t hash(std::span<const TokenId> tokens, uint64_t salt) {
  uint64_t h = 0xCBF29CE484222325u + salt;
  for (const TokenId token : tokens) h = (h ^ static_cast<uint64_t>(token)) * 0x9E3779B97F4A7C15u + (h >> 29);
  return h;
}

// Logits with a preferred token and noise, all from a hash of the prefix.
inline FakeModel::Next hashed_next(int vocab, uint64_t salt, float sharpness = 4) {
  return [=](std::span<const TokenId> prefix) {
    const uint64_t h = hash(prefix, salt);
    FakeModel::Row row(vocab);
    uint64_t x = h;
    for (float& logit : row) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      logit = static_cast<float>(x >> 40) * 0x1p-24f * sharpness;
    }
    row[h % static_cast<uint64_t>(vocab)] += 2;
    return row;
  };
}

// Drafts that look through the masks at the true continuation and are right with probability `accuracy`.
inline FakeModel::Draft hashed_draft(int vocab, const FakeModel::Next& next, TokenId mask, double accuracy) {
  return [=](std::span<const TokenId> prefix, std::span<const TokenId> block, int i) {
    std::vector<TokenId> text(prefix.begin(), prefix.end());
    FakeModel::Row row;
    if (block[0] == mask) row = next(text);  // a branch
    for (int j = 0; j <= i; ++j) {
      TokenId token = block[j];
      if (token == mask) token = static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
      text.push_back(token);
      row = next(text);
    }
    const uint64_t h = hash(text, 77);
    if (uniform(h, 2, i) >= accuracy) row[h % static_cast<uint64_t>(vocab)] += 20;
    return row;
  };
}

inline Prompt make_prompt(std::vector<TokenId> tokens, std::vector<TokenId> stops = {}, int delta = 0) {
  Prompt prompt;
  prompt.tokens = std::move(tokens);
  for (int i = 0; i < static_cast<int>(prompt.tokens.size()); ++i) prompt.rope.positions.push_back({i, i, i});
  prompt.rope.delta = delta;
  prompt.stop_tokens = std::move(stops);
  return prompt;
}

struct Decoded {
  std::vector<TokenId> tokens;
  std::vector<int> emitted_per_pass;
  std::vector<TokenLogprob> logprobs;
  std::vector<PassRecord> records;
  FinishReason finish = FinishReason::none;
  DecodeStats stats;
  int committed = 0;
};

inline Decoded decode(Model& model, const Prompt& prompt, const DecodeOptions& options,
                      const DecodeContext& context, Sequence& sequence) {
  const auto decoder = make_decoder(prompt, sequence, options, context);
  Decoded result;
  while (decoder->finished() == FinishReason::none) {
    const auto emitted = decoder->take(model.forward(decoder->next()));
    result.tokens.insert(result.tokens.end(), emitted.begin(), emitted.end());
    result.logprobs.insert(result.logprobs.end(), decoder->logprobs().begin(), decoder->logprobs().end());
    result.records.push_back(decoder->record());
    result.emitted_per_pass.push_back(static_cast<int>(emitted.size()));
  }
  result.finish = decoder->finished();
  result.stats = decoder->stats();
  result.committed = sequence.length();
  return result;
}

inline Decoded decode(Model& model, const Prompt& prompt, const DecodeOptions& options,
                      const DecodeContext& context = {.mask_token = kMask}) {
  const auto sequence =
      model.new_sequence(static_cast<int>(prompt.tokens.size()) + options.max_tokens + options.block_size);
  return decode(model, prompt, options, context, *sequence);
}

}  // namespace dvlm
