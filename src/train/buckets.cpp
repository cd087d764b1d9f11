#include "train/buckets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/error.h"
#include "train/weight_patterns.h"

namespace dvlm {

using torch::Tensor;

namespace {

// Parameters of the network by their own names, with whether config.freeze holds them.
struct NetworkParameter {
  std::string name;
  Tensor value;
  int frozen = 0, free = 0;  // checkpoint weights inside that match a pattern, and that do not
};

// With adapters these alone train.
std::vector<NetworkParameter> find_frozen(Network& network, const TrainConfig& config) {
  std::vector<NetworkParameter> parameters;
  std::map<const void*, size_t> by_address;  // of their first elements
  for (const auto& item : network->named_parameters()) {
    by_address[item.value().data_ptr()] = parameters.size();
    parameters.push_back({item.key(), item.value()});
  }
  if (std::ranges::any_of(parameters, [](const auto& one) { return towers::is_adapter(one.name); })) {
    for (NetworkParameter& one : parameters) one.frozen = towers::is_adapter(one.name) ? 0 : 1;
    return parameters;
  }
  const NamedTensors weights = network->named_weights();
  std::vector<std::string> names;
  for (const auto& [name, weight] : weights) names.push_back(name);
  check_freeze(config, names);
  for (const auto& [name, weight] : weights) {
    NetworkParameter& parameter = parameters.at(std::prev(by_address.upper_bound(weight.data_ptr()))->second);
    ++(is_frozen(config, name) ? parameter.frozen : parameter.free);
    DVLM_ASSERT(parameter.frozen == 0 || parameter.free == 0);  // check_freeze() knows what is fused
  }
  return parameters;
}

// About in the order in which a backward pass has their gradients: the text tower's come first.
std::vector<NetworkParameter> in_order_of_gradients(std::vector<NetworkParameter> parameters) {
  std::ranges::reverse(parameters);
  std::stable_partition(parameters.begin(), parameters.end(), [](const NetworkParameter& parameter) {
    return parameter.name.starts_with("text.");
  });
  return parameters;
}

int64_t rounded_up(int64_t elements, int64_t unit) {
  return (elements + unit - 1) / unit * unit;
}

}  // namespace

class Buckets::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(Buckets& buckets, size_t bucket, const Bucket::Parameter& parameter)
      : buckets_(buckets), bucket_(bucket), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable& /*value*/) override { buckets_.take(bucket_, parameter_); }

 private:
  Buckets& buckets_;
  size_t bucket_;
  const Bucket::Parameter& parameter_;
};

Buckets::Buckets(Network& network, const TrainConfig& config, Ranks ranks) : ranks_(std::move(ranks)) {
  const torch::NoGradGuard no_grad;
  std::vector<NetworkParameter> found = in_order_of_gradients(find_frozen(network, config));
  std::erase_if(found, [](const NetworkParameter& parameter) {
    Tensor(parameter.value).requires_grad_(parameter.frozen == 0);
    return parameter.frozen > 0;
  });
  DVLM_ASSERT(!found.empty());
  int64_t elements = 0;
  for (const NetworkParameter& parameter : found) elements += parameter.value.numel();
  // Large enough to be worth a message, small enough beside the gradients that are kept.
  constexpr int64_t kMaxElements = int64_t{1} << 24;
  const int64_t enough = std::min(elements / 16, kMaxElements);
  for (const bool decays : {true, false}) {
    int64_t held = enough;
    for (const NetworkParameter& parameter : found) {
      if ((parameter.value.dim() >= 2) != decays) continue;
      if (held >= enough) buckets_.emplace_back().decays = decays, held = 0;
      buckets_.back().parameters.push_back({parameter.name, parameter.value, held});
      held += parameter.value.numel();
    }
  }
  passing_.resize(buckets_.size());
  for (size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    const Bucket::Parameter& last = bucket.parameters.back();
    const int64_t part = rounded_up(last.at + last.value.numel(), kBlock * ranks_.size()) / ranks_.size();
    bucket.weights = torch::zeros({part * ranks_.size()}, last.value.options().requires_grad(false));
    for (Bucket::Parameter& parameter : bucket.parameters) {
      const Tensor place =
          bucket.weights.narrow(0, parameter.at, parameter.value.numel()).view(parameter.value.sizes());
      place.copy_(parameter.value);
      parameter.value.set_data(place);
    }
    bucket.own = bucket.weights.narrow(0, ranks_.rank() * part, part).to(torch::kFloat32);
    bucket.gradient = torch::zeros_like(bucket.own);
    // Alone, autograd adds to the sums themselves where it can.
    const bool direct = ranks_.size() == 1 && bucket.weights.scalar_type() == torch::kFloat32;
    for (Bucket::Parameter& parameter : bucket.parameters)
      if (direct)
        parameter.value.mutable_grad() =
            bucket.gradient.narrow(0, parameter.at, parameter.value.numel()).view(parameter.value.sizes());
      else
        torch::autograd::impl::set_post_acc_grad_hooks(parameter.value,
                                                       std::make_unique<Hook>(*this, i, parameter));
  }
}

