#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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

// Elements whose squares are summed alone, and the least that a process has: no kernel sums or rounds them
// otherwise for what stands beside them.
constexpr int64_t kBlock = 4096;

int64_t whole_blocks(int64_t elements) {
  return (elements + kBlock - 1) / kBlock * kBlock;
}

// Parameters of the network by their own names, with whether config.freeze holds them.
struct NetworkParameter {
  std::string name;
  torch::Tensor value;
  int frozen = 0, free = 0;  // checkpoint weights inside that match a pattern, and that do not
};

std::vector<NetworkParameter> find_frozen(Network& network, const std::vector<std::string>& patterns) {
  std::vector<NetworkParameter> parameters;
  std::map<const void*, size_t> by_address;  // of their first elements
  for (const auto& item : network->named_parameters()) {
    by_address[item.value().data_ptr()] = parameters.size();
    parameters.push_back({item.key(), item.value()});
  }
  std::vector<bool> used(patterns.size(), false);
  for (const auto& [name, weight] : network->named_weights()) {
    bool frozen = false;
    for (size_t i = 0; i < patterns.size(); ++i)
      if (matches(patterns[i], name)) frozen = used[i] = true;
    NetworkParameter& parameter = parameters.at(std::prev(by_address.upper_bound(weight.data_ptr()))->second);
    ++(frozen ? parameter.frozen : parameter.free);
    if (parameter.frozen > 0 && parameter.free > 0)
      fail("training config: 'freeze' cuts through weights that train together, at {}", name);
  }
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i]) fail("training config: 'freeze' pattern \"{}\" matches no weight", printable(patterns[i]));
  return parameters;
}

}  // namespace

Optimizer::Optimizer(Network& network, const TrainConfig& config, const Ranks& ranks, int groups)
    : config_(config), ranks_(ranks) {
  const torch::NoGradGuard no_grad;
  std::vector<NetworkParameter> found = find_frozen(network, config.freeze);
  std::erase_if(found, [](const NetworkParameter& parameter) {
    torch::Tensor(parameter.value).requires_grad_(parameter.frozen == 0);
    return parameter.frozen > 0;
  });
  if (found.empty()) fail("training config: 'freeze' leaves no weight to train");
  int64_t elements = 0;
  for (const bool decays : {true, false}) {
    for (const NetworkParameter& parameter : found)
      if ((parameter.value.dim() >= 2) == decays) {
        parameters_.push_back({parameter.name, parameter.value, elements});
        elements += parameter.value.numel();
      }
    elements = whole_blocks(elements);
    if (decays) decaying_ = elements;
  }
  const auto options = found[0].value.options().requires_grad(false);
  weights_ = torch::zeros({elements}, options);
  for (Parameter& parameter : parameters_) {
    const torch::Tensor place =
        weights_.narrow(0, parameter.at, parameter.value.numel()).view(parameter.value.sizes());
    place.copy_(parameter.value);
    parameter.value.set_data(place);
  }
  for (int group = 0; group < groups; ++group) gradients_.push_back(torch::zeros({elements}, options));
  const int64_t blocks = elements / kBlock, size = ranks.size();
  for (int64_t rank = 0; rank < size; ++rank)
    sizes_.push_back(((rank + 1) * blocks / size - rank * blocks / size) * kBlock);
  begin_ = std::accumulate(sizes_.begin(), sizes_.begin() + ranks.rank(), int64_t{0});
  m_ = torch::zeros({sizes_[static_cast<size_t>(ranks.rank())]}, options);
  v_ = torch::zeros_like(m_);
  if (config.ema_decay > 0) average_ = own(weights_).clone();
  begin_group(0);
}

torch::Tensor Optimizer::own(const torch::Tensor& all) const {
  return all.narrow(0, begin_, sizes_[static_cast<size_t>(ranks_.rank())]);
}

void Optimizer::begin_group(int group) {
  const torch::Tensor& all = gradients_[static_cast<size_t>(group)];
  for (Parameter& parameter : parameters_)
    parameter.value.mutable_grad() =
        all.narrow(0, parameter.at, parameter.value.numel()).view(parameter.value.sizes());
}

