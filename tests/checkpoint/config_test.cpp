#include "checkpoint/config.h"

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;

// The published 3B values (docs/reference.md, Configuration), nested.
json published() {
  return json::parse(
      R"({"architectures":["Fast_dVLMForConditionalGeneration"],"model_type":"fast_dvlm","bd_size":32,
    "eos_token_id":151645,"image_token_id":151655,"video_token_id":151656,"vision_start_token_id":151652,
    "vision_end_token_id":151653,"tie_word_embeddings":true,
    "text_config":{"vocab_size":151936,"hidden_size":2048,"intermediate_size":11008,"num_hidden_layers":36,
      "num_attention_heads":16,"num_key_value_heads":2,"hidden_act":"silu","rms_norm_eps":1e-6,"rope_theta":1000000.0,
      "rope_scaling":{"type":"mrope","mrope_section":[16,24,24]},"max_position_embeddings":128000,"bd_size":8},
    "vision_config":{"depth":32,"hidden_size":1280,"intermediate_size":3420,"num_heads":16,"out_hidden_size":2048,
      "in_chans":3,"patch_size":14,"spatial_patch_size":14,"temporal_patch_size":2,"spatial_merge_size":2,
      "window_size":112,"fullatt_block_indexes":[7,15,23,31],"tokens_per_second":2,"hidden_act":"silu"}})");
}

TEST(JsonObjects, RefuseWhatNobodyAskedFor) {
  const nlohmann::json given = {{"a", 1}, {"b", nullptr}, {"c", "x"}};
  const JsonObject object(given, "it");
  EXPECT_EQ(object.integer("a", 0, 9, 0), 1);
  EXPECT_FALSE(object.has("d"));
  EXPECT_EQ(object.string("c", ""), "x");
  EXPECT_EQ(message_of([&] { object.refuse_others(); }), "it: the key \"b\" is not known");
  EXPECT_TRUE(object.is_null("b"));
  object.refuse_others();
}

TEST(JsonObjects, HoldWholeNumbersExactly) {
  const json numbers = {{"last", INT64_MAX},
                        {"beyond", uint64_t{1} << 63},
                        {"odd", (int64_t{1} << 53) + 1},
                        {"float", 9223372036854775808.0},
                        {"list", {uint64_t{1} << 63}}};
  const JsonObject object(numbers, "it");
  EXPECT_EQ(object.integer("last", 0, INT64_MAX), INT64_MAX);
  EXPECT_EQ(object.integer("odd", 0, INT64_MAX), (int64_t{1} << 53) + 1);
  EXPECT_THROW(object.integer("odd", 0, int64_t{1} << 53), Error);
  EXPECT_THROW(object.integer("beyond", 0, INT64_MAX), Error);
  EXPECT_THROW(object.integer("float", 0, INT64_MAX), Error);
  EXPECT_THROW(object.integers("list", INT64_MIN, INT64_MAX, 8), Error);
}

ModelConfig read(const json& file) {
  TemporaryFolder folder;
  write_file(folder / "config.json", file.dump());
  return read_config(folder.path());
}

