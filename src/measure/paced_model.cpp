#include "measure/paced_model.h"

#include <utility>

namespace dvlm {

namespace {

class PacedSequence final : public Sequence {
 public:
  PacedSequence(const void* owner, std::unique_ptr<Sequence> said, std::unique_ptr<Sequence> paced)
      : Sequence(owner), says(std::move(said)), paces(std::move(paced)) {}

  int length() const override { return says->length(); }
  int capacity() const override { return says->capacity(); }
  void truncate(int length) override { says->truncate(length), paces->truncate(length); }
  std::unique_ptr<Sequence> fork(int length) const override {
    return std::make_unique<PacedSequence>(owner(), says->fork(length), paces->fork(length));
  }
  bool reserve(int capacity) override { return says->reserve(capacity) && paces->reserve(capacity); }
  void trim() override { says->trim(), paces->trim(); }

  const std::unique_ptr<Sequence> says, paces;
};

}  // namespace

std::unique_ptr<Sequence> PacedModel::new_sequence(int capacity) {
  return std::make_unique<PacedSequence>(this, says_.new_sequence(capacity), paces_.new_sequence(capacity));
}

std::span<const Chosen> PacedModel::forward(std::span<const Segment> segments) {
  said_.assign(segments.begin(), segments.end());
  paced_.assign(segments.begin(), segments.end());
  wanted_.clear();
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& pair = static_cast<const PacedSequence&>(*segments[i].sequence);
    said_[i].sequence = pair.says.get();
    paced_[i].sequence = pair.paces.get();
    paced_[i].features = {};  // of another width; pads are tokens like others there
    std::vector<Wanted>& wanted = wanted_.emplace_back(segments[i].wanted.begin(), segments[i].wanted.end());
    for (Wanted& one : wanted) one.excluded = {}, one.allowed = {};
    paced_[i].wanted = wanted;
    paced_[i].before_choice = {};
  }
  paces_.forward(paced_);
  return says_.forward(said_);
}

}  // namespace dvlm
