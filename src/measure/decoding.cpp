#include "measure/decoding.h"

#include <algorithm>

#include "core/interrupt.h"
#include "core/progress.h"
#include "core/stopwatch.h"
#include "decode/shared_pass.h"
#include "engine/cost_learner.h"
#include "measure/random_checkpoint.h"

namespace dvlm {

namespace {

// Adds one answer to a timing.
void decode_answer(Model& model, CostLearner& learner, const RecordedAnswer& answer,
                   const DecodeOptions& options, const DecodeContext& context, int prompt_tokens,
                   DecodeTiming& timing) {
  ReplayModel replay(model, prompt_tokens);
  const Prompt prompt = replay_prompt(prompt_tokens);
  const auto sequence = model.new_sequence(prompt_tokens + options.max_tokens + options.block_size);
  replay.assign(sequence.get(), answer);
  const auto decoder = make_decoder(prompt, *sequence, options, context);
  BlockChooser* const chooser = context.chooser.get();
  const auto pass = [&] {
    const bool writes = decoder->prefilled();
    const std::span<const Segment> segments = decoder->next();
    std::span<const Chosen> chosen;
    const double ms = milliseconds_of([&] { chosen = replay.forward(segments); });
    if (!writes)
      learner.read(segments, ms);
    else if (options.kind == DecoderKind::automatic)
      learner.wrote(segments, ms, {&chooser, 1}, options.block_size);
    decoder->take(chosen);
  };
  pass();  // the prompt
  timing.ms += milliseconds_of([&] {
    while (decoder->finished() == FinishReason::none) pass();
  });
  timing.tokens += decoder->stats().tokens - 1;
  timing.nfe += decoder->stats().nfe;
  timing.rounds += decoder->stats().rounds;
  timing.fused += decoder->stats().fused;
  timing.verified += decoder->stats().verified;
  for (const auto& [block, rounds] : decoder->stats().blocks) timing.blocks[block] += rounds;
}

struct Contestant {
  Model* model;
  CostLearner* learner;
  DecodeOptions options;
  DecodeContext context;
  DecodeTiming timing;
};

// One request's share of a batch.
struct Answering {
  std::unique_ptr<Sequence> sequence;
  std::unique_ptr<Decoder> decoder;
};

// Reads the prompts, uncounted, then writes all answers together.
void run_batch(Model& model, CostLearner& learner, const std::vector<RecordedAnswer>& answers,
               const BatchBenchOptions& options, const DecodeOptions& decode, const DecodeContext& context,
               BatchTiming& timing) {
  ReplayModel replay(model, options.prompt);
  const Prompt prompt = replay_prompt(options.prompt);
  std::vector<Answering> batch;
  for (size_t i = 0; i < timing.concurrent; ++i) {
    const RecordedAnswer& answer = answers[i % answers.size()];
    Answering& one = batch.emplace_back();
    DecodeOptions own = decode;
    own.max_tokens = std::min(options.max_tokens, answer.tokens);
    one.sequence = model.new_sequence(options.prompt + own.max_tokens + own.block_size);
    replay.assign(one.sequence.get(), answer);
    one.decoder = make_decoder(prompt, *one.sequence, own, context);
    const std::span<const Segment> segments = one.decoder->next();
    std::span<const Chosen> chosen;
    learner.read(segments, milliseconds_of([&] { chosen = replay.forward(segments); }));
    one.decoder->take(chosen);
  }
  BlockChooser* const chooser = context.chooser.get();
  SharedPass pass;
  std::vector<Decoder*> going;
  timing.ms += milliseconds_of([&] {
    for (;;) {
      pass.clear();
      going.clear();
      for (const Answering& one : batch)
        if (one.decoder->finished() == FinishReason::none) going.push_back(one.decoder.get());
      chooser->set_sharing(static_cast<int>(std::max<size_t>(going.size(), 1)));
      for (Decoder* decoder : going) pass.add(*decoder, 1);
      if (going.empty() || interrupted()) return;
      std::span<const Chosen> chosen;
      const double ms = milliseconds_of([&] { chosen = replay.forward(pass.segments()); });
      if (decode.kind == DecoderKind::automatic)
        learner.wrote(pass.segments(), ms, {&chooser, 1}, options.block_size);
      for (size_t i = 0; i < going.size(); ++i) going[i]->take(pass.rows_of(i, chosen));
      ++timing.passes;
    }
  });
  for (const Answering& one : batch) timing.tokens += one.decoder->stats().tokens - 1;
}

}  // namespace

std::vector<DecodeTiming> time_decoders(const DecodeBenchOptions& options,
                                        const std::vector<RecordedAnswer>& answers) {
  const ModelConfig config = text_shape_named(options.shape);
  const int largest = *std::ranges::max_element(options.blocks);
  std::vector<std::unique_ptr<Model>> models;
  std::vector<std::unique_ptr<CostLearner>> learners;
  std::vector<Contestant> contestants;
  for (const std::string& precision : options.precisions) {
    models.push_back(load_random(config, precision, options.model));
    learners.push_back(std::make_unique<CostLearner>(models.back()->weight_memory()));
    const auto chooser = new_chooser(*models.back(), largest);
    for (const std::string& decoder : options.decoders) {
      const DecoderKind kind = decoder_kind(decoder);
      std::vector<int> blocks = options.blocks;
      if (kind == DecoderKind::autoregressive || kind == DecoderKind::automatic) blocks = {largest};
      for (const int block : blocks) {
        for (const double temperature : options.temperatures) {
          const DecodeOptions decode{.kind = kind,
                                     .block_size = block,
                                     .branches = options.branches,
                                     .draft_p_min = options.draft_p_min,
                                     .sampling = {.temperature = temperature, .top_p = options.top_p}};
          contestants.push_back({models.back().get(),
                                 learners.back().get(),
                                 decode,
                                 {.mask_token = kReplayMask, .chooser = chooser},
                                 {.precision = precision,
                                  .decoder = decoder,
                                  .block_size = kind == DecoderKind::autoregressive ? 1 : block,
                                  .temperature = temperature,
                                  .blocks = {}}});
        }
      }
    }
  }
  const size_t count = std::min(options.answers, answers.size());
  Progress progress("decoding", static_cast<int64_t>(count * contestants.size()));
  int64_t done = 0;
  for (size_t i = 0; i < count; ++i) {
    for (Contestant& contestant : contestants) {
      if (interrupted()) break;
      contestant.options.max_tokens = std::min(options.max_tokens, answers[i].tokens);
      decode_answer(*contestant.model, *contestant.learner, answers[i], contestant.options,
                    contestant.context, options.prompt, contestant.timing);
      progress.update(++done);
    }
  }
  std::vector<DecodeTiming> out;
  out.reserve(contestants.size());
  for (const Contestant& contestant : contestants) out.push_back(contestant.timing);
  return out;
}

std::vector<BatchTiming> time_batches(const BatchBenchOptions& options,
                                      const std::vector<RecordedAnswer>& answers) {
  const ModelConfig config = text_shape_named(options.shape);
  std::vector<BatchTiming> out;
  const size_t settings = options.decoders.size() * options.concurrent.size();
  Progress progress("batches", static_cast<int64_t>(options.precisions.size() * settings) * options.rounds);
  int64_t done = 0;
  for (const std::string& precision : options.precisions) {
    const auto model = load_random(config, precision, options.model);
    CostLearner learner(model->weight_memory());
    const DecodeContext context{.mask_token = kReplayMask,
                                .chooser = new_chooser(*model, options.block_size)};
    const size_t first = out.size();
    for (const std::string& decoder : options.decoders)
      for (const size_t concurrent : options.concurrent)
        out.push_back({.precision = precision,
                       .decoder = decoder,
                       .block_size = decoder == "ar" ? 1 : options.block_size,
                       .concurrent = concurrent});
    for (int round = 0; round < options.rounds; ++round) {
      for (size_t i = first; i < out.size() && !interrupted(); ++i) {
        const DecodeOptions decode{.kind = decoder_kind(out[i].decoder), .block_size = options.block_size};
        run_batch(*model, learner, answers, options, decode, context, out[i]);
        progress.update(++done);
      }
    }
  }
  return out;
}

}  // namespace dvlm
