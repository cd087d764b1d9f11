// Adapters as PEFT 0.21.2 wrote them (tools/fixtures/make_lora_fixtures.py), and what is refused.
#include "checkpoint/lora.h"

#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/merge.h"
#include "core/error.h"
#include "core/files.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kFixtures = DVLM_FIXTURES;
const fs::path kModel = kFixtures / "model/gqa4-head16-f32";

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.elements()));
  copy_to_float(tensor, 0, tensor.elements(), out.data());
  return out;
}

class LoraFolder : public testing::Test {
 protected:
  LoraFolder() {
    std::string pattern = (fs::temp_directory_path() / "dvlm-lora-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
      fs::copy_file(kFixtures / "lora/merged" / name, folder_ / name);
  }
  ~LoraFolder() override { fs::remove_all(folder_); }

  // The adapter's configuration with a key changed.
  std::string refusal(const char* key, const nlohmann::json& value) {
    nlohmann::json config = nlohmann::json::parse(read_file(kFixtures / "lora/merged/adapter_config.json"));
    config[key] = value;
    write_file(folder_ / "adapter_config.json", config.dump());
    return error_of([&] { const Lora lora(folder_); });
  }
  // Its tensors, changed.
  using Tensors = std::map<std::string, TensorView>;
  std::string refusal(const std::function<void(Tensors&)>& change) {
    const Safetensors file(kFixtures / "lora/merged/adapter_model.safetensors");
    Tensors tensors = file.tensors();
    change(tensors);
    std::vector<NamedTensor> list;
    for (const auto& [name, tensor] : tensors) list.push_back({name, tensor});
    write_safetensors(folder_ / "adapter_model.safetensors", list);
    return error_of([&] { Lora(folder_).check(read_config(kModel)); });
  }

  fs::path folder_;
};

TEST_F(LoraFolder, names_scales_and_tokens_are_read) {
  const Lora lora(folder_);
  const ModelConfig config = read_config(kModel);
  lora.check(config);
  EXPECT_EQ(lora.tokens(), std::vector<int64_t>{config.text.vocab_size - 5});
  ASSERT_TRUE(lora.linears().contains("model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(lora.linears().contains("visual.blocks.0.attn.qkv"));
  EXPECT_EQ(lora.linears().at("model.layers.0.self_attn.q_proj").scale, 4);  // a rank of its own
  EXPECT_EQ(lora.linears().at("model.layers.1.self_attn.q_proj").scale, 2);
  EXPECT_NEAR(Lora(kFixtures / "lora/rslora").linears().begin()->second.scale, 2 / std::sqrt(3.0), 1e-12);
  EXPECT_FALSE(lora.drafts_only());
}

TEST_F(LoraFolder, merging_adds_the_product_and_replaces_rows) {
  const Checkpoint plain(kModel);
  Checkpoint merged(kModel);
  const Lora lora(folder_);
  merged.add(lora);
  EXPECT_NE(merged.identity(), plain.identity());
  EXPECT_TRUE(merged.problems().empty());
  for (const auto& [name, tensor] : plain.tensors()) {
    const std::vector<float> before = floats(tensor), after = floats(merged.tensors().at(name));
    const std::string layer = name.substr(0, name.rfind('.'));
    const auto found = lora.linears().find(layer);
    if (name.ends_with(".weight") && found != lora.linears().end()) {
      const std::vector<float> a = floats(found->second.a), b = floats(found->second.b);
      const auto rank = static_cast<size_t>(found->second.a.shape[0]),
                 inputs = static_cast<size_t>(found->second.a.shape[1]);
      for (size_t i = 0; i < before.size(); ++i) {
        double sum = 0;
        for (size_t k = 0; k < rank; ++k)
          sum += double{b[i / inputs * rank + k]} * double{a[k * inputs + i % inputs]};
        ASSERT_NEAR(after[i], before[i] + found->second.scale * sum, 1e-5) << name;
      }
    } else if (name == "model.embed_tokens.weight") {
      const std::vector<float> row = floats(lora.token_rows());
      for (size_t i = 0; i < before.size(); ++i) {
        const bool own = std::cmp_equal(i / row.size(), lora.tokens()[0]);
        ASSERT_EQ(after[i], own ? row[i % row.size()] : before[i]);
      }
    } else {
      EXPECT_EQ(after, before) << name;
    }
  }
}

TEST_F(LoraFolder, weights_keep_their_types) {
  for (const char* model : {"model/gqa2-head64", "model/gqa2-head16-windows"}) {  // F16, BF16
    Checkpoint checkpoint(kFixtures / model);
    const std::string name = "model.layers.1.mlp.up_proj";
    const TensorView before = checkpoint.tensors().at(name + ".weight");
    const int64_t outputs = before.shape[0], inputs = before.shape[1];
    const std::vector<float> a(static_cast<size_t>(inputs), 0.25f), b(static_cast<size_t>(outputs), 0.5f);
    const std::string prefix = "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_";
    const auto view = [](const std::vector<float>& values, int64_t rows, int64_t columns) {
      return TensorView{DType::f32, {rows, columns}, reinterpret_cast<const std::byte*>(values.data())};
    };
    const std::vector<NamedTensor> tensors = {{prefix + "A.weight", view(a, 1, inputs)},
                                              {prefix + "B.weight", view(b, outputs, 1)}};
    write_safetensors(folder_ / "adapter_model.safetensors", tensors);
    write_file(folder_ / "adapter_config.json", R"({"peft_type": "LORA", "lora_alpha": 2})");
    checkpoint.add(Lora(folder_));
    const TensorView& after = checkpoint.tensors().at(name + ".weight");
    EXPECT_EQ(after.type, before.type);
    const std::vector<float> was = floats(before), is = floats(after);
    for (size_t i = 0; i < was.size(); ++i) {
      const float exact = was[i] + 0.25f;
      EXPECT_EQ(is[i], before.type == DType::f16 ? to_float(to_f16(exact)) : round_to_bf16(exact));
    }
  }
}

TEST_F(LoraFolder, what_would_change_the_answer_is_refused_by_name) {
  EXPECT_THAT(refusal("peft_type", "LOHA"), HasSubstr("type LOHA"));
  EXPECT_THAT(refusal("use_dora", true), HasSubstr("use_dora"));
  EXPECT_THAT(refusal("bias", "all"), HasSubstr("\"bias\""));
  EXPECT_THAT(refusal("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save"));
  EXPECT_THAT(refusal("alpha_pattern", {{"q_proj", 3}}), HasSubstr("alpha_pattern"));
  EXPECT_THAT(refusal("fan_in_fan_out", true), HasSubstr("fan_in_fan_out"));
  EXPECT_THAT(refusal("init_lora_weights", "pissa"), HasSubstr("pissa"));
  EXPECT_THAT(refusal("layer_replication", {{0, 1}}), HasSubstr("layer_replication"));
  EXPECT_THAT(refusal("alora_invocation_tokens", {1, 2}), HasSubstr("alora_invocation_tokens"));
  EXPECT_THAT(refusal("invented_key", 7), HasSubstr("invented_key"));
  EXPECT_THAT(refusal("lora_alpha", "much"), HasSubstr("lora_alpha"));
  EXPECT_THAT(refusal("trainable_token_indices", {1, 2, 3}), HasSubstr("3 trainable_token_indices"));
  EXPECT_THAT(refusal("trainable_token_indices", {-1}), HasSubstr("trainable_token_indices"));
  EXPECT_EQ(refusal("invented_key", nullptr), "");
}

TEST_F(LoraFolder, tensors_that_do_not_fit_are_refused_by_name) {
  const std::string q = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_";
  EXPECT_THAT(refusal([&](Tensors& t) { t.erase(q + "B.weight"); }),
              HasSubstr("only one of lora_A and lora_B"));
  EXPECT_THAT(refusal([&](Tensors& t) { t[q + "magnitude_vector"] = t[q + "A.weight"]; }),
              HasSubstr("magnitude_vector"));
  EXPECT_THAT(refusal([&](Tensors& t) { t["lm_head.weight"] = t[q + "A.weight"]; }),
              HasSubstr("lm_head.weight"));
  const std::string v = "base_model.model.model.language_model.layers.0.self_attn.v_proj.lora_";
  EXPECT_THAT(refusal([&](Tensors& t) { t[q + "A.weight"] = t[v + "A.weight"]; }),
              HasSubstr("which do not fit"));
  EXPECT_THAT(refusal([&](Tensors& t) {
                t[q + "A.weight"].shape = {2, 32};
              }),
              HasSubstr("for another model"));
  const std::string head = "base_model.model.lm_head.lora_";
  EXPECT_THAT(refusal([&](Tensors& t) {
                t[head + "A.weight"] = t[q + "A.weight"], t[head + "B.weight"] = t[q + "B.weight"];
              }),
              HasSubstr("its head is the embedding"));
}

TEST_F(LoraFolder, tensors_under_two_names_or_none_at_all_are_refused) {
  const std::string q = "layers.0.self_attn.q_proj.lora_A.weight", published = "base_model.model.model.";
  EXPECT_THAT(refusal([&](Tensors& t) { t[published + q] = t[published + "language_model." + q]; }),
              HasSubstr("occurs twice"));
  nlohmann::json config = nlohmann::json::parse(read_file(kFixtures / "lora/merged/adapter_config.json"));
  config.erase("trainable_token_indices");
  write_file(folder_ / "adapter_config.json", config.dump());
  EXPECT_THAT(refusal([](Tensors& t) { t.clear(); }), HasSubstr("holds no adapter"));
}

// What the adapter's folder says of pictures and of the model counts in both ways of using it, or in neither.
TEST_F(LoraFolder, its_own_files_count_merged_as_they_do_beside_the_model) {
  write_file(folder_ / "preprocessor_config.json", R"({"min_pixels": 6272, "max_pixels": 12544})");
  write_file(folder_ / "generation_config.json", R"({"eos_token_id": 7})");
  Checkpoint beside(kModel);
  beside.add(Lora(folder_));
  write_merged(kModel, folder_, folder_ / "out");
  const Checkpoint merged(folder_ / "out");
  for (const Checkpoint* one : {static_cast<const Checkpoint*>(&beside), &merged}) {
    EXPECT_EQ(one->config().preprocessor.min_pixels, 6272);
    EXPECT_EQ(one->config().preprocessor.max_pixels, 12544);
    EXPECT_EQ(one->config().stop_tokens, Checkpoint(kModel).config().stop_tokens);
  }
  nlohmann::json config = nlohmann::json::parse(read_file(kModel / "config.json"));
  nlohmann::json& text = config.contains("text_config") ? config["text_config"] : config;
  text["rms_norm_eps"] = 0.5;
  write_file(folder_ / "config.json", config.dump());
  EXPECT_THAT(error_of([&] { Checkpoint(kModel).add(Lora(folder_)); }), HasSubstr("rms_norm_eps"));
}

// Who drafts only changes nothing of what the model reads, and was trained beside its weights of 16 bits.
TEST_F(LoraFolder, that_drafts_alone_leaves_pictures_and_quantization_to_the_model) {
  write_file(folder_ / "preprocessor_config.json", R"({"min_pixels": 6272, "max_pixels": 12544})");
  nlohmann::json config = nlohmann::json::parse(read_file(kModel / "config.json"));
  config["quantization_config"] = {{"quant_method", "w8a8_int8"}};
  config["bd_size"] = 8;
  write_file(folder_ / "config.json", config.dump());
  EXPECT_THAT(error_of([&] { Checkpoint(kModel).add(Lora(folder_)); }), HasSubstr("quantization_config"));
  Lora drafts(folder_);
  drafts.use_for_drafts();
  Checkpoint checkpoint(kModel);
  const PreprocessorConfig before = checkpoint.config().preprocessor;
  checkpoint.add(drafts);
  EXPECT_EQ(checkpoint.config().preprocessor.max_pixels, before.max_pixels);
  EXPECT_EQ(checkpoint.config().block_size, 8);
}

TEST_F(LoraFolder, merging_takes_all_that_its_folder_says_of_texts_and_pictures_or_nothing) {
  write_file(folder_ / "tokenizer.json", "{}");
  write_file(folder_ / "processor_config.json", R"({"processor_class": "Qwen2_5_VLProcessor"})");
  write_merged(kModel, folder_, folder_ / "out");
  EXPECT_EQ(fs::exists(folder_ / "out/tokenizer.json"), fs::exists(kModel / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(folder_ / "out/processor_config.json"));
  Checkpoint beside(kModel);
  beside.add(Lora(folder_));
  EXPECT_EQ(beside.config().preprocessor.max_pixels, Checkpoint(kModel).config().preprocessor.max_pixels);
  write_file(folder_ / "tokenizer_config.json", "{}");
  write_merged(kModel, folder_, folder_ / "other");
  EXPECT_EQ(read_file(folder_ / "other/tokenizer.json"), "{}");
  EXPECT_THAT(error_of([&] { write_merged(kModel, folder_, folder_); }), HasSubstr("own folder"));
}

TEST(Companions, are_copied_whatever_they_hold) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "from"), fs::create_directories(folder / "to");
  constexpr const char* kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
  for (const char* name : {"demo.mp4", "model.safetensors", "tf_model.h5", "a.ckpt", "README.md"})
    write_file(folder / "from" / name, kPointer);
  fs::create_symlink(folder / "from/README.md", folder / "to/demo.mp4");
  copy_beside_weights(folder / "from", folder / "to");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "to"), {}), 1);
  EXPECT_FALSE(fs::is_symlink(folder / "to/demo.mp4"));
  EXPECT_EQ(fs::file_size(folder / "to/demo.mp4"), std::string_view(kPointer).size());
}

