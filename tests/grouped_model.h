// Two folders of one small network whose text layers are random codes: of four bits as AWQ or GPTQ packs
// them, or FP8 in blocks; and as the numbers that they say.
#pragma once
#include <algorithm>
#include <cstring>
#include <list>
#include <nlohmann/json.hpp>

#include "checkpoint/grouped.h"
#include "checkpoint/json.h"
#include "core/files.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {

// Tensors with their memory.
class Tensors {
 public:
  template <class T>
  void add(const std::string& name, DType type, std::vector<int64_t> shape, const std::vector<T>& values) {
    auto& bytes = memory_.emplace_back(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    views_[name] = {type, std::move(shape), bytes.data()};
  }
  std::map<std::string, TensorView>& views() { return views_; }
  void write(const std::filesystem::path& folder) const {
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : views_) named.push_back({name, tensor});
    write_safetensors(folder / "model.safetensors", named);
  }

 private:
  std::map<std::string, TensorView> views_;
  std::list<std::vector<std::byte>> memory_;
};

class GroupedFolders {
 protected:
  enum class Zeros { random, eight };
  explicit GroupedFolders(int64_t group = 20, Zeros zeros = Zeros::random,
                          GroupedFormat::Tool tool = GroupedFormat::Tool::awq)
      : format_{.tool = tool,
                .group_size = group,
                .outputs_in_one = tool == GroupedFormat::Tool::fp8_blocks ? 16 : 1,
                .zero_points = tool != GroupedFormat::Tool::fp8_blocks},
        zeros_(zeros) {
    ModelConfig config = small_config();
    config.text.intermediate_size = 72;  // AWQ packs outputs in eights
    if (is_gptq()) config.text.hidden_size = config.vision.out_hidden_size = 136;  // more than one group
    make_random_model(config, 1, wide_.path());
    const Checkpoint original(wide_.path());
    Tensors packed, wide;
    packed.views() = wide.views() = original.tensors();
    Random random(5);
    for (const auto& [name, shape] : expected_tensors(config)) {
      if (!name.starts_with("model.layers.") || shape.size() != 2) continue;
      const std::string linear = name.substr(0, name.rfind('.'));
      add_random(linear, shape[0], shape[1], random, packed);
      std::vector<float> values(static_cast<size_t>(shape[0] * shape[1]));
      GroupedWeight(packed.views(), linear, format_, shape[0], shape[1], "")
          .dequantize(0, shape[0], values.data());
      if (!is_fp8()) packed.views().erase(name);
      wide.add(name, DType::f32, shape, values);
    }
    write_config(packed_.path(), config);
    nlohmann::json file = read_json(packed_ / "config.json");
    nlohmann::json& quantization = file["quantization_config"];
    quantization = {
        {"quant_method", is_gptq() ? "gptq" : "awq"}, {"bits", 4}, {"group_size", format_.group_size}};
    if (is_gptq()) quantization["checkpoint_format"] = "gptq_v2";
    if (is_fp8())
      quantization = {{"quant_method", "fp8"},
                      {"activation_scheme", "dynamic"},
                      {"weight_block_size", {format_.outputs_in_one, format_.group_size}}};
    write_file(packed_ / "config.json", file.dump());
    packed.write(packed_.path());
    wide.write(wide_.path());
  }

  void add_random(const std::string& linear, int64_t outputs, int64_t inputs, Random& random,
                  Tensors& to) const {
    if (is_fp8()) return add_random_blocks(linear, outputs, inputs, random, to);
    const int64_t group = format_.group_size, groups = (inputs + group - 1) / group;
    const auto words = [&](int64_t count) {
      std::vector<uint32_t> out(static_cast<size_t>(count));
      for (uint32_t& word : out) word = static_cast<uint32_t>(random.below(int64_t{1} << 32));
      return out;
    };
    std::vector<f16> scales;
    for (int64_t i = 0; i < groups * outputs; ++i)
      scales.push_back(to_f16(0.01f + 0.01f * static_cast<float>(i % 7)));
    std::vector<uint32_t> codes = words(inputs * outputs / 8), zeros = words(groups * outputs / 8);
    if (zeros_ == Zeros::eight) {
      std::fill(zeros.begin(), zeros.end(), 0x88888888u);
      // Every group has the code 0: rounding to four bits finds the scale in it again.
      for (int64_t k = 0; k < inputs; k += group)
        std::fill_n(codes.begin() + k * outputs / 8, outputs / 8, 0u);
    }
    if (is_gptq()) {
      to.add(linear + ".qweight", DType::i32, {inputs / 8, outputs}, codes);
      to.add(linear + ".g_idx", DType::i32, {inputs}, scattered_groups(inputs));
    } else {
      to.add(linear + ".qweight", DType::i32, {inputs, outputs / 8}, codes);
    }
    to.add(linear + ".qzeros", DType::i32, {groups, outputs / 8}, zeros);
    to.add(linear + ".scales", DType::f16, {groups, outputs}, scales);
  }

  // The last blocks are cut where the layer ends.
  void add_random_blocks(const std::string& linear, int64_t outputs, int64_t inputs, Random& random,
                         Tensors& to) const {
    const int64_t down = (outputs + format_.outputs_in_one - 1) / format_.outputs_in_one,
                  across = (inputs + format_.group_size - 1) / format_.group_size;
    std::vector<e4m3> codes;
    for (int64_t i = 0; i < outputs * inputs; ++i)
      codes.push_back(to_e4m3(100 * static_cast<float>(random.normal())));
    std::vector<float> scales;
    for (int64_t i = 0; i < down * across; ++i)
      scales.push_back(0.001f + 0.0001f * static_cast<float>(i % 7));
    to.add(linear + ".weight", DType::f8_e4m3, {outputs, inputs}, codes);
    to.add(linear + ".weight_scale_inv", DType::f32, {down, across}, scales);
  }

  bool is_gptq() const { return format_.tool == GroupedFormat::Tool::gptq; }
  bool is_fp8() const { return format_.tool == GroupedFormat::Tool::fp8_blocks; }
  // The same for all layers of as many inputs, as where GPTQ saw the same inputs.
  std::vector<int32_t> scattered_groups(int64_t inputs) const {
    std::vector<int32_t> out;
    for (int64_t k = 0; k < inputs; ++k)
      out.push_back(static_cast<int32_t>(k * 19 % inputs / format_.group_size));
    return out;
  }

  GroupedFormat format_;
  Zeros zeros_;
  TemporaryFolder wide_, packed_;
};

// Of two rows of a prompt of five tokens.
inline std::vector<float> few_logits(Model& model) {
  const auto sequence = model.new_sequence(20);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
  const std::vector<Position> positions = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4}};
  const std::vector<Wanted> rows = {{.row = 0, .choice = Choice::logits},
                                    {.row = 4, .choice = Choice::logits}};
  const Segment segment{
      .sequence = sequence.get(), .tokens = tokens, .positions = positions, .features = {}, .wanted = rows};
  return logits_of(model.forward({&segment, 1}));
}

}  // namespace dvlm
