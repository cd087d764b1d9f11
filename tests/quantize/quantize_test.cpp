#include "quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "data/media.h"
#include "image/image.h"
#include "kernels/quantize_rows.h"
#include "kernels/random_values.h"
#include "message_of.h"
#include "quantize/divergence.h"
#include "random_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

const fs::path kPicture = fs::path(DVLM_MODELS) / ".." / "examples" / "desk.png";

// Lines of text and one conversation with a picture.
fs::path write_samples(const fs::path& folder) {
  std::ofstream file(folder / "samples.jsonl");
  for (int i = 0; i < 6; ++i)
    file << R"({"text": "Where is the hammer? It is at the top left. )" << i << "\"}\n";
  file << R"({"messages": [{"role": "user", "content": [{"type": "image", "image": ")"
       << fs::canonical(kPicture).string()
       << R"("}, {"type": "text", "text": "Where?"}]}, {"role": "assistant", "content": "on the left"}]})"
       << "\n";
  return folder / "samples.jsonl";
}

constexpr float kOutlier = 1e6f;

// A random checkpoint whose first norm blows one input up, for weights that bring it down again, and what its
// layers see.
struct Source {
  RandomFolder model;
  TemporaryFolder samples;
  CalibrationOptions calibration;
  CalibrationInputs inputs;
  ThreadPool pool{2};

  Source() {
    scale("input_layernorm.weight", 64, kOutlier);
    for (const char* name : {"q_proj", "k_proj", "v_proj"})
      scale(std::string("self_attn.") + name + ".weight", 64, 1 / kOutlier);
    calibration = {.sources = {write_samples(samples.path())}, .samples = 7, .length = 256};
    inputs = calibrate({.model = model.path(), .load = {.threads = 2}}, calibration);
  }

  // Multiplies every `stride`-th value from the sixth on.
  void scale(const std::string& name, size_t stride, float factor) const {
    const fs::path path = model.path() / "model.safetensors";
    std::string bytes = read_file(path);
    {
      const Safetensors file(path);
      const TensorView& tensor = file.tensors().at("model.language_model.layers.0." + name);
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      copy_to_float(tensor, 0, tensor.elements(), values.data());
      for (size_t i = 5; i < values.size(); i += stride) values[i] *= factor;
      const std::string before(reinterpret_cast<const char*>(tensor.data), tensor.bytes());
      bytes.replace(bytes.find(before), before.size(), reinterpret_cast<const char*>(values.data()),
                    before.size());
    }
    write_file(path, bytes);
  }
};

Source& source() {
  static Source source;
  return source;
}

std::vector<float> logits_of(const fs::path& folder) {
  Engine engine({.model = folder, .load = {.threads = 1}});
  std::vector<float> out;
  for (const CalibrationSample& sample : read_samples(source().calibration)) {
    engine.score(request_of(sample, engine.tokenizer(), 256),
                 [&](size_t, std::span<const float> row) { out.insert(out.end(), row.begin(), row.end()); });
  }
  return out;
}

double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    size += double{expected[i]} * expected[i];
  }
  return std::sqrt(error / size);
}

TEST(LayerGroups, hold_every_linear_layer_once) {
  ModelConfig config = small_config();
  std::multiset<std::string> found, expected;
  for (const LayerGroup& group : layer_groups(config, true))
    for (const std::string& linear : group.linears) found.insert(linear + ".weight");
  for (const auto& [name, shape] : expected_tensors(config))
    if (shape.size() == 2 && name != "model.embed_tokens.weight" && name != "lm_head.weight")
      expected.insert(name);
  EXPECT_EQ(found, expected);
  for (const LayerGroup& group : layer_groups(config, false))
    for (const std::string& linear : group.linears) EXPECT_FALSE(linear.starts_with("visual."));
}

TEST(SmoothingFactors, balance_activations_and_weights) {
  const std::vector<float> a = {16, 1, 0}, w = {4, 0.25f, 1};
  EXPECT_THAT(smoothing_factors(a, w, 0.5),
              testing::Pointwise(testing::FloatNear(1e-6f), {2.0f, 2.0f, 0.0031623f}));
  EXPECT_THAT(smoothing_factors(a, w, 1.0),
              testing::Pointwise(testing::FloatNear(1e-6f), {16.0f, 1.0f, 1e-5f}));
}

