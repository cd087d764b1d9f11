#include "train/survey.h"

#include <algorithm>

#include "core/error.h"
#include "core/stopwatch.h"
#include "text/tokenizer.h"
#include "train/batch.h"
#include "train/training_row.h"

namespace dvlm {

namespace {

PassSize size_of(const Sample& sample, const TrainConfig& config, const StreamTokens& tokens) {
  const Row row = training_row(sample, config, tokens, config.block_size);
  PassSize out;
  out.length = std::ssize(row.tokens);
  out.scored = std::ssize(row.noisy) + std::ssize(row.clean) + std::ssize(row.regions);
  for (const Patches& visual : sample.visuals) out.patches += visual.grid.patches();
  return out;
}

}  // namespace

Survey survey(const TrainConfig& config, const Dataset& dataset, const ModelConfig& model,
              const SurveyLimits& limits) {
  const Clock::time_point start = Clock::now();
  const Tokenizer tokenizer(config.model);
  const SampleContext context{
      tokenizer, model, answer_markers(tokenizer), config.max_length, config.min_pixels, config.max_pixels};
  const StreamTokens tokens = stream_tokens(tokenizer, model);
  Survey out;
  out.records = dataset.size();
  const int64_t step = std::max<int64_t>(1, dataset.size() / limits.records);
  for (int64_t i = 0; i < dataset.size() && out.read < limits.records; i += step, ++out.read) {
    if (seconds_since(start) > limits.seconds) break;
    try {
      const Sample sample = dataset.load(i, context);
      out.shrunk += sample.shrunk;
      if (sample.ids.empty()) {
        ++out.dropped;
        continue;
      }
      const PassSize size = size_of(sample, config, tokens);
      out.tokens.push_back(std::ssize(sample.ids));
      out.largest.length = std::max(out.largest.length, padded_length(size.length));
      out.largest.patches = std::max(out.largest.patches, size.patches * config.batch_size);
      out.largest.scored = std::max(out.largest.scored, size.scored * config.batch_size);
    } catch (const Error& error) {
      if (++out.bad == 1) out.first_bad = error.what();
    }
  }
  out.largest.rows = out.largest.length * config.batch_size;
  std::ranges::sort(out.tokens);
  return out;
}

}  // namespace dvlm
