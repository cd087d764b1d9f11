#include "train/config.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "toy.h"
#include "train/run_setup.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json minimal() {
  return {{"model", "m"}, {"data", "d.jsonl"}, {"output", "o"}, {"steps", 10}};
}

TEST(TrainConfig, RoundTripsThroughJson) {
  TrainConfig config = parse_train_config(minimal());
  config.loss_weights = {0.25, 0.75};
  config.freeze = {"visual.*"};
  config.seed = ~uint64_t{0};
  EXPECT_EQ(to_json(parse_train_config(to_json(config))), to_json(config));
}

TEST(TrainConfig, KnowsThePresets) {
  json value = minimal();
  EXPECT_EQ(parse_train_config(value).loss_weights.clean, 0.5);
  value["loss_weights"] = "code";
  EXPECT_EQ(parse_train_config(value).loss_weights.clean, 1.0);
  EXPECT_EQ(parse_train_config(value).loss_weights.noisy, 0.5);
}

TEST(TrainConfig, WrongValuesAreRefusedByName) {
  const std::pair<const char*, json> wrong[] = {
      {"batch_size", 0},
      {"batch_size", "4"},
      {"batch_size", 1.5},
      {"batch_size", 1e30},
      {"accumulation", -1},
      {"max_length", 2},
      {"steps", -5},
      {"steps", kMaxSteps + 1},
      {"stage", "distill"},
      {"schedule", "linear"},
      {"warmup_ratio", 1},
      {"learning_rate", 0},
      {"weight_decay", 1e308},
      {"eps", 1e308},
      {"region_weight", 1e308},
      {"loss_weights", {1e308, 1}},
      {"threads", 4096},
      {"beta2", 1.0},
      {"eps", 0},
      {"device", "gpu"},
      {"device", "cuda:"},
      {"device", 0},
      {"ddp_backend", "mpi"},
      {"ddp_backend", "nccl"},  // on the CPU
      {"bf16", 1},
      {"block_size", 24},
      {"block_size", 1},
      {"annealing", "fast"},
      {"clean_attention", "full"},
      {"clean_attention", true},
      {"auto_truncation", "no"},
      {"auto_truncation", 0},
      {"loss_weights", "mine"},
      {"loss_weights", {1}},
      {"loss_weights", {0, 0}},
      {"normalization", 1},
      {"minimum_noise_level", 1},
      {"save_dtype", "fp8"},
      {"data", json::array()},
      {"data", {1}},
      {"model", ""},
      {"output", nullptr},
      {"seed", -1},
      {"threads", -1},
      {"freeze", true},
      {"checkpoint_minutes", 0},
      {"log_interval", 0},
      {"ema_decay", 1},
      {"clip_norm", -1},
      {"full_mask_probability", 2},
  };
  for (const auto& [key, value] : wrong) {
    json config = minimal();
    config[key] = value;
    EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }), HasSubstr(std::string("'") + key + "'"))
        << value.dump();
  }
}

TEST(TrainConfig, SetsForValidationHaveNoWeights) {
  json config = minimal();
  config["validation"] = {{{"path", "held-out.jsonl"}, {"weight", 2}}};
  EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }), HasSubstr("'validation.weight'"));
  config["validation"][0].erase("weight");
  EXPECT_EQ(parse_train_config(config).validation.size(), 1u);
}

TEST(TrainConfig, AblationsThatContradictOtherKeysAreRefusedByName) {
  const std::tuple<const char*, const char*, json> wrong[] = {
      {"clean_attention", "stage", "ar"},
      {"save_format", "save_format", "qwen2_5_vl"},
      {"auto_truncation", "auto_truncation", false},
  };
  for (const auto& [named, key, value] : wrong) {
    json config = minimal();
    config["stage"] = "convert", config["clean_attention"] = "block";
    EXPECT_NO_THROW(parse_train_config(config));
    config[key] = value;
    EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }),
                HasSubstr(std::string("'") + named + "'"));
  }
  const std::tuple<const char*, const char*, json> untruncated[] = {
      {"auto_truncation", "stage", "ar"},
      {"noisy_prompts", "noisy_prompts", false},
      {"random_block_offset", "random_block_offset", true},
  };
  for (const auto& [named, key, value] : untruncated) {
    json config = minimal();
    config["stage"] = "convert", config["auto_truncation"] = false;
    EXPECT_NO_THROW(parse_train_config(config));
    config[key] = value;
    EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }),
                HasSubstr(std::string("'") + named + "'"));
  }
}

TEST(TrainConfig, UnknownKeysAreRefusedByName) {
  json config = minimal();
  config["learning_rat"] = 1;
  EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }), HasSubstr("learning_rat"));
}

