// What training showed a model with block attention is what decoding shows it: passes of masked diffusion on
// the native model against rows of the training network under its own mask, logit by logit.
#include <gtest/gtest.h>

#include <cmath>

#include "decode/decoder.h"
#include "model/choose.h"
#include "native/native.h"
#include "toy.h"

namespace dvlm {
namespace {

constexpr int kBlock = 4;

struct Pass {
  std::vector<TokenId> tokens;
  int context = 0;
  bool keep = false;
  std::vector<int> rows;
  std::vector<std::vector<float>> logits;  // of those rows
};

// Keeps every pass with the logits of the rows that it was asked for.
class RecordingModel : public Model {
 public:
  explicit RecordingModel(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  const ModelConfig& config() const override { return model_->config(); }
  ImageFeatures encode_image(const Patches& patches) override { return model_->encode_image(patches); }
  std::unique_ptr<Sequence> new_sequence(int capacity) override { return model_->new_sequence(capacity); }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    Segment segment = segments[0];
    Pass& pass = passes.emplace_back();
    pass.tokens.assign(segment.tokens.begin(), segment.tokens.end());
    pass.context = segment.context, pass.keep = segment.keep;
    const std::span<const Wanted> asked = segment.wanted;
    std::vector<Wanted> wanted;
    for (const Wanted& row : asked) {
      pass.rows.push_back(row.row);
      wanted.push_back({.row = row.row, .choice = Choice::logits});
    }
    segment.wanted = wanted;
    for (const Chosen& row : model_->forward({&segment, 1}))
      pass.logits.emplace_back(row.logits.begin(), row.logits.end());
    chosen_.clear();
    for (size_t i = 0; i < asked.size(); ++i) chosen_.push_back(choose(pass.logits[i], asked[i]));
    return chosen_;
  }

  std::vector<Pass> passes;

 private:
  std::unique_ptr<Model> model_;
  std::vector<Chosen> chosen_;
};

struct Trained {
  ModelConfig config = toy::small_config();
  Network network{nullptr};
  toy::Folder folder;
  Sample sample = toy::two_turns();

  Trained() {
    config.clean_attention = CleanAttention::block;
    torch::manual_seed(3);
    network = Network(config);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : network->parameters())
      if (parameter.dim() >= 2) parameter.mul_(8);  // or every mistake would hide in uniform predictions
    save_checkpoint(folder.path(), network, DType::f32);
    toy::add_picture(sample, config.vision);
  }

  Prompt prompt(Model& model, int tokens) const {
    Prompt out;
    out.tokens.assign(sample.ids.begin(), sample.ids.begin() + tokens);
    out.rope.positions.assign(sample.positions.begin(), sample.positions.begin() + tokens);
    out.features = model.encode_image(sample.visuals[0]).values;
    for (int i = 0; i < tokens; ++i)
      if (out.tokens[static_cast<size_t>(i)] == toy::kImage) out.pads.push_back(i);
    out.turn_ends = turn_ends(tokens, find_answers(out.tokens, toy::markers()), kBlock);
    return out;
  }

  // Logits [row, vocab] of one training row.
  torch::Tensor logits(const Row& row) {
    const torch::NoGradGuard no_grad;
    const TrainBatch batch = collate({&row, 1}, {&sample, 1}, toy::kPad);
    return network->logits(network->hidden(batch.input))[0].to(torch::kFloat32).contiguous();
  }
};

// The token of the row that stands at `index` of the sequence in this stream.
int64_t row_of(const Row& row, int stream, int index) {
  for (size_t i = 0; i < row.stream.size(); ++i)
    if (row.stream[i].stream == stream && row.stream[i].index == index) return static_cast<int64_t>(i);
  ADD_FAILURE() << "no token " << index << " in stream " << stream;
  return 0;
}

double largest_difference(const torch::Tensor& a, const std::vector<float>& b) {
  return (a - torch::tensor(b)).abs().max().item<double>();
}

// Largest difference between the logits of all passes and those of training rows with this attention.
double distance(Trained& trained, const std::vector<Pass>& passes, CleanAttention attention) {
  const auto tokens = static_cast<int>(trained.sample.ids.size());
  const Layout layout = make_layout(tokens, trained.sample.answers, kBlock);
  double largest = 0;
  for (const Pass& pass : passes) {
    std::vector<MaskedFlags> copies(1, MaskedFlags(trained.sample.ids.size(), 0));
    for (size_t i = 0; i < pass.tokens.size(); ++i)
      copies[0][static_cast<size_t>(pass.context) + i] = !pass.keep && pass.tokens[i] == toy::kMask;
    const Row row = make_row(trained.sample, layout, copies, toy::tokens(), {.clean_attention = attention});
    const torch::Tensor logits = trained.logits(row);
    for (size_t i = 0; i < pass.rows.size(); ++i) {
      const int64_t at = row_of(row, pass.keep ? StreamToken::kClean : 0, pass.context + pass.rows[i]);
      largest = std::max(largest, largest_difference(logits[at], pass.logits[i]));
    }
  }
  return largest;
}

TEST(BlockAttention, DecodingShowsWhatTrainingShowed) {
  Trained trained;
  const Checkpoint checkpoint(trained.folder.path());
  ASSERT_EQ(checkpoint.config().clean_attention, CleanAttention::block);
  RecordingModel model(load_native(checkpoint, {.precision = Precision::f32, .threads = 1}));

  // A picture, a question, an answer of a whole block and a short one, a question; then an answer of two
  // blocks and a first token.
  const int asked = 29;
  const Prompt prompt = trained.prompt(model, asked);
  EXPECT_EQ(prompt.turn_ends, (std::vector<int>{15, 19, 20, 29}));
  const DecodeOptions options{.kind = DecoderKind::masked_diffusion,
                              .block_size = kBlock,
                              .threshold = 0.5,
                              .sub_block = kBlock,
                              .max_tokens = 2 * kBlock + 1};
  const DecodeContext context{.mask_token = toy::kMask, .clean_attention = CleanAttention::block};
  const auto sequence = model.new_sequence(64);
  const auto decoder = make_decoder(prompt, *sequence, options, context);
  trained.sample.ids.resize(asked), trained.sample.positions.resize(asked);
  while (decoder->finished() == FinishReason::none)
    for (const TokenId token : decoder->take(model.forward(decoder->next()))) {
      const auto at = static_cast<int32_t>(trained.sample.ids.size());
      ASSERT_NE(token, toy::kImage) << "another seed, please: a picture pad as text";
      trained.sample.ids.push_back(token);
      trained.sample.positions.push_back({at, at, at});
    }
  trained.sample.answers[1] = {asked, static_cast<int>(trained.sample.ids.size())};
  ASSERT_EQ(trained.sample.answers[1].size(), 2 * kBlock + 1);

  const auto kept = std::ranges::count_if(model.passes, [](const Pass& pass) { return pass.keep; });
  EXPECT_EQ(kept, 4 + 2) << "turns of the prompt, blocks";
  EXPECT_GE(std::ssize(model.passes) - kept, 2);
  EXPECT_LT(distance(trained, model.passes, CleanAttention::block), 2e-4);
  EXPECT_GT(distance(trained, model.passes, CleanAttention::causal), 0.1) << "and the other mask is another";
}

}  // namespace
}  // namespace dvlm
