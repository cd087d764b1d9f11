// Folders that other tools write: what is read, and what is refused by its name.
#include "checkpoint/foreign.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/files.h"
#include "message_of.h"
#include "random_model.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

// A random checkpoint whose files a test may change.
class Foreign : public testing::Test {
 protected:
  Foreign() { make_random_model(small_config(), 1, folder_.path()); }

  // Writes the tensors again after `change`, which may add to their names and views.
  void rewrite(const std::function<void(std::map<std::string, TensorView>&)>& change) const {
    const Safetensors old(weights());
    std::map<std::string, TensorView> tensors = old.tensors();
    change(tensors);
    std::vector<NamedTensor> named;
    named.reserve(tensors.size());
    for (const auto& [name, tensor] : tensors) named.push_back({name, tensor});
    write_safetensors(weights(), named);
  }
  void add(const std::string& name, const std::vector<float>& values) const {
    rewrite([&](auto& tensors) {
      tensors[name] = {DType::f32, {std::ssize(values)}, reinterpret_cast<const std::byte*>(values.data())};
    });
  }
  void set(const char* pointer, const json& value) const {
    json config = read_json(folder_ / "config.json");
    config[json::json_pointer(pointer)] = value;
    write_file(folder_ / "config.json", config.dump());
  }
  std::filesystem::path weights() const { return folder_ / "model.safetensors"; }
  std::string message() const {
    return message_of([&] { Checkpoint checkpoint(folder_.path()); });
  }
  // What is said on stderr when the folder is opened.
  std::string warnings() const {
    testing::internal::CaptureStderr();
    const std::string error = message();
    EXPECT_EQ(error, "no error");
    return testing::internal::GetCapturedStderr();
  }
  TemporaryFolder folder_;
};

TEST_F(Foreign, an_untouched_checkpoint_loads_in_silence) {
  EXPECT_EQ(warnings(), "");
}

