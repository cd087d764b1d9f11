// Invariant 1 on real networks: speculative decoding writes what autoregressive decoding writes.
#include <gtest/gtest.h>

#include <set>

#include "decode/shared_pass.h"
#include "fake_model.h"
#include "native/native.h"
#include "precision_name.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

constexpr int kModels = 20;
constexpr int kTokens = 32;

// Shapes that differ in everything; every fourth has few ids, so that drafts of a network that has learned
// nothing are right now and then.
ModelConfig config_of(uint64_t seed) {
  ModelConfig config = small_config();
  const int heads[4][2] = {{4, 2}, {4, 1}, {3, 3}, {8, 2}};
  const int sections[3][3] = {{1, 1, 2}, {2, 2, 2}, {2, 3, 3}};
  const auto& section = sections[seed % 3];
  config.text.heads = heads[seed % 4][0];
  config.text.kv_heads = heads[seed % 4][1];
  config.text.mrope_section = {section[0], section[1], section[2]};
  config.text.head_dim = 2 * (section[0] + section[1] + section[2]);
  config.text.hidden_size = config.vision.out_hidden_size = 32 + static_cast<int>(seed * 7 % 33);
  config.text.intermediate_size = 50 + static_cast<int>(seed * 13 % 60);
  config.text.layers = 2 + static_cast<int>(seed % 2);
  config.text.tie_word_embeddings = seed % 5 == 0;  // a tied random head repeats the last token
  const int vocab = seed % 4 == 3 ? 12 : 100 + static_cast<int>(seed * 37 % 200);
  config.text.vocab_size = vocab;
  config.stop_tokens = {vocab - 6};
  config.image_token = vocab - 5;
  config.video_token = vocab - 4;
  config.vision_start_token = vocab - 3;
  config.vision_end_token = vocab - 2;
  return config;  // the mask is vocab - 1
}

// A few random tokens, and for odd seeds a picture between them.
Prompt prompt_of(uint64_t seed, Model& model) {
  const ModelConfig& config = model.config();
  Random random(seed, 5);
  Prompt prompt;
  const auto words = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      prompt.tokens.push_back(static_cast<TokenId>(random.below(config.text.vocab_size - 6)));
  };
  words(1 + random.below(30));
  std::vector<Grid> grids;
  if (seed % 2) {
    Patches patches;
    patches.grid = {1, 4, 6};
    patches.values.resize(static_cast<size_t>(patches.grid.patches()) * config.vision.patch_elements());
    for (float& value : patches.values) value = static_cast<float>(random.normal());
    prompt.tokens.push_back(config.vision_start_token);
    for (int i = 0; i < 6; ++i) prompt.pads.push_back(static_cast<int>(prompt.tokens.size()) + i);
    prompt.tokens.insert(prompt.tokens.end(), 6, config.image_token);
    prompt.tokens.push_back(config.vision_end_token);
    prompt.features = model.encode_image(patches).values;
    grids.push_back(patches.grid);
    words(1 + random.below(9));
  }
  prompt.rope = rope_index(prompt.tokens, grids, {}, config);
  prompt.stop_tokens = config.stop_tokens;
  return prompt;
}

// What every way of speculation must write.
struct Task {
  const Prompt& prompt;
  const DecodeOptions& options;  // of speculation
  const DecodeContext& context;
  const Decoded& expected;
};

// What all comparisons showed: whether they tested something.
struct Shown {
  std::set<int> sizes;
  int compared = 0, accepted = 0, rounds = 0, distinct = 0, fused_accepted = 0, left_out = 0;
};

void compare_blocks(Model& model, const Task& task, Shown& shown) {
  DecodeOptions options = task.options;
  for (const int block : {2, 4, 8, 16, 32, 64}) {
    options.block_size = block;
    const Decoded got = decode(model, task.prompt, options, task.context);
    ASSERT_EQ(got.tokens, task.expected.tokens) << "block " << block;
    ASSERT_EQ(got.finish, task.expected.finish);
    ASSERT_EQ(got.logprobs, task.expected.logprobs) << "probabilities too, to the bit";
    ++shown.compared;
    shown.accepted += got.stats.tokens - 1 - got.stats.rounds;
    shown.rounds += got.stats.rounds;
  }
}

