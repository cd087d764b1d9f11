// Layers in four bits as AutoAWQ, AutoGPTQ and compressed-tensors read them
// (tools/fixtures/make_grouped_fixtures.py), and files that lie about them.
#include "checkpoint/grouped.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "message_of.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct PackedLayer {
  const char* name;
  const char* quantization;
  int64_t outputs, inputs;
};

constexpr PackedLayer kPackedLayers[] = {
    {"awq", R"({"quant_method":"awq","bits":4,"group_size":64,"version":"gemm","zero_point":true})", 24, 128},
    {"gptq", R"({"quant_method":"gptq","bits":4,"group_size":64,"desc_act":false})", 24, 96},
    {"gptq-order",
     R"({"quant_method":"gptq","bits":4,"group_size":32,"desc_act":true,"checkpoint_format":"gptq"})", 16,
     128},
    {"compressed",
     R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":
      {"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32,"symmetric":true}}}})",
     10, 64},
    {"compressed-zero",
     R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":
      {"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32,"symmetric":false}}}})",
     12, 64},
    {"compressed-order",
     R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":
      {"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32,"actorder":"group"}}}})",
     8, 64},
    {"compressed-channel",
     R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":
      {"weights":{"num_bits":4,"type":"int","strategy":"channel"}}}})",
     8, 44},
    {"fp8-blocks", R"({"quant_method":"fp8","activation_scheme":"dynamic","weight_block_size":[8,32]})", 24,
     64},
};

Safetensors file_of(const PackedLayer& fixture) {
  return Safetensors(fmt::format("{}/grouped/{}.safetensors", DVLM_FIXTURES, fixture.name));
}
GroupedFormat format_of(const PackedLayer& fixture) {
  return grouped_format(json::parse(fixture.quantization), "config.json").value();
}
std::string name_of_case(const testing::TestParamInfo<PackedLayer>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Grouped : public testing::TestWithParam<PackedLayer> {};

TEST_P(Grouped, weights_are_those_of_the_tools_own_reader) {
  const PackedLayer& fixture = GetParam();
  const Safetensors file = file_of(fixture);
  const GroupedWeight weight(file.tensors(), "layer", format_of(fixture), fixture.outputs, fixture.inputs,
                             "here");
  const TensorView& expected = file.tensors().at("expected");
  ASSERT_EQ(expected.shape, (std::vector{fixture.outputs, fixture.inputs}));
  std::vector<float> values(static_cast<size_t>(expected.elements()));
  weight.dequantize(0, 8, values.data());
  weight.dequantize(8, fixture.outputs - 8, values.data() + 8 * fixture.inputs);
  for (size_t i = 0; i < values.size(); ++i) {
    float read;
    copy_to_float(expected, static_cast<int64_t>(i), 1, &read);
    // The reader rounds products to the type of its scales; ours are exact.
    const float rounded = expected.type == DType::f32    ? values[i]
                          : expected.type == DType::bf16 ? round_to_bf16(values[i])
                                                         : to_float(to_f16(values[i]));
    ASSERT_EQ(rounded, read) << i;
  }
}

TEST_P(Grouped, what_the_file_lacks_or_shapes_otherwise_is_named) {
  const PackedLayer& fixture = GetParam();
  const Safetensors file = file_of(fixture);
  const GroupedFormat format = format_of(fixture);
  const auto message = [&](const std::map<std::string, TensorView>& tensors) {
    return message_of(
        [&] { GroupedWeight(tensors, "layer", format, fixture.outputs, fixture.inputs, "the folder"); });
  };
  for (const auto& [name, tensor] : file.tensors()) {
    if (name == "expected") continue;
    std::map<std::string, TensorView> tensors = file.tensors();
    tensors[name].shape.back() += 1;
    EXPECT_THAT(message(tensors), HasSubstr("the folder: tensor " + name));
    tensors[name] = tensor;
    tensors[name].type = DType::u8;
    EXPECT_THAT(message(tensors), HasSubstr("the folder: tensor " + name));
    tensors.erase(name);
    const bool optional = (name.ends_with("g_idx") && !format.scattered) || name.ends_with("weight_shape");
    EXPECT_THAT(message(tensors), HasSubstr(optional ? "no error" : name + " is missing"));
  }
}

TEST_P(Grouped, codes_in_the_groups_of_another_reader_say_the_same) {
  const PackedLayer& fixture = GetParam();
  const Safetensors file = file_of(fixture);
  const GroupedFormat format = format_of(fixture);
  const GroupedWeight weight(file.tensors(), "layer", format, fixture.outputs, fixture.inputs, "here");
  if (!weight.is_four_bits()) return;
  constexpr int64_t kGroup = 16;
  EXPECT_EQ(!weight.input_order().empty(), std::string_view(fixture.name).ends_with("-order"));
  EXPECT_EQ(weight.problem_of_groups(64).empty(), format.group_size != 32);
  ASSERT_EQ(weight.problem_of_groups(kGroup), "");
  const int64_t groups = (fixture.inputs + kGroup - 1) / kGroup;
  std::vector<float> expected(static_cast<size_t>(fixture.outputs * fixture.inputs));
  std::vector<uint8_t> codes(expected.size()), zeros(static_cast<size_t>(fixture.outputs * groups));
  std::vector<float> scales(zeros.size());
  weight.dequantize(0, fixture.outputs, expected.data());
  weight.read_codes(0, fixture.outputs, kGroup, codes.data(), scales.data(), zeros.data());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto inputs = static_cast<size_t>(fixture.inputs);
    const size_t output = i / inputs, place = i % inputs,
                 at = output * static_cast<size_t>(groups) + place / kGroup;
    const auto input =
        weight.input_order().empty() ? place : static_cast<size_t>(weight.input_order()[place]);
    ASSERT_EQ(static_cast<float>(codes[i] - zeros[at]) * scales[at], expected[output * inputs + input]) << i;
  }
}