TEST_F(Foreign, quantizers_are_refused_by_name) {
  const json group = {{"weights", {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}}}};
  const json inputs_alone = {{"weights", nullptr}, {"input_activations", {{"num_bits", 4}}}};
  const std::pair<json, const char*> cases[] = {
      {{{"quant_method", "awq"}, {"bits", 8}}, "8 bits"},
      {{{"quant_method", "gptq"}, {"bits", 3}}, "3 bits"},
      {{{"quant_method", "bitsandbytes"}}, "bitsandbytes"},
      {{{"quant_method", "compressed-tensors"}, {"format", "mxfp4-pack-quantized"}}, "mxfp4-pack-quantized"},
      {{{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", group}}}}, "tensor"},
      {{{"quant_method", "compressed-tensors"},
        {"quantization_config", {{"config_groups", {{"group_0", group}}}}},
        {"sparsity_config", nullptr}},
       "tensor"},
      {{{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", inputs_alone}}}},
       "activations alone"},
      {{{"quant_method", "compressed-tensors"},
        {"config_groups", json::object()},
        {"sparsity_config", {{"format", "sparse-24-bitmask"}}}},
       "sparse-24-bitmask"},
      {{{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}, {"activation_scheme", "static"}},
       "input_scale"},
      {{{"quant_method", "fp8"}, {"activation_scheme", "static"}}, "input_scale"},
  };
  for (const auto& [quantization, word] : cases) {
    set("/quantization_config", quantization);
    EXPECT_THAT(message(), HasSubstr(word));
    EXPECT_THAT(message(), HasSubstr("dvlm quantize"));
  }
}

TEST_F(Foreign, fp8_of_compressed_tensors_is_read_where_scales_are_per_row_and_per_token) {
  json quantization = json::parse(R"({"quant_method":"compressed-tensors","format":"float-quantized",
    "config_groups":{"group_0":{"targets":["Linear"],
      "weights":{"num_bits":8,"type":"float","strategy":"channel","dynamic":false},
      "input_activations":{"num_bits":8,"type":"float","strategy":"token","dynamic":true}}}})");
  set("/quantization_config", quantization);
  EXPECT_EQ(message(), "no error");
  quantization["config_groups"]["group_0"]["input_activations"]["dynamic"] = false;
  set("/quantization_config", quantization);
  EXPECT_THAT(message(), HasSubstr("input_scale"));
  quantization["config_groups"]["group_0"]["input_activations"] = nullptr;
  set("/quantization_config", quantization);
  EXPECT_THAT(message(), HasSubstr("input_activations"));
}

TEST_F(Foreign, compressed_tensors_that_describe_no_layer_are_refused) {
  set("/quantization_config", {{"quant_method", "compressed-tensors"}});
  EXPECT_THAT(message(), HasSubstr("config_groups"));
}

TEST_F(Foreign, what_changes_more_than_weights_and_inputs_is_refused) {
  const json sound = json::parse(R"({"quant_method":"compressed-tensors","format":"int-quantized",
    "kv_cache_scheme":null,"transform_config":{},"config_groups":{"group_0":{"targets":["Linear"],
      "output_activations":null,"weights":{"num_bits":8,"type":"int","strategy":"channel"},
      "input_activations":{"num_bits":8,"type":"int","strategy":"token","dynamic":true}}}})");
  set("/quantization_config", sound);
  EXPECT_EQ(message(), "no error");
  for (const char* key :
       {"/transform_config", "/kv_cache_scheme", "/config_groups/group_0/output_activations"}) {
    json changed = sound;
    changed[json::json_pointer(key)] = {{"num_bits", 8}};
    set("/quantization_config", changed);
    EXPECT_THAT(message(), HasSubstr(std::string(key).substr(std::string(key).rfind('/') + 1))) << key;
  }
  set("/quantization_config", {{"quant_method", "fbgemm_fp8"}, {"activation_scale_ub", 1200.0}});
  EXPECT_THAT(warnings(), HasSubstr("activation_scale_ub"));
}

TEST_F(Foreign, integers_of_compressed_tensors_are_read_where_they_are_symmetric) {
  const json sound = json::parse(R"({"quant_method":"compressed-tensors","format":"int-quantized",
    "config_groups":{"group_0":{"targets":["Linear"],
      "weights":{"num_bits":8,"type":"int","strategy":"channel","symmetric":true,"dynamic":false},
      "input_activations":{"num_bits":8,"type":"int","strategy":"token","symmetric":true,"dynamic":true}}}})");
  set("/quantization_config", sound);
  EXPECT_EQ(message(), "no error");
  set("/quantization_config", {{"quant_method", "w8a8_int8"}});
  EXPECT_EQ(message(), "no error");
  const std::pair<const char*, json> changes[] = {
      {"/weights/symmetric", false},        {"/weights/num_bits", 4},
      {"/weights/strategy", "group"},       {"/input_activations/symmetric", false},
      {"/input_activations/num_bits", 4},   {"/input_activations/type", "float"},
      {"/input_activations/dynamic", false}};
  for (const auto& [key, value] : changes) {
    json changed = sound;
    changed["config_groups"]["group_0"][json::json_pointer(key)] = value;
    set("/quantization_config", changed);
    EXPECT_THAT(message(), HasSubstr("dvlm quantize")) << key;
  }
}

TEST_F(Foreign, tensors_that_would_change_answers_are_refused) {
  const std::pair<const char*, const char*> cases[] = {
      {"model.language_model.layers.0.self_attn.q_proj.lora_A.weight", "merge it first"},
      {"model.language_model.layers.0.self_attn.q_proj.base_layer.weight", "PEFT"},
      {"base_model.model.model.norm.weight", "PEFT"},
      {"model.language_model.layers.0.mlp.up_proj.input_scale", "static scale"},
      {"model.language_model.layers.0.mlp.up_proj.weight_scale_inv", "blocks"},
      {"model.language_model.layers.0.mlp.up_proj.qweight", "AWQ or GPTQ"},
      {"model.visual.blocks.0.attn.qkv.weight.absmax", "bitsandbytes"},
  };
  const std::string sound = read_file(weights());
  for (const auto& [name, word] : cases) {
    add(name, {1, 2});
    EXPECT_THAT(message(), HasSubstr(word));
    EXPECT_THAT(message(), HasSubstr(normalised_name(name)));
    write_file(weights(), sound);
  }
}

TEST_F(Foreign, tensors_that_nobody_reads_are_said_once) {
  add("model.visual.blocks.9.norm1.weight", {1, 2});
  EXPECT_THAT(warnings(), HasSubstr("visual.blocks.9.norm1.weight"));
  EXPECT_EQ(warnings(), "");
  EXPECT_THAT(Checkpoint(folder_.path()).problems(), IsEmpty()) << "it runs";
  EXPECT_THAT(Checkpoint(folder_.path()).unused(), testing::ElementsAre("visual.blocks.9.norm1.weight"));
}

TEST_F(Foreign, a_scale_beside_a_wide_weight_is_not_used) {
  add("model.language_model.layers.0.mlp.up_proj.weight_scale", std::vector<float>(75, 1));
  EXPECT_THAT(warnings(), HasSubstr("up_proj.weight_scale"));
}

TEST_F(Foreign, the_bare_model_of_transformers_5_is_read) {
  rewrite([](auto& tensors) {
    std::map<std::string, TensorView> renamed;
    for (const auto& [name, tensor] : tensors) renamed[name.substr(std::strlen("model."))] = tensor;
    tensors = renamed;
  });
  EXPECT_THAT(Checkpoint(folder_.path()).problems(), IsEmpty());
}

TEST_F(Foreign, a_head_of_its_own_is_kept_and_said) {
  const Safetensors old(weights());
  const TensorView embedding = old.tensors().at(published_name(kEmbedding));
  std::vector<float> other(static_cast<size_t>(embedding.elements()), 0.5f);
  rewrite([&](auto& tensors) { tensors[kHead] = embedding; });
  EXPECT_EQ(warnings(), "");
  EXPECT_TRUE(Checkpoint(folder_.path()).config().text.tie_word_embeddings);
  rewrite([&](auto& tensors) {
    tensors[kHead] = {DType::f32, embedding.shape, reinterpret_cast<const std::byte*>(other.data())};
  });
  EXPECT_THAT(warnings(), HasSubstr("lm_head.weight differs"));
  const Checkpoint checkpoint(folder_.path());
  EXPECT_FALSE(checkpoint.config().text.tie_word_embeddings);
  EXPECT_EQ(std::memcmp(checkpoint.head().data, other.data(), checkpoint.head().bytes()), 0);
  EXPECT_THAT(checkpoint.problems(), IsEmpty());
}

TEST_F(Foreign, either_level_may_say_that_the_head_is_tied) {
  set("/text_config/tie_word_embeddings", false);
  EXPECT_TRUE(Checkpoint(folder_.path()).config().text.tie_word_embeddings);
  set("/tie_word_embeddings", false);
  const Checkpoint untied(folder_.path());
  EXPECT_THAT(message_of([&] { untied.head(); }), HasSubstr("tie_word_embeddings"));
}

TEST_F(Foreign, a_tied_pair_may_be_stored_as_its_head) {
  rewrite([](auto& tensors) {
    tensors[kHead] = tensors.at(published_name(kEmbedding));
    tensors.erase(published_name(kEmbedding));
  });
  EXPECT_THAT(Checkpoint(folder_.path()).problems(), IsEmpty());
}

TEST_F(Foreign, one_file_comes_before_an_index) {
  write_file(folder_ / "model.safetensors.index.json",
             R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})");
  EXPECT_THAT(warnings(), HasSubstr("index"));
  std::filesystem::remove(weights());
  EXPECT_THAT(message(), HasSubstr("model-00001-of-00002.safetensors, which is missing"));
}

TEST_F(Foreign, pointers_of_git_lfs_are_named) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  for (const char* name : {"model.safetensors", "config.json"}) {
    const std::string sound = read_file(folder_ / name);
    write_file(folder_ / name, pointer);
    EXPECT_THAT(message(), HasSubstr("run git lfs pull")) << name;
    write_file(folder_ / name, sound);
  }
}

TEST_F(Foreign, adapters_and_other_formats_are_named) {
  std::filesystem::remove(weights());
  write_file(folder_ / "pytorch_model.bin", "x");
  EXPECT_THAT(message(), HasSubstr("safetensors first"));
  write_file(folder_ / "adapter_config.json", "{}");
  EXPECT_THAT(message(), HasSubstr("with --lora"));
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_THAT(message(), HasSubstr("with --lora"));
}

}  // namespace
}  // namespace dvlm