TEST(Calibration, sees_every_group_of_both_towers) {
  const ModelConfig config = read_config(source().model.path());
  for (const LayerGroup& group : layer_groups(config, true)) {
    const auto found = source().inputs.find(group.linears[0]);
    ASSERT_NE(found, source().inputs.end()) << group.linears[0];
    EXPECT_GT(found->second.tokens, 0);
    float highest = 0;
    for (float value : found->second.rows) highest = std::max(highest, std::abs(value));
    const auto& all = found->second.highest;
    EXPECT_LE(highest, *std::max_element(all.begin(), all.end()));
    EXPECT_EQ(found->second.rows.size(),
              all.size() * static_cast<size_t>(std::min<int64_t>(kKeptRows, found->second.tokens)));
  }
}

TEST(Calibration, samples_are_drawn_in_a_seeded_order_and_bad_ones_named) {
  const TemporaryFolder folder;
  const fs::path file = write_samples(folder.path());
  CalibrationOptions options{.sources = {file}, .samples = 3};
  const auto text_of = [&] {
    std::string all;
    for (const CalibrationSample& sample : read_samples(options)) all += sample.text + "|";
    return all;
  };
  const std::string first = text_of();
  EXPECT_EQ(text_of(), first);
  options.seed = 7;
  EXPECT_NE(text_of(), first);
  fs::create_directory(folder / "photos");
  fs::copy_file(kPicture, folder / "photos/a.png");
  options.sources = {folder / "photos"};
  EXPECT_EQ(read_samples(options).size(), 1);
  write_file(file, "{\"text\": \"a\"}\n{\"words\": 3}\n");
  options = {.sources = {file}, .samples = 9};
  try {
    read_samples(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("line 2"));
  }
}

TEST(Calibration, texts_with_pictures_beside_them_are_refused) {
  const TemporaryFolder folder;
  const auto problem = [&](const std::string& record) {
    write_file(folder / "texts.jsonl", record + "\n");
    return message_of([&] { read_samples({.sources = {folder / "texts.jsonl"}, .samples = 1}); });
  };
  EXPECT_EQ(problem(R"({"text": "a caption", "url": "https://example.org/File:A.jpg"})"), "no error");
  for (const char* key : {"image", "images", "image_path", "scan"})
    EXPECT_THAT(problem(std::string(R"({"text": "a caption", ")") + key + R"(": "a.png"})"),
                testing::AllOf(testing::HasSubstr("texts.jsonl line 1"), testing::HasSubstr(key)));
}

// Tars are looked through by the data's room, folders by that of the pictures.
TEST(Calibration, takes_the_same_files_for_pictures_in_tars_and_in_folders) {
  int pictures = 0;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(DVLM_FIXTURES) / "image")) {
    if (!entry.is_regular_file()) continue;
    const std::string file = read_file(entry.path());
    const bool expected = is_picture(std::as_bytes(std::span(file)));
    EXPECT_EQ(media_of("a.bin", file) == Media::picture, expected) << entry.path();
    EXPECT_EQ(media_of(entry.path().string(), "") == Media::picture, expected) << entry.path();
    pictures += expected;
  }
  EXPECT_GT(pictures, 50);
}

TEST(Quantize, smoothing_alone_changes_nothing_in_f32) {
  const TemporaryFolder out;
  quantize(Checkpoint(source().model.path()), source().inputs, {.round = false}, out.path(), source().pool);
  const std::vector<float> expected = logits_of(source().model.path()), found = logits_of(out.path());
  EXPECT_LT(relative_error(found, expected), 1e-5);
  EXPECT_NE(found, expected);
}

class QuantizeTo : public testing::TestWithParam<Codes> {
 protected:
  std::vector<LayerReport> quantized(const fs::path& to) {
    return quantize(Checkpoint(source().model.path()), source().inputs, {.codes = GetParam()}, to,
                    source().pool);
  }
  static void expect_codes(const Checkpoint& checkpoint, const LayerReport& layer) {
    if (GetParam() == Codes::int4) {
      const auto weight = checkpoint.grouped(layer.name, layer.outputs, layer.inputs);
      ASSERT_TRUE(weight) << layer.name;
      EXPECT_EQ(weight->problem_of_groups(kInt4Group), "");
      return;
    }
    EXPECT_EQ(checkpoint.tensors().at(layer.name + ".weight").type,
              GetParam() == Codes::fp8 ? DType::f8_e4m3 : DType::i8);
    EXPECT_EQ(checkpoint.scale(layer.name).shape, (std::vector<int64_t>{layer.outputs, 1}));
  }
};

// By which SGLang (w8a8_fp8, w8a8_int8) and transformers and vLLM (compressed-tensors) know what to do.
nlohmann::json expected_description() {
  const auto eight_bits = [](const char* method) {
    return nlohmann::json{
        {"quant_method", method}, {"is_dynamic", false}, {"ignore", nlohmann::json::array()}};
  };
  if (QuantizeTo::GetParam() == Codes::fp8) return eight_bits("w8a8_fp8");
  if (QuantizeTo::GetParam() == Codes::int8) return eight_bits("w8a8_int8");
  return nlohmann::json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
    "quantization_status": "compressed", "ignore": ["lm_head"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
      "strategy": "group", "group_size": 64, "symmetric": true, "dynamic": false}}}})");
}