// GPTQModel takes 0x11111111 from a word of eight zero points (convert_gptq_v2_to_v1_format), whatever they
// are.
TEST(GroupedFiles, gptq_takes_one_from_all_zero_points_of_a_word_at_once) {
  const PackedLayer& fixture = kPackedLayers[1];
  const Safetensors file = file_of(fixture);
  const std::vector<uint32_t> said = {0x00000000u, 0x80F01234u, 0xF0F0F0F0u,
                                      0x10000001u, 0xFFFFFFFFu, 0x0000000Fu};
  const auto weights = [&](const char* format, uint32_t less) {
    std::vector<uint32_t> words = said;
    for (uint32_t& word : words) word -= less;
    std::map<std::string, TensorView> tensors = file.tensors();
    tensors["layer.qzeros"] = {DType::i32, {2, 3}, reinterpret_cast<const std::byte*>(words.data())};
    const auto description =
        json{{"quant_method", "gptq"}, {"group_size", 64}, {"checkpoint_format", format}};
    const GroupedWeight weight(tensors, "layer", *grouped_format(description, "config.json"), 24, 96, "here");
    std::vector<float> values(24 * 96);
    weight.dequantize(0, 24, values.data());
    return values;
  };
  EXPECT_EQ(weights("gptq", 0x11111111u), weights("gptq_v2", 0));
}

TEST(GroupedFiles, scattered_groups_need_their_order) {
  const PackedLayer& fixture = kPackedLayers[2];
  const Safetensors file = file_of(fixture);
  std::map<std::string, TensorView> tensors = file.tensors();
  tensors.erase("layer.g_idx");
  EXPECT_THAT(message_of([&] { GroupedWeight(tensors, "layer", format_of(fixture), 16, 128, "here"); }),
              HasSubstr("layer.g_idx is missing, though groups are scattered"));
}

