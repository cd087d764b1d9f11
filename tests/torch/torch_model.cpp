#include "torch/torch_model.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "model/choose.h"
#include "model/pass_plan.h"
#include "torch/network.h"
#include "torch_device.h"

namespace dvlm {
namespace {

using torch::Tensor;

// Tokens as the network takes them. Training keeps no keys and values, so every pass runs all that is seen.
struct TorchRows {
  Tensor tokens;     // int64 [n]
  Tensor positions;  // int64 [3, n]
  Tensor embedded;   // f32 [n, hidden], features in place
  Tensor visible;    // bool [n, n]: row sees column

  int64_t size() const { return tokens.size(0); }
  TorchRows first(int64_t n) const {
    return {tokens.slice(0, 0, n), positions.slice(1, 0, n), embedded.slice(0, 0, n),
            visible.slice(0, 0, n).slice(1, 0, n)};
  }
  // And `more` after them, which see them all; these see none of `more`.
  TorchRows with(const TorchRows& more) const {
    const Tensor seen = torch::ones({more.size(), size()}, visible.options());
    const Tensor unseen = torch::zeros({size(), more.size()}, visible.options());
    return {torch::cat({tokens, more.tokens}), torch::cat({positions, more.positions}, 1),
            torch::cat({embedded, more.embedded}),
            torch::cat({torch::cat({visible, unseen}, 1), torch::cat({seen, more.visible}, 1)})};
  }
};

class TorchSequence : public Sequence {
 public:
  TorchSequence(const void* owner, TorchRows empty, int capacity)
      : Sequence(owner), rows_(std::move(empty)), capacity_(capacity) {}

  int length() const override { return static_cast<int>(rows_.size()); }
  int capacity() const override { return capacity_; }
  void truncate(int length) override {
    if (length < 0 || length > this->length())
      fail("a sequence of {} tokens cannot be truncated to {}", this->length(), length);
    rows_ = rows_.first(length);
  }
  // Tensors are never written in place, so copies may share them.
  std::unique_ptr<Sequence> fork(int length) const override {
    auto copy = std::make_unique<TorchSequence>(*this);
    copy->truncate(length);
    copy->trim();
    return copy;
  }
  bool reserve(int capacity) override {
    capacity_ = std::max(capacity_, capacity);
    return true;
  }
  void trim() override { capacity_ = length(); }

  TorchRows& rows() { return rows_; }

 private:
  TorchRows rows_;
  int capacity_;
};

class TorchModel : public Model {
 public:
  explicit TorchModel(const Checkpoint& checkpoint)
      : config_(checkpoint.config()), device_(test::torch_device()), network_(checkpoint.config()) {
    network_->load(checkpoint);
    network_->to(device_);
  }

  const ModelConfig& config() const override { return config_; }

  ImageFeatures encode_image(const Patches& patches) override {
    const torch::NoGradGuard guard;
    const int64_t width = config_.vision.patch_elements(), rows = patches.grid.patches();
    if (static_cast<int64_t>(patches.values.size()) != rows * width)
      fail("an image of {} patches needs {} values but got {}", rows, rows * width, patches.values.size());
    const Tensor in = torch::from_blob(const_cast<float*>(patches.values.data()), {rows, width}).to(device_);
    const Tensor out = network_->encode_images(in, {patches.grid}).cpu().contiguous();
    const float* values = out.const_data_ptr<float>();
    return {{values, values + out.numel()}, static_cast<int>(out.size(0))};
  }

  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    if (capacity < 0) fail("a sequence cannot hold {} tokens", capacity);
    return std::make_unique<TorchSequence>(this, rows_of({}), capacity);
  }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    const torch::NoGradGuard guard;
    plan_.plan(segments, this, config_);
    plan_.ask_choices();
    std::vector<TorchRows> own;  // [segment], for children
    std::vector<std::pair<TorchSequence*, TorchRows>> kept;
    std::vector<Tensor> logits = {torch::empty({0, config_.text.vocab_size}, device_)};
    for (const Segment& segment : segments) {
      own.push_back(rows_of(segment));
      TorchRows all = sequence_of(segment).rows().first(segment.context);
      if (segment.parent >= 0)
        all = all.with(own[static_cast<size_t>(segment.parent)].first(segment.parent_tokens));
      all = all.with(own.back());
      if (segment.keep) kept.emplace_back(&sequence_of(segment), all);
      if (segment.wanted.empty()) continue;
      std::vector<int64_t> wanted;
      for (const Wanted& row : segment.wanted) wanted.push_back(all.size() - own.back().size() + row.row);
      logits.push_back(network_->logits(hidden(all).index_select(0, torch::tensor(wanted).to(device_))));
    }
    for (auto& [sequence, rows] : kept) sequence->rows() = std::move(rows);
    logits_ = torch::cat(logits).cpu().contiguous();
    const auto vocab = static_cast<size_t>(config_.text.vocab_size);
    const std::span values(logits_.const_data_ptr<float>(), static_cast<size_t>(logits_.numel()));
    chosen_.clear();
    for (size_t i = 0; i < plan_.wanted.size(); ++i)
      chosen_.push_back(choose(values.subspan(i * vocab, vocab), plan_.wanted[i]));
    return chosen_;
  }

 private:
  static TorchSequence& sequence_of(const Segment& segment) {
    return static_cast<TorchSequence&>(*segment.sequence);  // ours: the plan has checked
  }

  // A segment's own, which see one another as it says.
  TorchRows rows_of(const Segment& segment) {
    const auto count = static_cast<int64_t>(segment.tokens.size());
    std::vector<int64_t> tokens, pads, axes;
    for (const TokenId token : segment.tokens) {
      if (token == config_.image_token || token == config_.video_token)
        pads.push_back(static_cast<int64_t>(tokens.size()));
      tokens.push_back(token);
    }
    for (const Position& p : segment.positions) axes.insert(axes.end(), {p.t, p.h, p.w});
    const auto ids = torch::tensor(tokens, torch::kInt64).to(device_);
    Tensor embedded = network_->text()->embed(ids);
    if (!segment.features.empty()) {
      const Tensor features = torch::from_blob(const_cast<float*>(segment.features.data()),
                                               {static_cast<int64_t>(pads.size()), config_.text.hidden_size});
      embedded = embedded.index_copy(0, torch::tensor(pads).to(device_), features.to(device_));
    }
    Tensor visible = torch::ones({count, count}, torch::kBool);
    if (segment.visibility == Visibility::causal) visible = visible.tril();
    return {ids, torch::tensor(axes, torch::kInt64).view({count, 3}).t().to(device_), embedded,
            visible.to(device_)};
  }

  // After the final norm, f32 [rows, hidden].
  Tensor hidden(const TorchRows& rows) {
    NetworkInput input;
    input.tokens = rows.tokens.unsqueeze(0);
    input.positions = rows.positions.unsqueeze(1);
    input.mask = rows.visible.unsqueeze(0).unsqueeze(0);
    return network_->hidden(input, rows.embedded).squeeze(0);
  }

  ModelConfig config_;
  torch::Device device_;
  Network network_;
  PassPlan plan_;
  Tensor logits_;
  std::vector<Chosen> chosen_;  // views logits_
};

}  // namespace

std::unique_ptr<Model> load_torch_model(const Checkpoint& checkpoint) {
  return std::make_unique<TorchModel>(checkpoint);
}

}  // namespace dvlm