TEST_P(QuantizeTo, writes_a_sound_checkpoint_that_predicts_nearly_the_same) {
  const TemporaryFolder out;
  const auto report = quantized(out.path());
  const Checkpoint checkpoint(out.path());
  EXPECT_THAT(checkpoint.problems(), testing::IsEmpty());
  EXPECT_THAT(message_of([&] { check_quantizable(checkpoint, true); }),
              testing::HasSubstr("is quantised already"));
  const bool four_bits = GetParam() == Codes::int4;
  for (const LayerReport& layer : report) {
    expect_codes(checkpoint, layer);
    EXPECT_GT(layer.smoothed, 0);
    EXPECT_LT(layer.smoothed, four_bits ? 0.14 : 0.08) << layer.name;
  }
  EXPECT_EQ(read_json(out / "config.json").at("quantization_config"), expected_description());
  EXPECT_LT(relative_error(logits_of(out.path()), logits_of(source().model.path())), four_bits ? 0.4 : 0.15);
  EXPECT_THAT(report_table(report), testing::HasSubstr("| model.layers.1.mlp.down_proj | 64 x 96 |"));
  EXPECT_THAT(report_plot(report, GetParam()), testing::HasSubstr("</svg>"));
}

// One input a million times the others pushes them below what the codes can tell from zero, in every token.
TEST_P(QuantizeTo, smoothing_saves_what_an_outlier_would_drown) {
  const TemporaryFolder out;
  int seen = 0;
  for (const LayerReport& layer : quantized(out.path())) {
    if (!layer.name.starts_with("model.layers.0.self_attn.") || layer.name.ends_with("o_proj")) continue;
    EXPECT_GT(layer.plain, 0.3) << layer.name;
    EXPECT_LT(layer.smoothed, GetParam() == Codes::int4 ? 0.14 : 0.06) << layer.name;
    ++seen;
  }
  EXPECT_EQ(seen, 3);
}

TEST(Quantize, integers_err_at_most_twice_as_much_as_fp8_where_outliers_are) {
  std::vector<LayerReport> reports[2];
  for (const Codes codes : {Codes::fp8, Codes::int8}) {
    const TemporaryFolder out;
    reports[static_cast<size_t>(codes)] = quantize(Checkpoint(source().model.path()), source().inputs,
                                                   {.codes = codes}, out.path(), source().pool);
  }
  for (size_t i = 0; i < reports[0].size(); ++i)
    EXPECT_LT(reports[1][i].smoothed, 2 * reports[0][i].smoothed) << reports[0][i].name;
}

std::string name_of_codes(const testing::TestParamInfo<Codes>& info) {
  constexpr const char* kNames[] = {"fp8", "int8", "int4"};
  return kNames[static_cast<size_t>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Codes, QuantizeTo, testing::Values(Codes::fp8, Codes::int8, Codes::int4),
                         name_of_codes);

// A layer without a norm in front: nothing is smoothed.
TEST(RoundLayer, is_written_as_it_was_measured) {
  const TemporaryFolder out;
  Source& from = source();
  quantize(Checkpoint(from.model.path()), from.inputs, {.codes = Codes::int4, .group = 128}, out.path(),
           from.pool);
  const std::string name = "model.layers.0.self_attn.o_proj";
  const Checkpoint before(from.model.path()), after(out.path());
  const TensorView& weight = before.tensors().at(name + ".weight");
  const int64_t outputs = weight.shape[0], inputs = weight.shape[1];
  std::vector<float> wide(static_cast<size_t>(outputs * inputs)), read(wide.size()),
      row(static_cast<size_t>(inputs));
  copy_to_float(weight, 0, weight.elements(), wide.data());
  const RoundedLayer measured =
      round_layer(wide, from.inputs.at(name).mean_squares(), Codes::int4, 128, from.pool);
  after.grouped(name, outputs, inputs)->dequantize(0, outputs, read.data());
  for (int n = 0; n < outputs; ++n) {
    measured.matrix.unpack_row(n, row.data());
    ASSERT_TRUE(std::equal(row.begin(), row.end(), read.begin() + n * inputs)) << n;
  }
}

double weighted_error(std::span<const float> weights, std::span<const float> importance, float scale,
                      std::span<const uint8_t> codes) {
  double error = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const float found = static_cast<float>(codes[k] - 8) * scale;
    error += double{importance[k]} * (weights[k] - found) * (weights[k] - found);
  }
  return error;
}

