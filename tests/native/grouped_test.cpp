// A model whose text layers are packed in four bits answers as the one that holds what they say as floats.
#include "checkpoint/grouped.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <cmath>
#include <cstring>
#include <list>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/files.h"
#include "message_of.h"
#include "native/native.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

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
  void write(const fs::path& folder) const {
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : views_) named.push_back({name, tensor});
    write_safetensors(folder / "model.safetensors", named);
  }

 private:
  std::map<std::string, TensorView> views_;
  std::list<std::vector<std::byte>> memory_;
};

class GroupedModel : public testing::Test {
 protected:
  enum class Zeros { random, eight };
  explicit GroupedModel(int64_t group = 20, Zeros zeros = Zeros::random) : group_(group), zeros_(zeros) {
    ModelConfig config = small_config();
    config.text.intermediate_size = 72;  // AWQ packs outputs in eights
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
      const GroupedFormat format{.tool = GroupedFormat::Tool::awq, .group_size = group_};
      GroupedWeight(packed.views(), linear, format, shape[0], shape[1], "")
          .dequantize(0, shape[0], values.data());
      packed.views().erase(name);
      wide.add(name, DType::f32, shape, values);
    }
    write_config(packed_.path(), config);
    nlohmann::json file = read_json(packed_ / "config.json");
    file["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", group_}};
    write_file(packed_ / "config.json", file.dump());
    packed.write(packed_.path());
    wide.write(wide_.path());
  }

  void add_random(const std::string& linear, int64_t outputs, int64_t inputs, Random& random,
                  Tensors& to) const {
    const int64_t groups = (inputs + group_ - 1) / group_;
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
      for (int64_t k = 0; k < inputs; k += group_)
        std::fill_n(codes.begin() + k * outputs / 8, outputs / 8, 0u);
    }
    to.add(linear + ".qweight", DType::i32, {inputs, outputs / 8}, codes);
    to.add(linear + ".qzeros", DType::i32, {groups, outputs / 8}, zeros);
    to.add(linear + ".scales", DType::f16, {groups, outputs}, scales);
  }

  static std::vector<float> logits(const fs::path& folder, Precision precision, const fs::path& file = {}) {
    const auto model =
        load_native(Checkpoint(folder), {.precision = precision, .threads = 2, .packed_file = file});
    const auto sequence = model->new_sequence(20);
    const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
    const std::vector<Position> positions = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4}};
    const std::vector<Wanted> rows = {{.row = 0, .choice = Choice::logits},
                                      {.row = 4, .choice = Choice::logits}};
    const Segment segment{
        .sequence = sequence.get(), .tokens = tokens, .positions = positions, .features = {}, .wanted = rows};
    return logits_of(model->forward({&segment, 1}));
  }

  int64_t group_;
  Zeros zeros_;
  TemporaryFolder wide_, packed_;
};

TEST_F(GroupedModel, answers_as_its_weights_say_in_every_precision) {
  EXPECT_THAT(Checkpoint(packed_.path()).problems(), testing::IsEmpty());
  std::vector<std::vector<float>> seen;
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8, Precision::int4}) {
    seen.push_back(logits(packed_.path(), precision));
    EXPECT_EQ(seen.back(), logits(wide_.path(), precision));
  }
  EXPECT_NE(seen[0], seen[3]);
}

class KeptCodes : public GroupedModel {
 protected:
  KeptCodes() : GroupedModel(64, Zeros::eight) {}
};
class KeptZeroPoints : public GroupedModel {
 protected:
  KeptZeroPoints() : GroupedModel(128) {}
};

TEST_F(KeptCodes, are_those_that_rounding_finds_again) {
  const std::vector<float> kept = logits(packed_.path(), Precision::int4);
  EXPECT_EQ(kept, logits(wide_.path(), Precision::int4));
  EXPECT_NE(kept, logits(packed_.path(), Precision::bf16));
}

// Inputs of eight bits are all that differs from the numbers that the file says.
TEST_F(KeptZeroPoints, are_multiplied_as_they_are) {
  const std::vector<float> exact = logits(packed_.path(), Precision::f32);
  const std::vector<float> kept = logits(packed_.path(), Precision::automatic);
  double error = 0, all = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double{kept[i]} - exact[i], 2);
    all += std::pow(double{exact[i]}, 2);
  }
  EXPECT_LT(error, 0.002 * all);
  EXPECT_GT(error, 0);
}

TEST_F(KeptZeroPoints, take_the_memory_of_four_bits) {
  const auto bytes = [&](Precision precision) {
    return load_native(Checkpoint(packed_.path()), {.precision = precision})->weight_memory().weights;
  };
  EXPECT_LT(bytes(Precision::automatic), bytes(Precision::f32));
  EXPECT_LT(bytes(Precision::int4), bytes(Precision::automatic));
  EXPECT_EQ(
      load_native(Checkpoint(packed_.path()), {.draft = DraftPrecision::automatic})->weight_memory().draft,
      DraftPrecision::same);
}

TEST_F(KeptZeroPoints, come_back_from_a_packed_file) {
  const fs::path file = packed_ / "weights.packed";
  const std::vector<float> first = logits(packed_.path(), Precision::automatic, file);
  ASSERT_TRUE(fs::exists(file));
  EXPECT_EQ(logits(packed_.path(), Precision::automatic, file), first);
  EXPECT_NE(logits(packed_.path(), Precision::f32, file), first);  // of another identity
}

TEST_F(KeptZeroPoints, beside_numbers_of_one_input_are_refused_but_not_as_numbers) {
  Tensors tensors;
  const Checkpoint checkpoint(packed_.path());
  tensors.views() = checkpoint.tensors();
  const std::string layer = "model.layers.1.mlp.up_proj";
  for (const char* ending : {".qweight", ".qzeros", ".scales"}) tensors.views().erase(layer + ending);
  tensors.add(layer + ".weight", DType::f32, {72, 40}, std::vector<float>(72 * 40, 0.01f));
  tensors.write(packed_.path());
  EXPECT_THAT(message_of([&] { logits(packed_.path(), Precision::automatic); }),
              HasSubstr("model.layers.1.mlp.gate_proj"));
  EXPECT_EQ(message_of([&] { logits(packed_.path(), Precision::bf16); }), "no error");
}

TEST_F(GroupedModel, is_refused_by_name_where_floats_are_wanted) {
  const Checkpoint checkpoint(packed_.path());
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  EXPECT_THAT(message_of([&] {
                checkpoint.get(name, {40, 72});
              }),
              HasSubstr(name + " is packed in four bits"));
}

TEST_F(GroupedModel, a_bias_that_is_missing_is_named) {
  Tensors tensors;
  const Checkpoint checkpoint(packed_.path());
  tensors.views() = checkpoint.tensors();
  tensors.views().erase("model.layers.0.self_attn.q_proj.bias");
  tensors.write(packed_.path());
  EXPECT_THAT(Checkpoint(packed_.path()).problems(),
              testing::ElementsAre(HasSubstr("model.layers.0.self_attn.q_proj.bias")));
}

TEST_F(GroupedModel, tensors_of_layers_that_nothing_has_are_named) {
  Tensors tensors;
  const Checkpoint checkpoint(packed_.path());
  tensors.views() = checkpoint.tensors();
  Random random(6);
  add_random("model.layers.0.mlp.other_proj", 8, 20, random, tensors);
  tensors.write(packed_.path());
  EXPECT_THAT(Checkpoint(packed_.path()).problems(),
              testing::Contains(HasSubstr("model.layers.0.mlp.other_proj.qweight")));
}

}  // namespace
}  // namespace dvlm