TEST(TrainConfig, ARunNeedsAnEnd) {
  json config = minimal();
  config["steps"] = 0;
  EXPECT_THAT(toy::error_of([&] { parse_train_config(config); }), HasSubstr("max_minutes"));
}

TEST(TrainConfig, OverridesWinOverTheFile) {
  const toy::Folder folder;
  toy::write_text(folder / "c.json", minimal().dump());
  const TrainConfig config =
      read_train_config(folder / "c.json", {"batch_size=3", "output=a=b", "bf16=false"});
  EXPECT_EQ(config.batch_size, 3);
  EXPECT_EQ(config.output, "a=b");
  EXPECT_FALSE(config.bf16);
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "c.json", {"batch_size"}); }),
              HasSubstr("key=value"));
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "c.json", {"nope=1"}); }), HasSubstr("nope"));
  const auto error = [&](const std::string& value) {
    return toy::error_of([&] { read_train_config(folder / "c.json", {"data=" + value}); });
  };
  EXPECT_THAT(error(R"({"path": "a", "path": "b"})"), HasSubstr("--set data has the key \"path\" twice"));
  EXPECT_THAT(error(std::string(100'000, '[') + std::string(100'000, ']')), HasSubstr("64 levels"));
}

TEST(TrainConfig, BrokenFilesAreNamed) {
  const toy::Folder folder;
  toy::write_text(folder / "c.json", "{\"model\": ");
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "c.json"); }), HasSubstr("c.json"));
  toy::write_text(folder / "c.json", "[1]");
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "c.json"); }), HasSubstr("object"));
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "missing.json"); }), HasSubstr("missing.json"));
  json config = minimal();
  config["device"] = "tpu";
  toy::write_text(folder / "c.json", config.dump());
  EXPECT_THAT(toy::error_of([&] { read_train_config(folder / "c.json"); }),
              AllOf(HasSubstr("c.json"), HasSubstr("'device'"), HasSubstr("tpu")));
}

TEST(TrainConfig, SourcesSayWhereTheirPicturesAreAndHowMuchTheyCount) {
  json config = minimal();
  config["data"] = json::parse(
      R"(["a.jsonl", {"path": "b.json", "image_root": "/p", "weight": 0.5, "limit": 9, "box_format": "norm1"}])");
  const TrainConfig read = parse_train_config(config);
  ASSERT_EQ(read.data.size(), 2u);
  EXPECT_EQ(read.data[0], DataSource{"a.jsonl"});
  EXPECT_EQ(read.data[1], (DataSource{"b.json", "/p", 0.5, 9, "norm1"}));
  EXPECT_EQ(to_json(read)["data"], config["data"]);
  const auto error = [&](const char* data) {
    json wrong = minimal();
    wrong["data"] = json::parse(data);
    return toy::error_of([&] { parse_train_config(wrong); });
  };
  EXPECT_THAT(error(R"({"path": "a", "root": "/p"})"), HasSubstr("unknown key 'data.root'"));
  EXPECT_THAT(error(R"({"weight": 2})"), HasSubstr("'data.path'"));
  EXPECT_THAT(error(R"({"path": "a", "weight": 0})"), HasSubstr("'data.weight'"));
  EXPECT_THAT(error(R"({"path": "a", "limit": -1})"), HasSubstr("'data.limit'"));
  EXPECT_THAT(error(R"({"path": "a", "box_format": "voc"})"), HasSubstr("'data.box_format'"));
  EXPECT_THAT(error("[3]"), HasSubstr("'data'"));
  EXPECT_THAT(error("[]"), HasSubstr("'data'"));
}

TEST(TrainConfig, ExamplesAreValid) {
  int examples = 0;
  for (const char* folder : {"", "tiny", "3b"})
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(DVLM_FIXTURES) /
                                                                 "../../examples" / folder))
      if (entry.path().extension() == ".json") {
        ++examples;
        EXPECT_NO_THROW(read_train_config(entry.path())) << entry.path();
      }
  EXPECT_EQ(examples, 6);
}

// However many processes there are.
TEST(TrainConfig, AStepOfAnExampleHasTheSamplesThatItSays) {
  const std::filesystem::path examples = std::filesystem::path(DVLM_FIXTURES) / "../../examples";
  for (const auto& [name, samples] :
       {std::pair("3b/convert.json", 256), std::pair("lora.json", 16), std::pair("draft-lora.json", 16)}) {
    const TrainConfig config = read_train_config(examples / name);
    for (const int processes : {1, 8})
      EXPECT_EQ(passes_of(config, processes) * config.batch_size, samples) << name;
  }
}

}  // namespace
}  // namespace dvlm
