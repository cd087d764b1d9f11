// A model whose text layers are packed in four bits answers as the one that holds what they say as floats.
#include "checkpoint/grouped.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <cmath>

#include "grouped_model.h"
#include "message_of.h"
#include "native/native.h"
#include "native/weights.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class GroupedModel : public testing::Test, protected GroupedFolders {
 protected:
  using GroupedFolders::GroupedFolders;

  static std::vector<float> logits(const fs::path& folder, Precision precision, const fs::path& file = {}) {
    return few_logits(
        *load_native(Checkpoint(folder), {.precision = precision, .threads = 2, .packed_file = file}));
  }
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

// Of 16 x 24 in layers of 40, 64 and 72.
class Fp8Blocks : public GroupedModel {
 protected:
  Fp8Blocks() : GroupedModel(24, Zeros::random, GroupedFormat::Tool::fp8_blocks) {}
};

TEST_F(Fp8Blocks, answer_as_their_weights_say) {
  EXPECT_THAT(Checkpoint(packed_.path()).problems(), testing::IsEmpty());
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8, Precision::int4})
    EXPECT_EQ(logits(packed_.path(), precision), logits(wide_.path(), precision));
  const fs::path file = packed_ / "weights.packed";
  const std::vector<float> first = logits(packed_.path(), Precision::automatic, file);
  EXPECT_EQ(logits(packed_.path(), Precision::automatic, file), first) << "from a packed file";
}

TEST_F(GroupedModel, integers_need_no_second_copy_of_themselves_for_drafts) {
  const auto memory = [&](Precision precision, DraftPrecision draft) {
    return load_native(Checkpoint(packed_.path()), {.precision = precision, .draft = draft})->weight_memory();
  };
  for (const auto& [precision, draft] :
       {std::pair(Precision::int8, DraftPrecision::int8), std::pair(Precision::int4, DraftPrecision::int4)}) {
    EXPECT_EQ(memory(precision, draft).draft, DraftPrecision::same);
    EXPECT_EQ(memory(precision, draft).drafts, 0u);
  }
  EXPECT_GT(memory(Precision::int8, DraftPrecision::int4).drafts, 0u);
  EXPECT_GT(memory(Precision::bf16, DraftPrecision::int8).drafts, 0u);
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

std::vector<float> row_of(const PackedMatrix& matrix, int output) {
  std::vector<float> row(static_cast<size_t>(matrix.inputs()));
  matrix.unpack_row(output, row.data());
  return row;
}

class ActOrder : public GroupedModel {
 protected:
  ActOrder() : GroupedModel(64, Zeros::random, GroupedFormat::Tool::gptq) {}
};

TEST_F(ActOrder, keeps_codes_that_say_what_the_weights_say) {
  EXPECT_THAT(Checkpoint(packed_.path()).problems(), testing::IsEmpty());
  EXPECT_EQ(logits(packed_.path(), Precision::f32), logits(wide_.path(), Precision::f32));
  ThreadPool pool(2);
  LoadProgress progress(0);
  const Loading loading{pool, progress};
  const TextWeights kept = load_text(Checkpoint(packed_.path()), {.four_bits = true}, loading),
                    wide = load_text(Checkpoint(wide_.path()), {.linear = WeightFormat::f32_panels}, loading);
  for (size_t i = 0; i < kept.layers.size(); ++i) {
    for (PackedMatrix LayerWeights::*const part :
         {&LayerWeights::qkv, &LayerWeights::output, &LayerWeights::gate_up, &LayerWeights::down}) {
      const PackedMatrix &codes = kept.layers[i].*part, &numbers = wide.layers[i].*part;
      EXPECT_EQ(codes.format(), WeightFormat::int4_panels);
      EXPECT_EQ(codes.input_order().empty(), codes.inputs() <= 64);
      for (int n = 0; n < codes.outputs(); ++n) EXPECT_EQ(row_of(codes, n), row_of(numbers, n)) << n;
    }
  }
}

TEST_F(ActOrder, comes_back_from_a_packed_file) {
  const fs::path file = packed_ / "weights.packed";
  const std::vector<float> first = logits(packed_.path(), Precision::automatic, file);
  ASSERT_TRUE(fs::exists(file));
  EXPECT_EQ(logits(packed_.path(), Precision::automatic, file), first);
  EXPECT_NE(logits(packed_.path(), Precision::f32), first);
}

TEST_F(ActOrder, of_its_own_in_one_of_the_layers_that_share_inputs_becomes_numbers) {
  Tensors tensors;
  const Checkpoint checkpoint(packed_.path());
  tensors.views() = checkpoint.tensors();
  std::vector<int32_t> order = scattered_groups(136);
  std::ranges::reverse(order);
  tensors.add("model.layers.1.self_attn.v_proj.g_idx", DType::i32, {136}, order);
  tensors.write(packed_.path());
  EXPECT_EQ(logits(packed_.path(), Precision::automatic), logits(packed_.path(), Precision::f32));
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

// As where a tool was told to leave out every k_proj.
TEST_F(GroupedModel, codes_beside_numbers_of_the_same_input_are_named) {
  Tensors tensors;
  const Checkpoint checkpoint(wide_.path());
  tensors.views() = checkpoint.tensors();
  const std::string first = "model.layers.1.self_attn.q_proj.weight";
  const std::vector<int64_t> shape = tensors.views().at(first).shape;
  tensors.add(first, DType::i8, shape, std::vector<int8_t>(static_cast<size_t>(shape[0] * shape[1]), 3));
  tensors.add(first + "_scale", DType::f32, {shape[0]},
              std::vector<float>(static_cast<size_t>(shape[0]), 0.01f));
  tensors.write(wide_.path());
  const std::string named = first + " and model.layers.1.self_attn.k_proj.weight share their input";
  EXPECT_THAT(Checkpoint(wide_.path()).problems(), testing::Contains(HasSubstr(named)));
  EXPECT_THAT(message_of([&] { logits(wide_.path(), Precision::bf16); }), HasSubstr(named));
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
  EXPECT_THAT(Checkpoint(packed_.path()).unused(),
              testing::Contains(HasSubstr("model.layers.0.mlp.other_proj.qweight")));
}

}  // namespace
}  // namespace dvlm
