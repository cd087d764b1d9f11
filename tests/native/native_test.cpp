// What one pass promises, on small random networks in both precisions.
#include "native/native.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "precision_name.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

// A segment that owns what it views.
struct Input {
  std::vector<TokenId> tokens;
  std::vector<Position> positions;
  std::vector<Wanted> rows;
  Segment segment;

  Input(Sequence& sequence, std::vector<TokenId> t, int context, int first_position = -1)
      : tokens(std::move(t)), positions(tokens.size()), rows(want_logits(static_cast<int>(tokens.size()))) {
    const int at = first_position < 0 ? context : first_position;
    for (int i = 0; i < static_cast<int>(tokens.size()); ++i) positions[i] = {at + i, at + i, at + i};
    segment.sequence = &sequence;
    segment.context = context;
  }
  const Segment& get() {
    segment.tokens = tokens, segment.positions = positions, segment.wanted = rows;
    return segment;
  }
  Input& keep() {
    segment.keep = true;
    return *this;
  }
  Input& bidirectional() {
    segment.visibility = Visibility::bidirectional;
    return *this;
  }
  Input& after(int parent, int count) {
    segment.parent = parent, segment.parent_tokens = count;
    for (Position& p : positions) p.t += count, p.h += count, p.w += count;
    return *this;
  }
};

std::vector<TokenId> some_tokens(int count, uint64_t seed) {
  Random random(seed);
  std::vector<TokenId> out(static_cast<size_t>(count));
  for (TokenId& token : out) token = static_cast<TokenId>(random.below(90));
  return out;
}

std::vector<float> rows_of(const std::vector<float>& values, int first, int count) {
  const int vocab = small_config().text.vocab_size;
  return {values.begin() + first * vocab, values.begin() + (first + count) * vocab};
}

class Native : public testing::TestWithParam<Precision> {
 protected:
  Native() : checkpoint_(make_random_model(small_config(), 7, folder_.path())) {
    model_ = load_native(checkpoint_, {.precision = GetParam(), .threads = 2});
  }
  std::vector<float> run(std::initializer_list<Segment> segments) {
    return logits_of(model_->forward({segments.begin(), segments.size()}));
  }
  // A sequence that has committed these tokens, in one pass.
  std::unique_ptr<Sequence> committed(std::vector<TokenId> tokens) {
    auto sequence = model_->new_sequence(200);
    if (!tokens.empty()) run({Input(*sequence, std::move(tokens), 0).keep().get()});
    return sequence;
  }

  TemporaryFolder folder_;
  Checkpoint checkpoint_;
  std::unique_ptr<Model> model_;
};

TEST_P(Native, tokens_one_by_one_give_the_bits_of_one_prefill) {
  const auto tokens = some_tokens(83, 1);
  auto whole = model_->new_sequence(100), single = model_->new_sequence(100);
  const auto together = run({Input(*whole, tokens, 0).keep().get()});
  for (int i = 0; i < 83; ++i) {
    const auto row = run({Input(*single, {tokens[i]}, i).keep().get()});
    ASSERT_EQ(row, rows_of(together, i, 1)) << "token " << i;
  }
}

TEST_P(Native, verification_gives_the_bits_of_decoding_one_by_one) {
  const auto tokens = some_tokens(60, 2);
  auto sequence = committed({tokens.begin(), tokens.begin() + 37});
  const auto verify = run({Input(*sequence, {tokens.begin() + 37, tokens.end()}, 37).get()});
  EXPECT_EQ(sequence->length(), 37);
  for (int i = 37; i < 60; ++i) {
    EXPECT_EQ(run({Input(*sequence, {tokens[i]}, i).keep().get()}), rows_of(verify, i - 37, 1))
        << "token " << i;
  }
}

