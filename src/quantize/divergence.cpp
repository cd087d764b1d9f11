#include "quantize/divergence.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"

namespace dvlm {

namespace {

std::vector<float> log_softmax(std::span<const float> logits) {
  const float highest = *std::ranges::max_element(logits);
  double total = 0;
  for (float value : logits) total += std::exp(double{value} - highest);
  const double offset = highest + std::log(total);
  std::vector<float> out;
  out.reserve(logits.size());
  for (float value : logits) out.push_back(static_cast<float>(value - offset));
  return out;
}

// Sums over the tokens so far.
struct Totals {
  double original = 0, quantized = 0;  // negative log likelihood
  int64_t same_top = 0;
  std::vector<float> divergences;
};

void add_sample(Engine& original, Engine& quantized, const Request& request, std::span<const TokenId> tokens,
                Totals& totals, const std::function<void(const WorkProgress&)>& on_progress) {
  const ModelConfig& config = original.config();
  const auto scored = [&](size_t i) { return i + 1 < tokens.size() && !config.is_pad(tokens[i + 1]); };
  std::vector<std::vector<float>> expected(tokens.size());
  original.score(
      request,
      [&](size_t i, std::span<const float> logits) {
        if (scored(i)) expected[i] = log_softmax(logits);
      },
      on_progress);
  quantized.score(
      request,
      [&](size_t i, std::span<const float> logits) {
        if (!scored(i)) return;
        const std::vector<float>& p = expected[i];
        const std::vector<float> q = log_softmax(logits);
        double divergence = 0;
        for (size_t v = 0; v < q.size(); ++v) divergence += std::exp(double{p[v]}) * (double{p[v]} - q[v]);
        totals.divergences.push_back(static_cast<float>(std::max(divergence, 0.0)));
        totals.same_top += std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
        const auto next = static_cast<size_t>(tokens[i + 1]);
        totals.original -= p[next];
        totals.quantized -= q[next];
      },
      on_progress);
}

}  // namespace

Divergence compare(Engine& original, Engine& quantized, std::span<const CalibrationSample> samples,
                   int length) {
  Totals totals;
  Progress progress("comparing", std::ssize(samples));
  for (size_t i = 0; i < samples.size(); ++i) {
    if (interrupted()) fail("the comparison was interrupted");
    const Request request = request_of(samples[i], original.tokenizer(), length);
    const std::vector<TokenId> tokens =
        request.input_ids.empty() ? original.prepare(request).tokens : request.input_ids;
    if (tokens.size() <= static_cast<size_t>(length))
      add_sample(original, quantized, request, tokens, totals, [&](const WorkProgress& work) {
        progress.update(static_cast<int64_t>(i), note_of(work));
        if (work.stage == Stage::prompt && interrupted()) fail("the comparison was interrupted");
      });
    progress.update(static_cast<int64_t>(i) + 1);
  }
  std::vector<float>& divergences = totals.divergences;
  if (divergences.empty()) fail("no sample of at most {} tokens is left to compare with", length);
  std::ranges::sort(divergences);
  const auto count = static_cast<double>(divergences.size());
  double sum = 0;
  for (float value : divergences) sum += value;
  return {.tokens = std::ssize(divergences),
          .original_perplexity = std::exp(totals.original / count),
          .quantized_perplexity = std::exp(totals.quantized / count),
          .mean_kl = sum / count,
          .median_kl = divergences[divergences.size() / 2],
          .p99_kl = divergences[static_cast<size_t>(0.99 * (count - 1))],
          .same_top = static_cast<double>(totals.same_top) / count};
}

}  // namespace dvlm
