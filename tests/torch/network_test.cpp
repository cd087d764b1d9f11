#include "torch/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "random_model.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using torch::Tensor;

Network random_network(uint64_t seed) {
  torch::manual_seed(seed);
  return Network(small_config());
}

// Two rows of `length` tokens with a picture in the first.
NetworkInput batch(int64_t length) {
  NetworkInput input;
  input.tokens = torch::randint(0, 90, {2, length});
  input.positions = torch::arange(length).expand({3, 2, length}).contiguous();
  input.patches = torch::randn({6 * 8, small_config().vision.patch_elements()});
  input.grids = {{1, 6, 8}};
  input.feature_rows = torch::arange(2, 2 + 12);
  return input;
}

double difference(const Tensor& a, const Tensor& b) {
  return ((a.to(torch::kFloat64) - b.to(torch::kFloat64)).norm() / b.to(torch::kFloat64).norm())
      .item<double>();
}

Tensor loss_of(Network& network, const NetworkInput& input) {
  const Tensor logits = network->logits(network->hidden(input)).to(torch::kFloat32);
  return torch::cross_entropy_loss(logits.flatten(0, 1), input.tokens.flatten());
}

TEST(NetworkWeights, bear_the_names_and_shapes_of_the_checkpoint) {
  std::map<std::string, std::vector<int64_t>> found;
  for (const auto& [name, weight] : random_network(1)->named_weights()) found[name] = weight.sizes().vec();
  EXPECT_EQ(found, expected_tensors(small_config()));
}

TEST(NetworkWeights, start_as_documented_and_repeatably) {
  const auto a = random_network(3)->named_weights(), b = random_network(3)->named_weights();
  for (const auto& [name, weight] : a) {
    EXPECT_TRUE(torch::equal(weight, b.at(name))) << name;
    if (weight.dim() != 1) continue;
    EXPECT_TRUE(torch::equal(weight, torch::full_like(weight, name.ends_with(".bias") ? 0 : 1))) << name;
  }
  EXPECT_NEAR(a.at("model.layers.0.mlp.up_proj.weight").std().item<float>(), 0.02, 0.002);
  EXPECT_NEAR(a.at("model.layers.0.mlp.down_proj.weight").std().item<float>(), 0.02 / std::sqrt(6.0), 0.001);
}

TEST(NetworkWeights, survive_saving_and_loading) {
  for (const DType type : {DType::f32, DType::bf16}) {
    const TemporaryFolder folder;
    const Network network = random_network(5);
    save_checkpoint(folder.path(), network, type);
    const Checkpoint checkpoint(folder.path());
    EXPECT_THAT(checkpoint.problems(), testing::IsEmpty());
    Network other = random_network(6);
    other->load(checkpoint);
    for (const auto& [name, weight] : other->named_weights()) {
      const Tensor saved = network->named_weights().at(name);
      const Tensor expected = type == DType::f32 ? saved : saved.to(torch::kBFloat16).to(torch::kFloat32);
      EXPECT_TRUE(torch::equal(weight, expected)) << name;
    }
  }
}

TEST(NetworkWeights, of_another_shape_are_refused) {
  const TemporaryFolder folder;
  ModelConfig larger = small_config();
  larger.text.intermediate_size += 1;
  const Checkpoint checkpoint(make_random_model(larger, 1, folder.path()));
  EXPECT_THROW(random_network(1)->load(checkpoint), Error);
}

TEST(Network, a_causal_mask_is_what_no_mask_means) {
  Network network = random_network(8);
  NetworkInput input = batch(40);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    network->set_compute_type(type);
    input.mask = Tensor();
    const Tensor implicit = network->hidden(input);
    input.mask = torch::ones({40, 40}, torch::kBool).tril().expand({2, 1, 40, 40});
    EXPECT_LE(difference(network->hidden(input), implicit), type == torch::kFloat32 ? 1e-5 : 1e-2);
  }
}

TEST(Network, padding_and_later_tokens_have_no_influence) {
  Network network = random_network(9);
  NetworkInput input = batch(40);
  const Tensor before = network->hidden(input);
  input.tokens.slice(1, 30).random_(0, 90);
  const Tensor after = network->hidden(input);
  EXPECT_TRUE(torch::equal(before.slice(1, 0, 30), after.slice(1, 0, 30)));
  EXPECT_FALSE(torch::equal(before.slice(1, 30), after.slice(1, 30)));
}

TEST(Network, pictures_of_a_batch_do_not_see_each_other) {
  Network network = random_network(10);
  const std::vector<Grid> grids = {{1, 6, 8}, {2, 4, 4}, {1, 2, 10}};
  std::vector<Tensor> pictures, alone;
  for (const Grid& grid : grids) {
    pictures.push_back(torch::randn({grid.patches(), small_config().vision.patch_elements()}));
    alone.push_back(network->encode_images(pictures.back(), {grid}));
  }
  EXPECT_LE(difference(network->encode_images(torch::cat(pictures), grids), torch::cat(alone)), 1e-5);
}

TEST(Network, bf16_gradients_are_those_of_f32_up_to_rounding) {
  const NetworkInput input = batch(70);
  std::map<std::string, Tensor> gradients[2];
  double losses[2];
  for (const int i : {0, 1}) {
    Network network = random_network(12);
    {
      // Larger weights than at the start, so that attention is far from uniform.
      const torch::NoGradGuard guard;
      for (auto& [name, weight] : network->named_weights())
        if (weight.dim() > 1) Tensor(weight).mul_(4);
    }
    network->set_compute_type(i == 0 ? torch::kFloat32 : torch::kBFloat16);
    const Tensor loss = loss_of(network, input);
    loss.backward();
    losses[i] = loss.item<double>();
    for (const auto& item : network->named_parameters())
      gradients[i][item.key()] = item.value().grad().clone();
  }
  EXPECT_NEAR(losses[1], losses[0], 0.01 * losses[0]);
  for (const auto& [name, gradient] : gradients[0])
    EXPECT_LE(difference(gradients[1].at(name), gradient), 0.06) << name;
}

TEST(Network, a_training_step_is_repeatable) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    std::vector<std::vector<Tensor>> gradients;
    for (int run = 0; run < 2; ++run) {
      Network network = random_network(13);
      network->set_compute_type(type);
      torch::manual_seed(2);
      loss_of(network, batch(50)).backward();
      gradients.emplace_back();
      for (const auto& parameter : network->parameters()) gradients.back().push_back(parameter.grad());
    }
    for (size_t i = 0; i < gradients[0].size(); ++i)
      EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i]));
  }
}

TEST(Network, input_that_does_not_fit_is_named) {
  Network network = random_network(1);
  NetworkInput input = batch(20);
  input.mask = torch::ones({2, 1, 20, 19}, torch::kBool);
  EXPECT_THROW(network->hidden(input), Error);
  input = batch(20);
  input.feature_rows = torch::arange(11);
  EXPECT_THROW(network->hidden(input), Error);
  input = batch(20);
  input.grids = {{1, 6, 6}};
  EXPECT_THROW(network->hidden(input), Error);
}

}  // namespace
}  // namespace dvlm