std::string error_of(const json& file) {
  try {
    read(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Config, ReadsThePublishedValues) {
  const ModelConfig config = read(published());
  EXPECT_EQ(config.text.head_dim, 128);
  EXPECT_EQ(config.text.mrope_section, (std::vector<int>{16, 24, 24}));
  EXPECT_EQ(config.vision.head_dim(), 80);
  EXPECT_EQ(config.vision.patch_elements(), 1176);
  EXPECT_EQ(config.vision.merged_tokens_per_window_side(), 4);
  EXPECT_EQ(config.block_size, 32);
  EXPECT_EQ(config.stop_tokens, (std::vector<TokenId>{151645}));
  const auto tensors = expected_tensors(config);
  int64_t parameters = 0;
  for (const auto& [name, shape] : tensors) parameters += TensorView{DType::f32, shape, nullptr}.elements();
  EXPECT_EQ(tensors.size(), 824u);  // docs/reference.md, Tensors
  EXPECT_EQ(parameters, 3754622976);
}

TEST(Config, FlatAndNestedGiveTheSame) {
  json flat = published();
  for (const auto& [key, value] : flat["text_config"].items())
    if (key != "bd_size") flat[key] = value;
  flat.erase("text_config");
  const ModelConfig a = read(published()), b = read(flat);
  EXPECT_EQ(a.text.hidden_size, b.text.hidden_size);
  EXPECT_EQ(a.text.mrope_section, b.text.mrope_section);
  EXPECT_EQ(a.block_size, b.block_size);
}

TEST(Config, BlocksAreRefusedWhereTheyAreRead) {
  json file = published();
  file["bd_size"] = kMaxBlockSize;
  EXPECT_EQ(read(file).block_size, kMaxBlockSize);
  file["bd_size"] = 4096;
  const std::string message = message_of([&] { read(file); });
  for (const char* part : {"config.json", "\"bd_size\" is 4096", "1..256"})
    EXPECT_NE(message.find(part), message.npos) << message;
}

TEST(Config, ReadsRopeParameters) {
  json file = published();
  json& text = file["text_config"];
  text.erase("rope_scaling");
  text.erase("rope_theta");
  text["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 5000.0}, {"mrope_section", {16, 24, 24}}};
  EXPECT_EQ(read(file).text.rope_theta, 5000.0);
}

// transformers 4.45 to 4.49 write only what differs from the class; the published 3B files are not the class.
TEST(Config, AbsentKeysHaveTheValuesOfTheClass) {
  json file = published();
  for (const char* key :
       {"num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_theta", "max_position_embeddings"})
    file["text_config"].erase(key);
  file["text_config"]["hidden_size"] = 3584;
  file["text_config"]["num_attention_heads"] = 32;
  file["text_config"]["rope_scaling"]["mrope_section"] = {16, 20, 20};
  file["vision_config"] = {{"model_type", "qwen2_5_vl"}};
  const ModelConfig config = read(file);
  EXPECT_EQ(config.text.kv_heads, 8);
  EXPECT_EQ(config.text.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.text.rope_theta, 1e6);
  EXPECT_EQ(config.text.max_positions, 32768);
  EXPECT_EQ(config.vision.depth, 32);
  EXPECT_EQ(config.vision.hidden_size, 3584);
  EXPECT_EQ(config.vision.intermediate_size, 3420);
  EXPECT_EQ(config.vision.heads, 16);
  EXPECT_EQ(config.vision.out_hidden_size, 3584);
  EXPECT_EQ(config.vision.patch_size, 14);
  EXPECT_EQ(config.vision.temporal_patch_size, 2);
  EXPECT_EQ(config.vision.spatial_merge_size, 2);
  EXPECT_EQ(config.vision.window_size, 112);
  EXPECT_EQ(config.vision.tokens_per_second, 4);
  EXPECT_EQ(config.vision.full_attention_blocks, (std::vector<int>{7, 15, 23, 31}));
}

TEST(Config, DefaultsGiveWayToWhatTheFileSays) {
  json file = published();
  file["text_config"]["num_key_value_heads"] = nullptr;  // the class takes as many as query heads
  EXPECT_EQ(read(file).text.kv_heads, 16);
  file["vision_config"].erase("fullatt_block_indexes");
  file["vision_config"]["depth"] = 16;
  EXPECT_EQ(read(file).vision.full_attention_blocks, (std::vector<int>{7, 15}));
  file["vision_config"]["fullatt_block_indexes"] = json::array();
  EXPECT_EQ(read(file).vision.full_attention_blocks, std::vector<int>{});
}

TEST(Config, KeysWithoutADefaultAreRequiredByName) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    json file = published();
    file["text_config"].erase(key);
    EXPECT_NE(error_of(file).find(key), std::string::npos) << key;
  }
}

TEST(Config, OtherFamiliesAreNamed) {
  json file = published();
  file["vision_config"]["embed_dim"] = 1280;
  EXPECT_NE(error_of(file).find("Qwen2-VL"), std::string::npos);
}

TEST(Config, WritesNumbersOfTheTypesThatTransformersDeclares) {
  TemporaryFolder folder;
  write_config(folder.path(), read(published()));
  const std::string text = read_file(folder / "config.json");
  EXPECT_NE(text.find("\"tokens_per_second\": 2,"), std::string::npos);
  EXPECT_NE(text.find("\"rms_norm_eps\": 1e-06,"), std::string::npos);
  EXPECT_NE(text.find("\"rope_theta\": 1000000.0,"), std::string::npos);
  ModelConfig config = read(published());
  config.vision.tokens_per_second = 2.5;
  write_config(folder.path(), config);
  EXPECT_EQ(read_config(folder.path()).vision.tokens_per_second, 2.5);
}

TEST(Config, AFileThatIsCopiedGetsTheSameTypes) {
  json file = published();
  file["vision_config"]["tokens_per_second"] = 2.0;
  file["text_config"]["rms_norm_eps"] = static_cast<double>(1e-6f);
  file["text_config"]["attention_dropout"] = 0.0;
  file["text_config"]["max_window_layers"] = 1e300;  // no whole number of 64 bits
  ModelConfig config = read(file);
  config.text.tie_word_embeddings = false;
  mend_config(file, config);
  EXPECT_EQ(file["vision_config"]["tokens_per_second"].dump(), "2");
  EXPECT_EQ(file["text_config"]["rms_norm_eps"].dump(), "1e-06");
  EXPECT_EQ(file["text_config"]["attention_dropout"].dump(), "0.0");
  EXPECT_EQ(file["text_config"]["max_window_layers"].dump(), "1e+300");
  EXPECT_EQ(file["text_config"]["tie_word_embeddings"], false);
  EXPECT_EQ(file["tie_word_embeddings"], false);
}

TEST(Config, GenerationConfigAddsStopTokens) {
  TemporaryFolder folder;
  write_file(folder / "config.json", published().dump());
  write_file(folder / "generation_config.json", R"({"eos_token_id":[151645,151643]})");
  EXPECT_EQ(read_config(folder.path()).stop_tokens, (std::vector<TokenId>{151645, 151643}));
}

TEST(Config, WritesWhatItReads) {
  TemporaryFolder folder;
  ModelConfig config = read(published());
  config.text.initializer_range = 0.05, config.vision.initializer_range = 0.07;
  write_config(folder.path(), config);
  const ModelConfig again = read_config(folder.path());
  EXPECT_EQ(again.text.intermediate_size, config.text.intermediate_size);
  EXPECT_EQ(again.vision.full_attention_blocks, config.vision.full_attention_blocks);
  EXPECT_EQ(again.preprocessor.max_pixels, config.preprocessor.max_pixels);
  EXPECT_EQ(again.stop_tokens, config.stop_tokens);
  EXPECT_EQ(again.text.initializer_range, 0.05);
  EXPECT_EQ(again.vision.initializer_range, 0.07);
}

TEST(Config, SaysWhatCommittedTokensSee) {
  TemporaryFolder folder;
  ModelConfig config = read(published());
  EXPECT_EQ(config.clean_attention, CleanAttention::causal) << "published models do not say it";
  write_config(folder.path(), config);
  EXPECT_FALSE(read_json(folder / "config.json").contains("clean_attention"));
  config.clean_attention = CleanAttention::block;
  write_config(folder.path(), config);
  EXPECT_EQ(read_json(folder / "config.json")["clean_attention"], "block");
  EXPECT_EQ(read_config(folder.path()).clean_attention, CleanAttention::block);
}

TEST(Config, DeepNestingIsRefusedBeforeAnythingRecurses) {
  for (const char* brackets : {"[]", "{}"}) {
    const size_t levels = 200'000;
    std::string text = R"({"quantization_config":)";
    for (size_t i = 0; i < levels; ++i) text += brackets[0] == '[' ? "[" : "{\"a\":";
    text += "1" + std::string(levels, brackets[1]) + "}";
    TemporaryFolder folder;
    write_file(folder / "config.json", text);
    try {
      read_config(folder.path());
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("64 levels"), std::string::npos);
    }
  }
  EXPECT_EQ(parse_json(R"(["[[[[", "\"[[[["])", "x").size(), 2u);
  EXPECT_EQ(parse_json(std::string(64, '[') + std::string(64, ']'), "x").size(), 1u);
}

TEST(Config, ReadingTakesTimeAsTheTextIsLong) {
  // CPU seconds for so many objects, also those of other threads: none runs.
  const auto seconds = [](size_t objects) {
    std::string text = "[";
    for (size_t i = 1; i < objects; ++i) text += "{},";
    const std::clock_t begin = std::clock();
    EXPECT_EQ(parse_json(text + "{}]", "x").size(), objects);
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  EXPECT_LT(seconds(400'000), 8) << "where objects wait for those before them it is a minute and more";
}

TEST(Config, WrongValuesAreNamed) {
  const auto with = [](const char* pointer, json value) {
    json file = published();
    file[json::json_pointer(pointer)] = std::move(value);
    return error_of(file);
  };
  EXPECT_NE(with("/text_config/hidden_size", -1).find("hidden_size"), std::string::npos);
  EXPECT_NE(with("/text_config/hidden_size", "2048").find("hidden_size"), std::string::npos);
  EXPECT_NE(with("/text_config/num_hidden_layers", 1e30).find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(with("/text_config/num_key_value_heads", 3).find("num_key_value_heads"), std::string::npos);
  EXPECT_NE(with("/text_config/rope_scaling/mrope_section", json::array({1, 2, 3})).find("mrope_section"),
            std::string::npos);
  EXPECT_NE(with("/text_config/rope_scaling/type", "yarn").find("yarn"), std::string::npos);
  EXPECT_NE(with("/text_config/hidden_act", "gelu").find("gelu"), std::string::npos);
  EXPECT_NE(with("/vision_config/out_hidden_size", 1024).find("out_hidden_size"), std::string::npos);
  EXPECT_NE(with("/vision_config/fullatt_block_indexes", json::array({99})).find("fullatt_block_indexes"),
            std::string::npos);
  EXPECT_NE(with("/text_config/use_sliding_window", true).find("use_sliding_window"), std::string::npos);
  EXPECT_NE(with("/text_config/layer_types", json::array({"sliding_attention"})).find("layer_types"),
            std::string::npos);
  EXPECT_NE(with("/image_token_id", 200000).find("vocabulary"), std::string::npos);
  EXPECT_NE(with("/clean_attention", "full").find("clean_attention"), std::string::npos);
  EXPECT_NE(with("/clean_attention", 1).find("clean_attention"), std::string::npos);
  EXPECT_NE(with("/vision_config", nullptr).find("vision_config"), std::string::npos);
  EXPECT_NE(with("/text_config", json::array()).find("JSON object"), std::string::npos);
}

TEST(Checkpoint, NormalisesBothNamingStyles) {
  EXPECT_EQ(normalised_name("model.language_model.layers.0.mlp.up_proj.weight"),
            "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(normalised_name("model.visual.blocks.0.norm1.weight"), "visual.blocks.0.norm1.weight");
  EXPECT_EQ(normalised_name("lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(normalised_name("language_model.embed_tokens.weight"), "model.embed_tokens.weight");
  for (const char* name : {"model.norm.weight", "visual.merger.ln_q.weight", "lm_head.weight"})
    EXPECT_EQ(normalised_name(published_name(name)), name);
}

TEST(Checkpoint, MissingPiecesAreNamed) {
  TemporaryFolder folder;
  const auto error = [&] {
    try {
      Checkpoint checkpoint(folder.path());
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error().find("no config.json"), std::string::npos);
  write_file(folder / "config.json", published().dump());
  EXPECT_NE(error().find("neither model.safetensors"), std::string::npos);
  write_file(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"../b.safetensors"}})");
  EXPECT_NE(error().find("plain file name"), std::string::npos);
  write_file(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"b.safetensors"}})");
  EXPECT_NE(error().find("is missing"), std::string::npos);
}

}  // namespace
}  // namespace dvlm