TEST(GroupedFiles, codes_are_not_kept_beside_scales_of_more_than_sixteen_bits) {
  const PackedLayer& fixture = kPackedLayers[3];
  const Safetensors file = file_of(fixture);
  std::map<std::string, TensorView> tensors = file.tensors();
  const std::vector<float> scales(10 * 2, 0.1f);
  tensors["layer.weight_scale"] = {DType::f32, {10, 2}, reinterpret_cast<const std::byte*>(scales.data())};
  const GroupedWeight weight(tensors, "layer", format_of(fixture), 10, 64, "here");
  EXPECT_EQ(weight.problem_of_groups(32), "its scales are F32");
}

INSTANTIATE_TEST_SUITE_P(Tools, Grouped, testing::ValuesIn(kPackedLayers), name_of_case);

TEST(GroupedFiles, groups_that_are_not_there_are_refused) {
  const PackedLayer& fixture = kPackedLayers[2];
  const Safetensors file = file_of(fixture);
  for (const int32_t group : {-1, 4, 1 << 30}) {
    std::vector<int32_t> groups(128, 0);
    groups[77] = group;
    std::map<std::string, TensorView> tensors = file.tensors();
    tensors["layer.g_idx"].data = reinterpret_cast<const std::byte*>(groups.data());
    EXPECT_THAT(message_of([&] { GroupedWeight(tensors, "layer", format_of(fixture), 16, 128, "here"); }),
                HasSubstr(fmt::format("input 77 is in group {} of 4", group)));
  }
}

TEST(GroupedFiles, zero_points_that_the_configuration_denies_are_refused) {
  const Safetensors file = file_of(kPackedLayers[4]);
  EXPECT_THAT(message_of([&] {
                GroupedWeight(file.tensors(), "layer", format_of(kPackedLayers[3]), 12, 64, "here");
              }),
              HasSubstr("layer.weight_zero_point is there"));
}

TEST(GroupedFiles, the_format_of_gptq_has_two_names) {
  const auto less_one = [](const char* text) {
    return grouped_format(json::parse(text), "config.json")->less_one;
  };
  EXPECT_TRUE(less_one(R"({"quant_method":"gptq"})"));
  EXPECT_FALSE(less_one(R"({"quant_method":"gptq","format":"gptq_v2"})")) << "of transformers 5";
  EXPECT_FALSE(less_one(R"({"quant_method":"gptq","checkpoint_format":"gptq_v2"})"));
}

TEST(GroupedFiles, other_variants_are_refused_by_name) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"quant_method":"awq","bits":8})", "8 bits"},
      {R"({"quant_method":"awq","version":"gemv"})", "gemv"},
      {R"({"quant_method":"awq","group_size":0})", "group_size"},
      {R"({"quant_method":"gptq","bits":3})", "3 bits"},
      {R"({"quant_method":"awq","format":"gemv"})", "gemv"},
      {R"({"quant_method":"gptq","checkpoint_format":"marlin"})", "marlin"},
      {R"({"quant_method":"gptq","format":"marlin"})", "marlin"},
      {R"({"quant_method":"gptq","dynamic":{"-:visual":{}}})", "dynamic"},
      {R"({"quant_method":"fp8","weight_block_size":[128]})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":[128,128],"activation_scheme":"static"})", "static"},
      {R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{}})", "no group"},
      {R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":
        {"num_bits":8}}}})",
       "8 bits"},
      {R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":
        {"num_bits":4,"type":"float"}}}})",
       "float"},
      {R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":
        {"num_bits":4},"input_activations":{"num_bits":8}}}})",
       "activations"},
      {R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":
        {"num_bits":4,"group_size":64}},"b":{"weights":{"num_bits":4,"group_size":32}}}})",
       "different ways"},
  };
  for (const auto& [quantization, word] : cases)
    EXPECT_THAT(message_of([text = quantization] { grouped_format(json::parse(text), "config.json"); }),
                HasSubstr(word))
        << quantization;
}

}  // namespace
}  // namespace dvlm