Buckets::~Buckets() {
  for (const Bucket& bucket : buckets_)
    for (const Bucket::Parameter& parameter : bucket.parameters)
      torch::autograd::impl::set_post_acc_grad_hooks(parameter.value, nullptr);
}

void Buckets::take(size_t number, const Bucket::Parameter& parameter) {
  const torch::NoGradGuard no_grad;
  Bucket& bucket = buckets_[number];
  Pass& pass = passing_[number];
  const bool alone = ranks_.size() == 1;
  if (!alone && !pass.gradient.defined()) pass.gradient = torch::zeros_like(bucket.weights);
  const Tensor to =
      (alone ? bucket.gradient : pass.gradient).narrow(0, parameter.at, parameter.value.numel());
  Tensor& gradient = Tensor(parameter.value).mutable_grad();
  alone ? to.add_(gradient.flatten()) : to.copy_(gradient.flatten());
  gradient.reset();
  ++pass.here;
  if (!alone) send(false);
}

// Complete buckets, or all; always in their order, which is the same for all processes.
void Buckets::send(bool all) {
  for (; next_ < buckets_.size(); ++next_) {
    Bucket& bucket = buckets_[next_];
    Pass& pass = passing_[next_];
    if (!all && pass.here < bucket.parameters.size()) return;
    if (!pass.gradient.defined()) pass.gradient = torch::zeros_like(bucket.weights);
    for (const Tensor& part : ranks_.exchange(pass.gradient)) bucket.gradient.add_(part);
    pass = {};
  }
}

void Buckets::end_pass() {
  const torch::NoGradGuard no_grad;
  if (ranks_.size() > 1) send(true);
  next_ = 0;
}

double Buckets::gradient_norm() const {
  std::vector<Tensor> squares;
  for (const Bucket& bucket : buckets_)
    squares.push_back(bucket.gradient.view({-1, kBlock}).square().sum(1, false, torch::kFloat64));
  const Tensor all = ranks_.gather(torch::cat(squares).to(torch::kCPU)).view({ranks_.size(), -1});
  double sum = 0;
  int64_t at = 0;
  for (const Tensor& part : squares) {  // bucket by bucket, and inside them process by process
    const Tensor blocks = all.narrow(1, at, part.numel()).contiguous();
    const double* values = blocks.const_data_ptr<double>();
    sum = std::accumulate(values, values + blocks.numel(), sum);
    at += part.numel();
  }
  return std::sqrt(sum);
}

void Buckets::set_weights(Bucket& bucket, const Tensor& part) {
  if (ranks_.size() == 1 && part.data_ptr() == bucket.weights.data_ptr()) return;
  bucket.weights.copy_(ranks_.gather(part.to(bucket.weights.scalar_type())));
}

}  // namespace dvlm
