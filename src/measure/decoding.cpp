#include "measure/decoding.h"

#include <algorithm>

#include "core/interrupt.h"
#include "core/progress.h"
#include "engine/pass_costs.h"
#include "measure/clock.h"
#include "measure/random_checkpoint.h"

namespace dvlm {

namespace {

// Adds one answer to a timing.
void decode_answer(Model& model, const RecordedAnswer& answer, const DecodeOptions& options,
                   const DecodeContext& context, int prompt_tokens, DecodeTiming& timing) {
  ReplayModel replay(model, prompt_tokens);
  const Prompt prompt = replay_prompt(prompt_tokens);
  const auto sequence = model.new_sequence(prompt_tokens + options.max_tokens + options.block_size);
  replay.assign(sequence.get(), answer);
  const auto decoder = make_decoder(prompt, *sequence, options, context);
  decoder->take(replay.forward(decoder->next()));  // prefill
  timing.ms += milliseconds_of([&] {
    while (decoder->finished() == FinishReason::none) decoder->take(replay.forward(decoder->next()));
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
  DecodeOptions options;
  DecodeContext context;
  DecodeTiming timing;
};

}  // namespace

std::vector<DecodeTiming> time_decoders(const DecodeBenchOptions& options,
                                        const std::vector<RecordedAnswer>& answers) {
  ModelConfig config = shape_named(options.shape);
  config.vision.depth = 1;  // the prompt has no images
  config.vision.full_attention_blocks = {0};
  const int largest = *std::ranges::max_element(options.blocks);
  std::vector<std::unique_ptr<Model>> models;
  std::vector<Contestant> contestants;
  for (const std::string& precision : options.precisions) {
    models.push_back(load_random(config, precision, options.model));
    const auto chooser = std::make_shared<BlockChooser>(measure_pass_costs(*models.back(), largest), largest);
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
      decode_answer(*contestant.model, answers[i], contestant.options, contestant.context, options.prompt,
                    contestant.timing);
      progress.update(++done);
    }
  }
  std::vector<DecodeTiming> out;
  out.reserve(contestants.size());
  for (const Contestant& contestant : contestants) out.push_back(contestant.timing);
  return out;
}

}  // namespace dvlm