TEST_P(Native, a_thousand_rows_in_chunks_give_the_bits_of_small_steps) {
  const auto tokens = some_tokens(600, 3);
  auto whole = model_->new_sequence(600), steps = model_->new_sequence(600);
  const auto together = run({Input(*whole, tokens, 0).keep().get()});
  for (int at = 0; at < 600; at += 75) {
    const auto part = run({Input(*steps, {tokens.begin() + at, tokens.begin() + at + 75}, at).keep().get()});
    ASSERT_EQ(part, rows_of(together, at, 75)) << "from " << at;
  }
}

TEST_P(Native, sequences_in_one_pass_give_the_bits_of_each_alone) {
  auto a = committed(some_tokens(21, 4)), b = committed(some_tokens(50, 5));
  Input one(*a, some_tokens(9, 6), 21), two(*b, some_tokens(16, 7), 50), three(*a, some_tokens(4, 8), 13);
  two.bidirectional();
  const auto together = run({one.get(), two.get(), three.get()});
  EXPECT_EQ(run({one.get()}), rows_of(together, 0, 9));
  EXPECT_EQ(run({two.get()}), rows_of(together, 9, 16));
  EXPECT_EQ(run({three.get()}), rows_of(together, 25, 4));
}

TEST_P(Native, results_do_not_depend_on_threads) {
  const auto tokens = some_tokens(40, 9);
  std::vector<float> results[3];
  for (int threads : {1, 2, 3}) {
    const auto model = load_native(checkpoint_, {.precision = GetParam(), .threads = threads});
    auto sequence = model->new_sequence(64);
    Input input(*sequence, tokens, 0);
    const Segment segment = input.get();
    results[threads - 1] = logits_of(model->forward({&segment, 1}));
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_P(Native, a_draft_sees_all_of_its_block_and_leaves_no_trace) {
  auto sequence = committed(some_tokens(30, 10));
  auto block = some_tokens(8, 11);
  const auto causal = run({Input(*sequence, block, 30).get()});
  const auto draft = run({Input(*sequence, block, 30).bidirectional().get()});
  EXPECT_NE(rows_of(causal, 0, 1), rows_of(draft, 0, 1));
  block[7] = (block[7] + 1) % 90;
  const auto other = run({Input(*sequence, block, 30).bidirectional().get()});
  EXPECT_NE(rows_of(draft, 0, 1), rows_of(other, 0, 1)) << "the first row does not see the last token";
  EXPECT_EQ(sequence->length(), 30);
  block[7] = (block[7] + 89) % 90;
  EXPECT_EQ(run({Input(*sequence, block, 30).get()}), causal);
}

TEST_P(Native, a_child_sees_its_parents_tokens_as_if_they_were_committed) {
  const auto tokens = some_tokens(30, 12), more = some_tokens(5, 13), block = some_tokens(6, 14);
  for (int seen : {0, 1, 3, 5}) {
    auto sequence = committed(tokens);
    Input parent(*sequence, more, 30), child(*sequence, block, 30);
    const auto fused = run({parent.get(), child.bidirectional().after(0, seen).get()});
    if (seen > 0) run({Input(*sequence, {more.begin(), more.begin() + seen}, 30).keep().get()});
    const auto apart = run({Input(*sequence, block, 30 + seen).bidirectional().get()});
    EXPECT_EQ(rows_of(fused, 5, 6), apart) << "seeing " << seen;
  }
}

TEST_P(Native, a_kept_parent_and_its_child_share_a_pass) {
  const auto tokens = some_tokens(30, 12), more = some_tokens(5, 13), block = some_tokens(6, 14);
  auto sequence = committed(tokens), other = committed(tokens);
  Input parent(*sequence, more, 30), child(*sequence, block, 30);
  const auto fused = run({parent.keep().get(), child.bidirectional().after(0, 5).get()});
  EXPECT_EQ(sequence->length(), 35);
  run({Input(*other, more, 30).keep().get()});
  EXPECT_EQ(rows_of(fused, 5, 6), run({Input(*other, block, 35).bidirectional().get()}));
}

// Rows and K/V are those of a bidirectional pass, as a child of an unkept one sees them.
TEST_P(Native, with_block_attention_a_kept_block_sees_all_of_itself) {
  ModelConfig config = small_config();
  config.clean_attention = CleanAttention::block;
  const TemporaryFolder folder;
  const Checkpoint checkpoint(make_random_model(config, 7, folder.path()));
  model_ = load_native(checkpoint, {.precision = GetParam(), .threads = 2});
  const auto prompt = some_tokens(70, 12), more = some_tokens(5, 13), block = some_tokens(6, 14);
  auto sequence = model_->new_sequence(128);
  const auto read = run({Input(*sequence, prompt, 0).bidirectional().get()});
  EXPECT_EQ(run({Input(*sequence, prompt, 0).bidirectional().keep().get()}), read);
  EXPECT_EQ(sequence->length(), 70);
  Input parent(*sequence, more, 70), child(*sequence, block, 70);
  const auto apart = run({parent.bidirectional().get(), child.bidirectional().after(0, 5).get()});
  EXPECT_EQ(run({Input(*sequence, more, 70).bidirectional().keep().get()}), rows_of(apart, 0, 5));
  EXPECT_EQ(run({Input(*sequence, block, 75).bidirectional().get()}), rows_of(apart, 5, 6));
}

TEST_P(Native, truncation_forgets_and_forks_are_independent) {
  const auto tokens = some_tokens(50, 15), next = some_tokens(3, 16);
  auto sequence = committed(tokens), fresh = committed({tokens.begin(), tokens.begin() + 20});
  auto fork = sequence->fork(50);
  sequence->truncate(20);
  EXPECT_EQ(sequence->length(), 20);
  EXPECT_EQ(run({Input(*sequence, next, 20).keep().get()}), run({Input(*fresh, next, 20).keep().get()}));
  EXPECT_EQ(fork->length(), 50);
  EXPECT_EQ(run({Input(*fork, next, 50).get()}), run({Input(*committed(tokens), next, 50).get()}));
  EXPECT_THROW(sequence->truncate(24), Error);
  EXPECT_THROW(sequence->truncate(-1), Error);
}

TEST_P(Native, logits_come_only_for_the_rows_asked_for) {
  auto sequence = model_->new_sequence(50);
  Input all(*sequence, some_tokens(20, 17), 0), some = all;
  constexpr int kRows[] = {0, 7, 19};
  some.rows = want_logits(kRows);
  const auto every = run({all.get()}), few = run({some.get()});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rows_of(few, i, 1), rows_of(every, kRows[i], 1));
  some.rows.clear();
  EXPECT_TRUE(run({some.get()}).empty());
}

TEST_P(Native, features_replace_pad_tokens_in_order) {
  auto sequence = model_->new_sequence(50);
  const TokenId pad = checkpoint_.config().image_token;
  Input with(*sequence, {1, pad, 2, pad}, 0), without = with, swapped = with;
  const int hidden = checkpoint_.config().text.hidden_size;
  std::vector<float> features(size_t(2 * hidden), 0.5f), other = features;
  std::fill(features.begin() + hidden, features.end(), -0.25f);
  std::fill(other.begin(), other.begin() + hidden, -0.25f);
  with.segment.features = features;
  swapped.segment.features = other;
  const auto a = run({with.get()}), b = run({without.get()}), c = run({swapped.get()});
  EXPECT_EQ(rows_of(a, 0, 1), rows_of(b, 0, 1));
  EXPECT_NE(rows_of(a, 1, 1), rows_of(b, 1, 1));
  EXPECT_NE(rows_of(a, 1, 1), rows_of(c, 1, 1));
  with.segment.features = std::span(features).first(size_t(hidden));
  EXPECT_THROW(run({with.get()}), Error);
}

TEST_P(Native, segments_that_break_a_rule_are_refused) {
  auto sequence = committed(some_tokens(10, 18));
  const auto refused = [&](auto&& change) {
    Input input(*sequence, some_tokens(4, 19), 10);
    change(input);
    const Segment segment = input.get();
    EXPECT_THROW(model_->forward({&segment, 1}), Error);
  };
  refused([](Input& i) { i.segment.context = 11; });
  refused([](Input& i) { i.segment.context = -1; });
  refused([](Input& i) { i.tokens[0] = 97; });
  refused([](Input& i) { i.tokens[0] = -1; });
  refused([](Input& i) { i.positions.pop_back(); });
  refused([](Input& i) { i.tokens.clear(), i.positions.clear(), i.rows.clear(); });
  refused([](Input& i) { i.rows = {Wanted{.row = 4}}; });
  refused([](Input& i) { i.rows = {Wanted{.row = 2}, Wanted{.row = 1}}; });
  refused([](Input& i) { i.rows = {Wanted{.choice = Choice::draw, .temperature = 0}}; });
  refused([](Input& i) { i.rows = {Wanted{.choice = Choice::draw, .u = 1}}; });
  refused([](Input& i) { i.segment.sequence = nullptr; });
  refused([](Input& i) { i.segment.parent = 0; });
  refused([](Input& i) { i.segment.parent_tokens = 1; });
  refused([](Input& i) { i.keep().bidirectional(); });
  refused([](Input& i) { i.keep().segment.context = 9; });
  refused([](Input& i) {
    i.keep().tokens.assign(191, 1);
    i.positions.resize(191);
  });
  const auto other = load_native(checkpoint_, {.precision = GetParam(), .threads = 2});
  auto foreign = other->new_sequence(50);
  refused([&](Input& i) { i.segment.sequence = foreign.get(), i.segment.context = 0; });
  EXPECT_EQ(sequence->length(), 10);
}

TEST_P(Native, pictures_are_the_same_alone_and_after_larger_ones_on_any_threads) {
  Random random(20);
  const auto picture = [&](int t, int h, int w) {
    Patches patches;
    patches.grid = {t, h, w};
    patches.values.resize(size_t(t * h * w) * size_t(checkpoint_.config().vision.patch_elements()));
    for (float& value : patches.values) value = static_cast<float>(random.normal());
    return patches;
  };
  const Patches small = picture(1, 6, 10), large = picture(2, 20, 14);
  const ImageFeatures first = model_->encode_image(small);
  EXPECT_EQ(first.tokens, 15);
  EXPECT_EQ(model_->encode_image(large).tokens, 140);
  EXPECT_EQ(model_->encode_image(small).values, first.values);
  EXPECT_EQ(load_native(checkpoint_, {.precision = GetParam(), .threads = 1})->encode_image(small).values,
            first.values);

  Patches wrong = small;
  wrong.values.pop_back();
  EXPECT_THROW(model_->encode_image(wrong), Error);
  wrong.grid = {1, 5, 12};
  EXPECT_THROW(model_->encode_image(wrong), Error);
  wrong.grid = {1 << 20, 1 << 20, 1 << 20};
  EXPECT_THROW(model_->encode_image(wrong), Error);
}

INSTANTIATE_TEST_SUITE_P(Precisions, Native,
                         testing::Values(Precision::f32, Precision::bf16, Precision::int8, Precision::int4),
                         precision_name);

TEST(Loading, precision_follows_the_files_unless_asked) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint(make_random_model(small_config(), 1, folder.path(), DType::bf16));
  const auto logits = [&](Precision precision) {
    const auto model = load_native(checkpoint, {.precision = precision, .threads = 1});
    auto sequence = model->new_sequence(10);
    Input input(*sequence, {1, 2, 3}, 0);
    const Segment segment = input.get();
    return logits_of(model->forward({&segment, 1}));
  };
  EXPECT_EQ(logits(Precision::automatic), logits(Precision::bf16));
  EXPECT_NE(logits(Precision::automatic), logits(Precision::f32));
}