TEST_F(LoraFolder, merging_that_fails_leaves_no_model) {
  const fs::path out = folder_ / "out";
  fs::create_directories(out / "config.json");  // where a file is to be written
  EXPECT_NE(error_of([&] { write_merged(kModel, folder_, out); }), "");
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
  fs::remove(out / "config.json");
  EXPECT_EQ(error_of([&] { write_merged(kModel, folder_, out); }), "");
}

TEST_F(LoraFolder, quantized_weights_take_no_adapter) {
  Checkpoint checkpoint(kFixtures / "model-fp8/gqa2-head16");
  const std::string name = "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_";
  const auto shape = checkpoint.tensors().at("model.layers.0.mlp.up_proj.weight").shape;
  const std::vector<float> zeros(static_cast<size_t>(shape[0] + shape[1]));
  const auto* data = reinterpret_cast<const std::byte*>(zeros.data());
  const std::vector<NamedTensor> tensors = {{name + "A.weight", {DType::f32, {1, shape[1]}, data}},
                                            {name + "B.weight", {DType::f32, {shape[0], 1}, data}}};
  write_safetensors(folder_ / "adapter_model.safetensors", tensors);
  write_file(folder_ / "adapter_config.json", R"({"lora_alpha": 1})");
  EXPECT_THAT(error_of([&] { checkpoint.add(Lora(folder_)); }), HasSubstr("before the model is quantized"));
}

TEST_F(LoraFolder, a_merged_folder_is_the_model_with_the_adapter) {
  const fs::path out = folder_ / "out";
  write_merged(kModel, folder_, out);
  Checkpoint expected(kModel);
  expected.add(Lora(folder_));
  const Checkpoint found(out);
  EXPECT_TRUE(found.problems().empty());
  for (const auto& [name, tensor] : found.tensors()) {
    EXPECT_EQ(tensor.type, expected.tensors().at(name).type);
    EXPECT_EQ(floats(tensor), floats(expected.tensors().at(name))) << name;
  }
  EXPECT_THAT(error_of([&] { write_merged(kModel, folder_, out); }), HasSubstr("holds a model already"));
  EXPECT_THAT(refusal(kDraftsOnly, true), "");
  EXPECT_THAT(error_of([&] { write_merged(kModel, folder_, folder_ / "other"); }), HasSubstr("--draft-lora"));
}

}  // namespace
}  // namespace dvlm