// This process's part, of all processes' groups.
torch::Tensor Optimizer::sum_of_groups() {
  if (ranks_.size() == 1) {
    for (size_t group = 1; group < gradients_.size(); ++group) gradients_[0].add_(gradients_[group]);
    return gradients_[0];
  }
  std::vector<torch::Tensor> pieces;
  int64_t at = 0;
  for (const int64_t size : sizes_) {
    std::vector<torch::Tensor> groups;
    for (const torch::Tensor& gradient : gradients_) groups.push_back(gradient.narrow(0, at, size));
    pieces.push_back(torch::cat(groups));
    at += size;
  }
  torch::Tensor sum;
  for (const torch::Tensor& from : ranks_.exchange(pieces))
    for (const torch::Tensor& group : from.view({std::ssize(gradients_), -1}).unbind())
      sum.defined() ? sum.add_(group) : sum = group.clone();
  return sum;
}

double Optimizer::norm_of(const torch::Tensor& gradient) const {
  const torch::Tensor own_blocks = gradient.view({-1, kBlock}).square().sum(1, false, torch::kFloat64);
  std::vector<int64_t> counts;
  for (const int64_t size : sizes_) counts.push_back(size / kBlock);
  const torch::Tensor blocks = ranks_.gather(own_blocks.to(torch::kCPU), counts).contiguous();
  const double* values = blocks.const_data_ptr<double>();
  return std::sqrt(std::accumulate(values, values + blocks.numel(), 0.0));
}

double Optimizer::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor gradient = sum_of_groups();
  const double norm = norm_of(gradient);
  if (std::isfinite(norm)) {
    if (config_.clip_norm > 0 && norm > config_.clip_norm) gradient.mul_(config_.clip_norm / (norm + 1e-6));
    ++steps_;
    update(gradient, learning_rate);
    if (ranks_.size() > 1) weights_.copy_(ranks_.gather(own(weights_), sizes_));
  }
  for (torch::Tensor& group : gradients_) group.zero_();
  return norm;
}

void Optimizer::update(const torch::Tensor& gradient, double learning_rate) {
  const torch::Tensor weights = own(weights_);
  const int64_t decaying = std::clamp<int64_t>(decaying_ - begin_, 0, weights.numel());
  for (const bool decays : {true, false}) {
    const int64_t at = decays ? 0 : decaying, size = decays ? decaying : weights.numel() - decaying;
    if (size == 0) continue;
    const auto part = [&](const torch::Tensor& all) {
      return std::vector<torch::Tensor>{all.narrow(0, at, size)};
    };
    const std::vector<torch::Tensor> count = {
        torch::full({}, static_cast<double>(steps_), weights.options())};
    at::_fused_adamw_(part(weights), part(gradient), part(m_), part(v_), {}, count, learning_rate,
                      config_.beta1, config_.beta2, decays ? config_.weight_decay : 0, config_.eps, false,
                      false);
  }
  if (!average_.defined()) return;
  // A short memory at first, or the random start would dominate short runs.
  const auto steps = static_cast<double>(steps_);
  average_.lerp_(weights, 1 - std::min(config_.ema_decay, (1.0 + steps) / (10.0 + steps)));
}

void Optimizer::name(const char* kind, const torch::Tensor& all,
                     std::map<std::string, torch::Tensor>& out) const {
  for (const Parameter& parameter : parameters_)
    out[kind + parameter.name] =
        all.narrow(0, parameter.at, parameter.value.numel()).view(parameter.value.sizes());
}

std::map<std::string, torch::Tensor> Optimizer::state() const {
  std::map<std::string, torch::Tensor> out;
  name("weight/", weights_, out);
  name("m/", ranks_.gather(m_, sizes_), out);
  name("v/", ranks_.gather(v_, sizes_), out);
  if (average_.defined()) name("ema/", ranks_.gather(average_, sizes_), out);
  return out;
}

void Optimizer::set_state(const std::map<std::string, torch::Tensor>& state, int64_t steps) {
  const torch::NoGradGuard no_grad;
  steps_ = steps;
  const auto take = [&](const char* kind, torch::Tensor& to) {
    torch::Tensor all = torch::zeros_like(weights_);
    std::map<std::string, torch::Tensor> places;
    name(kind, all, places);
    for (auto& [key, place] : places) place.copy_(state.at(key));
    to.copy_(own(all));
  };
  take("m/", m_), take("v/", v_);
  if (average_.defined()) take("ema/", average_);
}

void Optimizer::swap_average() {
  const torch::NoGradGuard no_grad;
  if (!average_.defined()) return;
  if (trained_.defined()) {
    weights_.copy_(trained_);
    trained_ = torch::Tensor();
  } else {
    trained_ = weights_.clone();
    weights_.copy_(ranks_.gather(average_, sizes_));
  }
}

}  // namespace dvlm