void compare_trimmed(Model& model, const Task& task, double p_min, Shown& shown) {
  DecodeOptions trimmed = task.options;
  trimmed.block_size = 16;
  trimmed.draft_p_min = p_min;
  const Decoded got = decode(model, task.prompt, trimmed, task.context);
  ASSERT_EQ(got.tokens, task.expected.tokens) << "p min";
  ASSERT_EQ(got.logprobs, task.expected.logprobs);
  shown.left_out += 16 * got.stats.rounds - got.stats.verified;
}

void compare_fused(Model& model, const Task& task, int branches, Shown& shown) {
  DecodeOptions fused = task.options;
  fused.kind = DecoderKind::fused;
  fused.branches = branches;
  for (const int block : {8, 16, 32}) {
    fused.block_size = block;
    fused.draft_p_min = block == 16 ? 0.05 : 0;
    const Decoded text = decode(model, task.prompt, fused, task.context);
    ASSERT_EQ(text.tokens, task.expected.tokens) << "fused, block " << block;
    shown.fused_accepted += text.stats.tokens - 1 - text.stats.rounds;
  }
}

// Block sizes that change from round to round, and steps without a draft.
void compare_automatic(Model& model, const Task& task, Shown& shown) {
  DecodeOptions automatic = task.options;
  automatic.kind = DecoderKind::automatic;
  for (const double slope : {0.0, 0.05, 1.0}) {
    const CostCurve curve{{{1, 1.0}, {64, 1 + 63 * slope}}};
    DecodeContext learning = task.context;
    learning.chooser = std::make_shared<BlockChooser>(PassCosts{curve, curve}, automatic.block_size);
    const Decoded text = decode(model, task.prompt, automatic, learning);
    ASSERT_EQ(text.tokens, task.expected.tokens) << "automatic, slope " << slope;
    int chosen = 0;
    for (const auto& [block, count] : text.stats.blocks) chosen += count, shown.sizes.insert(block);
    ASSERT_EQ(chosen, text.stats.rounds);
  }
}

class Lossless : public testing::TestWithParam<Precision> {};

TEST_P(Lossless, SpeculationWritesTheTextOfAutoregressionOnRandomModels) {
  Shown shown;
  for (uint64_t seed = 0; seed < kModels; ++seed) {
    const TemporaryFolder folder;
    const ModelConfig config = config_of(seed);
    make_random_model(config, seed, folder.path(), seed % 2 ? DType::bf16 : DType::f32);
    const Checkpoint checkpoint(folder.path());
    const auto single = load_native(checkpoint, {.precision = GetParam(), .threads = 1});
    const DraftPrecision draft = seed / 2 % 2 ? DraftPrecision::int8 : DraftPrecision::int4;
    const auto pair = load_native(checkpoint, {.precision = GetParam(), .threads = 2, .draft = draft});
    const Prompt prompt = prompt_of(seed, *single);
    const DecodeContext context{.mask_token = config.text.vocab_size - 1,
                                .context_limit = config.text.max_positions};
    for (const SamplingOptions& sampling :
         {SamplingOptions{}, SamplingOptions{1.0, 0, 0.95, seed}, SamplingOptions{3.0, 8, 1.0, seed + 100}}) {
      DecodeOptions options{
          .kind = DecoderKind::autoregressive, .max_tokens = kTokens, .sampling = sampling, .logprobs = 2};
      const Decoded expected = decode(*single, prompt, options, context);
      shown.distinct +=
          static_cast<int>(std::set<TokenId>(expected.tokens.begin(), expected.tokens.end()).size());
      ASSERT_EQ(decode(*pair, prompt, options, context).tokens, expected.tokens)
          << "two threads, model " << seed;
      options.kind = DecoderKind::speculative;
      options.block_size = 64;
      const Task task{prompt, options, context, expected};
      SCOPED_TRACE(testing::Message() << "model " << seed << ", T " << sampling.temperature);
      for (Model* model : {single.get(), pair.get()}) {
        ASSERT_NO_FATAL_FAILURE(compare_blocks(*model, task, shown));
        const double p_min = GetParam() == Precision::f32 ? 0.02 : 0.2;
        ASSERT_NO_FATAL_FAILURE(compare_trimmed(*model, task, p_min, shown));
        ASSERT_NO_FATAL_FAILURE(compare_fused(*model, task, 1 + static_cast<int>(seed % 5), shown));
        ASSERT_NO_FATAL_FAILURE(compare_automatic(*model, task, shown));
      }
    }
  }
  EXPECT_EQ(shown.compared, kModels * 3 * 2 * 6);
  EXPECT_GT(shown.accepted, shown.rounds / 20) << "drafts that are never right would test little";
  EXPECT_GT(shown.fused_accepted, 0);
  EXPECT_GT(shown.left_out, shown.rounds);
  EXPECT_GT(shown.distinct, kModels * 3 * 5) << "and so would texts that repeat themselves";
  EXPECT_GE(shown.sizes.size(), 4) << "block sizes that never change would test little";
  RecordProperty("distinct_tokens", shown.distinct);
  RecordProperty("texts", shown.compared);
  RecordProperty("accepted_drafts", shown.accepted);
  RecordProperty("rounds", shown.rounds);
}

