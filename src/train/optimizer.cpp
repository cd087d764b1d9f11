#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

namespace dvlm {

using torch::Tensor;

Optimizer::Optimizer(Network& network, const TrainConfig& config, const Ranks& ranks)
    : config_(config), ranks_(ranks), buckets_(network, config, ranks) {
  const torch::NoGradGuard no_grad;
  for (const Bucket& bucket : buckets_.all())
    moments_.push_back({torch::zeros_like(bucket.own), torch::zeros_like(bucket.own),
                        config.ema_decay > 0 ? bucket.own.clone() : Tensor()});
}

double Optimizer::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  const double norm = buckets_.gradient_norm();
  if (std::isfinite(norm)) {
    if (config_.clip_norm > 0 && norm > config_.clip_norm)
      for (Bucket& bucket : buckets_.all()) bucket.gradient.mul_(config_.clip_norm / (norm + 1e-6));
    ++steps_;
    update(learning_rate);
    for (Bucket& bucket : buckets_.all()) buckets_.set_weights(bucket, bucket.own);
  }
  for (Bucket& bucket : buckets_.all()) bucket.gradient.zero_();
  return norm;
}

void Optimizer::update(double learning_rate) {
  for (const bool decays : {true, false}) {
    std::vector<Tensor> weights, gradients, m, v, counts;
    for (size_t i = 0; i < moments_.size(); ++i) {
      const Bucket& bucket = buckets_.all()[i];
      if (bucket.decays != decays) continue;
      weights.push_back(bucket.own), gradients.push_back(bucket.gradient);
      m.push_back(moments_[i].m), v.push_back(moments_[i].v);
      counts.push_back(torch::full({}, static_cast<double>(steps_), bucket.own.options()));
    }
    if (weights.empty()) continue;
    at::_fused_adamw_(weights, gradients, m, v, {}, counts, learning_rate, config_.beta1, config_.beta2,
                      decays ? config_.weight_decay : 0, config_.eps, false, false);
  }
  if (config_.ema_decay == 0) return;
  // A short memory at first, or the random start would dominate short runs.
  const auto steps = static_cast<double>(steps_);
  const double share = 1 - std::min(config_.ema_decay, (1.0 + steps) / (10.0 + steps));
  for (size_t i = 0; i < moments_.size(); ++i) moments_[i].average.lerp_(buckets_.all()[i].own, share);
}

std::vector<StatePiece> Optimizer::state() const {
  std::vector<StatePiece> out;
  for (size_t i = 0; i < moments_.size(); ++i) {
    const Bucket& bucket = buckets_.all()[i];
    const int64_t first = ranks_.rank() * bucket.own.numel(), end = first + bucket.own.numel();
    for (const Bucket::Parameter& parameter : bucket.parameters) {
      const int64_t from = std::max(first, parameter.at),
                    to = std::min(end, parameter.at + parameter.value.numel());
      if (from >= to) continue;
      const auto add = [&](const char* kind, const Tensor& own) {
        if (own.defined())
          out.push_back({kind + parameter.name, parameter.value.sizes().vec(), from - parameter.at,
                         own.narrow(0, from - first, to - from)});
      };
      add("weight/", bucket.own);
      add("m/", moments_[i].m), add("v/", moments_[i].v), add("ema/", moments_[i].average);
    }
  }
  return out;
}

void Optimizer::resumed(int64_t steps) {
  const torch::NoGradGuard no_grad;
  steps_ = steps;
  for (Bucket& bucket : buckets_.all()) buckets_.set_weights(bucket, bucket.own);
}

void Optimizer::swap_average() {
  const torch::NoGradGuard no_grad;
  if (config_.ema_decay == 0) return;
  for (size_t i = 0; i < moments_.size(); ++i) {
    Bucket& bucket = buckets_.all()[i];
    const Tensor held = bucket.own.clone();
    bucket.own.copy_(moments_[i].average);
    moments_[i].average.copy_(held);
    buckets_.set_weights(bucket, bucket.own);
  }
}

}  // namespace dvlm
