// A second backend: it says one text, whatever it is asked, and knows no weights, no K/V and no threads.
#pragma once
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "backends/load_model.h"
#include "model/pass_plan.h"

namespace dvlm {

class ScriptedModel : public Model {
 public:
  // What every answer is; the end token belongs to it.
  static std::vector<TokenId>& script() {
    static std::vector<TokenId> tokens = {1};
    return tokens;
  }
  static int& loaded() {
    static int models = 0;
    return models;
  }

  explicit ScriptedModel(const ModelConfig& config) : config_(config) {}

  const ModelConfig& config() const override { return config_; }
  ImageFeatures encode_image(const Patches& patches) override {
    const int merge = config_.vision.spatial_merge_size;
    const int tokens = static_cast<int>(patches.grid.patches()) / (merge * merge);
    return {std::vector<float>(static_cast<size_t>(tokens) * static_cast<size_t>(config_.text.hidden_size)),
            tokens};
  }
  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    return std::make_unique<Counted>(this, capacity);
  }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    plan_.plan(segments, this, config_);
    plan_.ask_choices();
    chosen_.clear();
    for (const PlannedSegment& planned : plan_.segments) {
      const Segment& segment = *planned.segment;
      auto& sequence = static_cast<Counted&>(*segment.sequence);
      for (const Wanted& wanted : segment.wanted) chosen_.push_back(say(sequence, planned, wanted));
      if (segment.keep) sequence.length_ = segment.context + planned.rows;
    }
    return chosen_;
  }

 private:
  // A sequence without K/V: a count of tokens, and where its answer began.
  struct Counted : Sequence {
    Counted(const void* owner, int capacity) : Sequence(owner), capacity_(capacity) {}
    int length() const override { return length_; }
    int capacity() const override { return capacity_; }
    void truncate(int length) override { length_ = length; }
    bool reserve(int capacity) override {
      capacity_ = std::max(capacity_, capacity);
      return true;
    }
    void trim() override { capacity_ = length_; }
    std::unique_ptr<Sequence> fork(int length) const override {
      auto copy = std::make_unique<Counted>(owner(), length);
      copy->length_ = length;
      return copy;
    }
    int capacity_, length_ = 0, begin_ = -1;
  };

  Chosen say(Counted& sequence, const PlannedSegment& planned, const Wanted& wanted) {
    const int next = planned.own_position() + wanted.row + 1;
    if (sequence.begin_ < 0) sequence.begin_ = next;
    Chosen chosen{.token = script()[static_cast<size_t>(next - sequence.begin_) % script().size()],
                  .probability = 1};
    for (int i = 0; i < wanted.alternatives; ++i) chosen.top.emplace_back(i, -1.0f);
    return chosen;
  }

  ModelConfig config_;
  PassPlan plan_;
  std::vector<Chosen> chosen_;
};

// One whose passes take so long that their times are kept.
class SlowModel : public ScriptedModel {
 public:
  using ScriptedModel::ScriptedModel;
  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(70));
    return ScriptedModel::forward(segments);
  }
  std::string timing_name() const override { return "slow"; }
};

inline void add_scripted_backend() {
  add_backend("slow", [](const Checkpoint& checkpoint, const ModelOptions&) -> std::unique_ptr<Model> {
    return std::make_unique<SlowModel>(checkpoint.config());
  });
  add_backend("scripted", [](const Checkpoint& checkpoint, const ModelOptions&) -> std::unique_ptr<Model> {
    ++ScriptedModel::loaded();
    return std::make_unique<ScriptedModel>(checkpoint.config());
  });
}

}  // namespace dvlm