// Penalties know what stands before each row, drafts included.
TEST_P(Lossless, PenaltiesAndBiasesChangeEveryTextAlike) {
  Shown shown;
  int changed = 0, texts = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const TemporaryFolder folder;
    const ModelConfig config = config_of(seed);
    make_random_model(config, seed, folder.path());
    const auto model = load_native(Checkpoint(folder.path()), {.precision = GetParam(), .threads = 1});
    const Prompt prompt = prompt_of(seed, *model);
    const DecodeContext context{.mask_token = config.text.vocab_size - 1,
                                .context_limit = config.text.max_positions};
    SamplingOptions plain{.temperature = seed % 2 ? 1.0 : 0.0, .seed = seed};
    SamplingOptions repetition = plain, others = plain;
    repetition.repetition_penalty = 1.3;
    others.presence_penalty = 0.3, others.frequency_penalty = 0.2;
    others.logit_bias = {{prompt.tokens[0], 1.5F}, {2, -0.5F}, {1, 100.0F * static_cast<float>(seed == 7)}};
    const auto text = [&](const SamplingOptions& sampling) {
      return decode(
          *model, prompt,
          {.kind = DecoderKind::autoregressive, .max_tokens = kTokens, .sampling = sampling, .logprobs = 2},
          context);
    };
    const Decoded unchanged = text(plain);
    for (const SamplingOptions& sampling : {repetition, others}) {
      const Decoded expected = text(sampling);
      changed += expected.tokens != unchanged.tokens, ++texts;
      DecodeOptions options{.kind = DecoderKind::speculative,
                            .block_size = 64,
                            .max_tokens = kTokens,
                            .sampling = sampling,
                            .logprobs = 2};
      const Task task{prompt, options, context, expected};
      SCOPED_TRACE(testing::Message() << "model " << seed);
      ASSERT_NO_FATAL_FAILURE(compare_blocks(*model, task, shown));
      ASSERT_NO_FATAL_FAILURE(compare_trimmed(*model, task, 0.05, shown));
      ASSERT_NO_FATAL_FAILURE(compare_fused(*model, task, 3, shown));
      ASSERT_NO_FATAL_FAILURE(compare_automatic(*model, task, shown));
    }
  }
  EXPECT_GT(changed, texts / 2);
  EXPECT_GT(shown.accepted, 0) << "drafts that are never right would test little";
}