class ApproximatePasses : public testing::TestWithParam<std::pair<DraftPrecision, double>> {};

TEST_P(ApproximatePasses, are_near_exact_ones_and_leave_those_alone) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint(make_random_model(small_config(), 1, folder.path(), DType::bf16));
  const auto plain = load_native(checkpoint, {.threads = 2});
  const auto drafting = load_native(checkpoint, {.threads = 2, .draft = GetParam().first});
  const auto logits = [](Model& model, bool approximate, bool keep) {
    auto sequence = model.new_sequence(40);
    Input input(*sequence, some_tokens(9, 4), 0);
    Segment segment = input.get();
    segment.approximate = approximate;
    segment.keep = keep;
    return logits_of(model.forward({&segment, 1}));
  };
  const std::vector<float> exact = logits(*plain, false, true);
  EXPECT_EQ(logits(*drafting, false, true), exact);
  EXPECT_EQ(logits(*drafting, true, true), exact) << "what is kept is exact";
  EXPECT_EQ(logits(*plain, true, false), exact) << "without draft weights";
  const std::vector<float> draft = logits(*drafting, true, false);
  EXPECT_NE(draft, exact);
  double error = 0, size = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double{draft[i]} - exact[i], 2);
    size += std::pow(double{exact[i]}, 2);
  }
  EXPECT_LT(std::sqrt(error / size), GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(Draft, ApproximatePasses,
                         testing::Values(std::pair{DraftPrecision::int8, 0.05},
                                         std::pair{DraftPrecision::int4, 0.4}));

TEST(Loading, an_untied_head_and_the_embedding_are_two_tables) {
  const TemporaryFolder folder;
  ModelConfig config = small_config();
  config.text.tie_word_embeddings = false;
  const Checkpoint checkpoint(make_random_model(config, 1, folder.path()));
  const auto model = load_native(checkpoint, {.threads = 1});
  auto sequence = model->new_sequence(10);
  Input input(*sequence, {1, 2, 3}, 0);
  const Segment segment = input.get();
  EXPECT_EQ(model->forward({&segment, 1}).size(), 3);
}

TEST(Loading, too_little_memory_is_said_before_anything_is_allocated) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint(make_random_model(small_config(), 1, folder.path()));
  EXPECT_THROW(load_native(checkpoint, {.threads = 1, .memory_limit = 10'000}), Error);
  const auto model = load_native(checkpoint, {.threads = 1, .memory_limit = 4'000'000});
  EXPECT_THROW(model->new_sequence(1'000'000), Error);
  EXPECT_THROW(model->new_sequence(-1), Error);
  auto sequence = model->new_sequence(1000);
  Input large(*sequence, some_tokens(5000, 1), 0), small(*sequence, some_tokens(10, 1), 0);
  const Segment refused = large.get(), taken = small.get();
  EXPECT_THROW(model->forward({&refused, 1}), Error);
  EXPECT_EQ(model->forward({&taken, 1}).size(), 10);
}

TEST(Loading, a_missing_tensor_and_a_type_that_cannot_run_are_named) {
  const TemporaryFolder folder;
  make_random_model(small_config(), 1, folder.path());
  const std::vector<std::byte> data(97 * 40 * 4);
  const auto rewrite = [&](const NamedTensor& tensor) {
    write_safetensors(folder / "model.safetensors", {&tensor, 1});
    const Checkpoint checkpoint(folder.path());
    try {
      load_native(checkpoint, {.threads = 1});
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_NE(
      rewrite({"model.embed_tokens.weight", {DType::f32, {97, 40}, data.data()}}).find("model.layers.0"),
      std::string::npos);
  EXPECT_NE(rewrite({"model.embed_tokens.weight", {DType::i32, {97, 40}, data.data()}}).find("I32"),
            std::string::npos);
}

}  // namespace
}  // namespace dvlm
