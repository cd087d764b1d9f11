#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dvlm {

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= name.size(); ++at)
    if (matches(rest, name.substr(at))) return true;
  return false;
}

namespace {

// Parameters of the network by their own names, with whether config.freeze holds them.
struct Parameter {
  std::string name;
  torch::Tensor value;
  int frozen = 0, free = 0;  // checkpoint weights inside that match a pattern, and that do not
};

std::vector<Parameter> find_frozen(Network& network, const std::vector<std::string>& patterns) {
  std::vector<Parameter> parameters;
  std::map<const void*, size_t> by_storage;
  for (const auto& item : network->named_parameters()) {
    by_storage[item.value().storage().data()] = parameters.size();
    parameters.push_back({item.key(), item.value()});
  }
  std::vector<bool> used(patterns.size(), false);
  for (const auto& [name, weight] : network->named_weights()) {
    bool frozen = false;
    for (size_t i = 0; i < patterns.size(); ++i)
      if (matches(patterns[i], name)) frozen = used[i] = true;
    Parameter& parameter = parameters.at(by_storage.at(weight.storage().data()));
    ++(frozen ? parameter.frozen : parameter.free);
    if (parameter.frozen > 0 && parameter.free > 0)
      fail("training config: 'freeze' cuts through weights that train together, at {}", name);
  }
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i]) fail("training config: 'freeze' pattern \"{}\" matches no weight", printable(patterns[i]));
  return parameters;
}

}  // namespace

Optimizer::Optimizer(Network& network, const TrainConfig& config) : config_(config) {
  groups_[0].weight_decay = config.weight_decay;
  for (Parameter& parameter : find_frozen(network, config.freeze)) {
    parameter.value.requires_grad_(parameter.frozen == 0);
    if (parameter.frozen > 0) continue;
    Group& group = groups_[parameter.value.dim() >= 2 ? 0 : 1];
    group.names.push_back(parameter.name);
    group.weights.push_back(parameter.value);
    group.m.push_back(torch::zeros_like(parameter.value));
    group.v.push_back(torch::zeros_like(parameter.value));
    group.steps.push_back(torch::zeros({}, parameter.value.options()));
  }
  for (const Group& group : groups_)
    weights_.insert(weights_.end(), group.weights.begin(), group.weights.end());
  if (weights_.empty()) fail("training config: 'freeze' leaves no weight to train");
  if (config.ema_decay > 0)
    for (const torch::Tensor& weight : weights_) average_.push_back(weight.detach().clone());
}

double Optimizer::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  for (torch::Tensor& weight : weights_) {
    if (!weight.grad().defined()) weight.mutable_grad() = torch::zeros_like(weight);
    gradients.push_back(weight.grad());
  }
  double squares = 0;
  const torch::Tensor norms = torch::stack(at::_foreach_norm(gradients)).to(torch::kCPU, torch::kFloat64);
  for (int64_t i = 0; i < norms.numel(); ++i) squares += std::pow(norms.const_data_ptr<double>()[i], 2);
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) {
    forget_gradients();
    return norm;
  }
  if (config_.clip_norm > 0 && norm > config_.clip_norm)
    at::_foreach_mul_(gradients, config_.clip_norm / (norm + 1e-6));

  ++steps_;
  size_t offset = 0;
  for (Group& group : groups_) {
    const size_t count = group.weights.size();
    if (count == 0) continue;
    at::_foreach_add_(group.steps, 1);
    const std::vector<torch::Tensor> own(gradients.begin() + static_cast<std::ptrdiff_t>(offset),
                                         gradients.begin() + static_cast<std::ptrdiff_t>(offset + count));
    at::_fused_adamw_(group.weights, own, group.m, group.v, {}, group.steps, learning_rate, config_.beta1,
                      config_.beta2, group.weight_decay, config_.eps, false, false);
    offset += count;
  }
  if (!average_.empty()) {
    // A short memory at first, or the random start would dominate short runs.
    const double decay = std::min(config_.ema_decay,
                                  (1.0 + static_cast<double>(steps_)) / (10.0 + static_cast<double>(steps_)));
    at::_foreach_lerp_(average_, weights_, 1 - decay);
  }
  forget_gradients();
  return norm;
}

void Optimizer::forget_gradients() {
  for (torch::Tensor& weight : weights_) weight.mutable_grad().reset();
}

std::map<std::string, torch::Tensor> Optimizer::state() const {
  std::map<std::string, torch::Tensor> tensors;
  size_t at = 0;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i, ++at) {
      tensors["weight/" + group.names[i]] = group.weights[i];
      tensors["m/" + group.names[i]] = group.m[i];
      tensors["v/" + group.names[i]] = group.v[i];
      if (!average_.empty()) tensors["ema/" + group.names[i]] = average_[at];
    }
  }
  return tensors;
}

void Optimizer::set_steps(int64_t steps) {
  steps_ = steps;
  for (Group& group : groups_)
    for (torch::Tensor& count : group.steps) count.fill_(static_cast<double>(steps));
}

void Optimizer::swap_average() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < average_.size(); ++i) {
    const torch::Tensor kept = weights_[i].clone();
    weights_[i].copy_(average_[i]);
    average_[i].copy_(kept);
  }
}

}  // namespace dvlm