// Several requests, each with a decoder of its own, in one pass: drafts of one beside verification of
// another.
TEST_P(Lossless, SequencesThatSharePassesKeepTheirTexts) {
  const TemporaryFolder folder;
  const ModelConfig config = config_of(7);
  const Checkpoint checkpoint(make_random_model(config, 7, folder.path(), DType::bf16));
  const auto model =
      load_native(checkpoint, {.precision = GetParam(), .threads = 2, .draft = DraftPrecision::int4});
  std::vector<Prompt> prompts;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Prompt prompt = prompt_of(seed, *model);
    prompts.push_back(std::move(prompt));
  }
  std::vector<std::vector<TokenId>> expected, got(prompts.size());
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<std::unique_ptr<Decoder>> decoders;
  const DecodeContext context{.mask_token = config.text.vocab_size - 1};
  constexpr DecoderKind kKinds[] = {DecoderKind::autoregressive, DecoderKind::speculative,
                                    DecoderKind::fused};
  for (size_t i = 0; i < prompts.size(); ++i) {
    DecodeOptions options{.kind = DecoderKind::autoregressive,
                          .block_size = 4 << i % 3,
                          .max_tokens = 20 + 5 * static_cast<int>(i),
                          .sampling = {i % 2 ? 1.0 : 0.0, 0, 0.95, i}};
    expected.push_back(decode(*model, prompts[i], options, context).tokens);
    options.kind = kKinds[i % 3];
    sequences.push_back(model->new_sequence(200));
    decoders.push_back(make_decoder(prompts[i], *sequences.back(), options, context));
  }
  int shared = 0;
  for (;;) {
    SharedPass pass;
    std::vector<size_t> parts;
    for (size_t i = 0; i < decoders.size(); ++i) {
      if (decoders[i]->finished() != FinishReason::none) continue;
      pass.add(*decoders[i], 1 + static_cast<int>(i) * 3);  // prompts are cut into pieces
      parts.push_back(i);
    }
    if (parts.empty()) break;
    shared += parts.size() > 1;
    const auto chosen = model->forward(pass.segments());
    for (size_t k = 0; k < parts.size(); ++k) {
      const auto emitted = decoders[parts[k]]->take(pass.rows_of(k, chosen));
      got[parts[k]].insert(got[parts[k]].end(), emitted.begin(), emitted.end());
    }
  }
  EXPECT_EQ(got, expected);
  EXPECT_GT(shared, 10);
}

// After any decoder the sequence holds what a causal pass over the text would have written: the next turn's
// logits have the same bits.
TEST_P(Lossless, EveryDecoderLeavesTheKvOfACausalPass) {
  const TemporaryFolder folder;
  const ModelConfig config = config_of(5);
  const Checkpoint checkpoint(make_random_model(config, 5, folder.path()));
  const auto model = load_native(checkpoint, {.precision = GetParam(), .threads = 1});
  Prompt prompt = prompt_of(5, *model);
  prompt.stop_tokens.clear();
  const DecodeContext context{.mask_token = config.text.vocab_size - 1};
  for (const auto kind :
       {DecoderKind::autoregressive, DecoderKind::masked_diffusion, DecoderKind::speculative}) {
    const DecodeOptions options{.kind = kind, .block_size = 8, .threshold = 0.3, .max_tokens = 21};
    const auto sequence = model->new_sequence(200);
    const Decoded text = decode(*model, prompt, options, context, *sequence);
    ASSERT_GT(sequence->length(), static_cast<int>(prompt.tokens.size()));

    auto next_turn = [&](Sequence& held, int length) {
      Prompt longer = prompt;
      longer.tokens.insert(longer.tokens.end(), text.tokens.begin(), text.tokens.end());
      longer.tokens.push_back(1);
      for (int i = static_cast<int>(prompt.tokens.size()); i < static_cast<int>(longer.tokens.size()); ++i)
        longer.rope.positions.push_back(
            {i + prompt.rope.delta, i + prompt.rope.delta, i + prompt.rope.delta});
      if (length > 0) longer.features.clear(), longer.pads.clear();  // the picture is held
      const auto decoder = make_decoder(longer, held, options, context);
      Segment segment = decoder->next()[0];
      const Wanted last{.row = segment.wanted[0].row, .choice = Choice::logits};
      segment.wanted = {&last, 1};
      return logits_of(model->forward({&segment, 1}));
    };
    const auto fresh = model->new_sequence(200);
    EXPECT_EQ(next_turn(*sequence, sequence->length()), next_turn(*fresh, 0));
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Lossless,
                         testing::Values(Precision::f32, Precision::bf16, Precision::int8, Precision::int4),
                         precision_name);

}  // namespace
}  // namespace dvlm
