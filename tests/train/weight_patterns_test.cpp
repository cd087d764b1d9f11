#include "train/weight_patterns.h"

#include <gmock/gmock.h>

#include <set>

#include "checkpoint/checkpoint.h"
#include "torch/network.h"
#include "toy.h"

namespace dvlm {
namespace {

using testing::HasSubstr;

std::string error_of_freeze(const std::vector<std::string>& patterns) {
  TrainConfig config;
  config.freeze = patterns;
  return toy::error_of([&] { check_patterns(config, toy::small_config()); });
}

TEST(WeightPatterns, NameTheOneThatMatchesNothing) {
  EXPECT_EQ(error_of_freeze({}), "");
  EXPECT_EQ(error_of_freeze({"visual.*", "*norm.weight"}), "");
  EXPECT_THAT(error_of_freeze({"vision.*"}), HasSubstr("\"vision.*\" matches no weight"));
  EXPECT_THAT(error_of_freeze({"visual.*", "model.layers.2.*"}), HasSubstr("\"model.layers.2.*\""));
  EXPECT_THAT(error_of_freeze({"*"}), HasSubstr("leaves no weight to train"));
  EXPECT_EQ(error_of_freeze({"lm_head.weight"}), "") << "where the tensors have one";
}

TEST(WeightPatterns, NameTheTargetThatIsNoLayer) {
  TrainConfig config;
  config.lora = {.rank = 2, .targets = {"q_proj", "visual.*"}};
  const auto error = [&] { return toy::error_of([&] { check_patterns(config, toy::small_config()); }); };
  EXPECT_EQ(error(), "");
  config.lora.targets.emplace_back("c_attn");
  EXPECT_THAT(error(), HasSubstr("\"c_attn\" matches no linear layer"));
  config.lora.targets = {"lm_head", "model.embed_tokens"};  // no layers that adapters stand beside
  EXPECT_THAT(error(), HasSubstr("\"lm_head\""));
  config.lora.targets = {"gate_proj"}, config.lora.drafts_only = true;
  EXPECT_THAT(error(), HasSubstr("visual.blocks.0.mlp.gate_proj, which drafts do not run"));
}

// Names alone say what the network that is made later has.
TEST(WeightPatterns, KnowTheLayersOfTheNetworkAndWhatItKeepsAsOne) {
  const ModelConfig model = toy::small_config();
  const Network network(model);
  std::map<const layers::Linear*, int> parts;
  std::set<std::string> of_network, of_names;
  for (const towers::LinearPart& part : network->linears())
    ++parts[part.linear], of_network.insert(part.name + ".weight");
  TrainConfig all;
  all.lora = {.rank = 1, .targets = {"*"}};
  for (const auto& [name, shape] : expected_tensors(model))
    if (is_adapted(all, name, shape)) of_names.insert(name);
  EXPECT_EQ(of_names, of_network);
  for (const towers::LinearPart& part : network->linears()) {
    const std::string error = error_of_freeze({part.name + ".weight"});
    EXPECT_EQ(error.find("cuts through weights") != std::string::npos, parts[part.linear] > 1) << part.name;
  }
}

}  // namespace
}  // namespace dvlm