TEST(SearchInt4, errs_less_than_rounding_without_calibration) {
  double searched = 0, rounded = 0;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const std::vector<float> weights = random_values(64, seed);
    std::vector<float> importance = random_values(64, seed + 1000);
    for (float& value : importance) value *= value;
    const float whole = round_to_bf16(int4_scale(weights));
    uint8_t plain[64], codes[64];
    quantize_int4(weights, whole, plain);
    const float found = to_float(search_int4(weights, importance, codes));
    searched += weighted_error(weights, importance, found, codes);
    rounded += weighted_error(weights, importance, whole, plain);
    EXPECT_LE(*std::max_element(codes, codes + 64), 15);
  }
  EXPECT_LT(searched, 0.8 * rounded);
}

// An input that counts for nothing may be clamped for the sake of the others.
TEST(SearchInt4, follows_the_importance) {
  std::vector<float> weights = random_values(64, 5), even(64, 1.0f), without = even;
  weights[3] = 1.4f * *std::max_element(weights.begin(), weights.end());
  without[3] = 0;
  const auto searched = [&](const std::vector<float>& importance) {
    uint8_t codes[64];
    const float scale = to_float(search_int4(weights, importance, codes));
    return weighted_error(weights, without, scale, codes);
  };
  const double for_all = searched(even);
  const double for_others = searched(without);
  EXPECT_LT(for_others, 0.95 * for_all);
}

TEST(SearchInt4, takes_zeros_and_numbers_at_the_ends_of_floats) {
  uint8_t codes[4];
  const std::vector<float> even(4, 1.0f);
  for (const std::vector<float>& weights :
       {std::vector<float>(4, 0.0f), {0, 1e-45f, 0, 0}, {3e38f, -3e38f, 0, 1}, {1e-38f, -1e-38f, 0, 0}}) {
    EXPECT_TRUE(std::isfinite(to_float(search_int4(weights, even, codes))));
    for (const uint8_t code : codes) EXPECT_LE(code, 15);
  }
}

TEST(Quantize, can_leave_the_vision_tower_alone) {
  const TemporaryFolder out;
  quantize(Checkpoint(source().model.path()), source().inputs, {.vision = false}, out.path(), source().pool);
  const Checkpoint before(source().model.path()), after(out.path());
  EXPECT_THAT(after.problems(), testing::IsEmpty());
  for (const auto& [name, tensor] : before.tensors()) {
    if (!name.starts_with("visual.")) continue;
    const TensorView& kept = after.tensors().at(name);
    EXPECT_EQ(kept.type, tensor.type);
    EXPECT_EQ(std::memcmp(kept.data, tensor.data, tensor.bytes()), 0) << name;
  }
  EXPECT_EQ(read_json(out / "config.json").at("quantization_config").at("ignore"),
            nlohmann::json::array({"re:visual.*"}));
}

TEST(Quantize, refuses_what_it_cannot_do) {
  const TemporaryFolder out, other;
  const Checkpoint checkpoint(source().model.path());
  CalibrationInputs text_only;
  for (const auto& [name, inputs] : source().inputs)
    if (name.starts_with("model.")) text_only[name] = inputs;
  EXPECT_THROW(quantize(checkpoint, text_only, {}, out.path(), source().pool), Error);
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
  quantize(checkpoint, source().inputs, {}, out.path(), source().pool);
  EXPECT_THROW(quantize(checkpoint, source().inputs, {}, out.path(), source().pool), Error);
  EXPECT_THROW(quantize(Checkpoint(out.path()), source().inputs, {}, other.path(), source().pool), Error);
}

TEST(Divergence, is_zero_between_a_model_and_itself_and_small_after_quantizing) {
  const TemporaryFolder out;
  quantize(Checkpoint(source().model.path()), source().inputs, {}, out.path(), source().pool);
  Engine original({.model = source().model.path(), .load = {.threads = 1}}),
      same({.model = source().model.path(), .load = {.threads = 1}}),
      quantized({.model = out.path(), .load = {.threads = 1}});
  const auto samples = read_samples(source().calibration);
  const Divergence none = compare(original, same, samples, 256),
                   some = compare(original, quantized, samples, 256);
  EXPECT_EQ(none.mean_kl, 0);
  EXPECT_EQ(none.same_top, 1);
  EXPECT_EQ(none.original_perplexity, none.quantized_perplexity);
  EXPECT_GT(some.mean_kl, 0);
  EXPECT_LT(some.mean_kl, 0.1);
  EXPECT_GE(some.p99_kl, some.median_kl);
  EXPECT_GT(some.same_top, 0.7);
  EXPECT_EQ(some.tokens, none.tokens);
}

}  // namespace
}  // namespace dvlm
