// dvlm bench batch: what several requests at once are worth.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "core/interrupt.h"
#include "core/thread_pool.h"
#include "kernels/targets.h"
#include "measure/batching.h"
#include "options.h"

namespace dvlm {

namespace {

struct BatchBench {
  BatchBenchOptions batch;
  std::string acceptance, draft_precision = "same";
  bool json = false;
};

// Tokens per second over those of one request with the same precision and decoder.
double gain(const BatchTiming& timing, const std::vector<BatchTiming>& all) {
  for (const BatchTiming& one : all) {
    if (one.precision == timing.precision && one.decoder == timing.decoder && one.tokens_per_s() > 0)
      return timing.tokens_per_s() / one.tokens_per_s();
  }
  return 0;
}

void print_json(const BatchBench& options, const std::vector<BatchTiming>& timings) {
  nlohmann::json out = {{"shape", options.batch.shape},
                        {"threads", options.batch.model.threads},
                        {"isa", isa_name()},
                        {"draft_precision", options.draft_precision}};
  for (const BatchTiming& t : timings)
    out["batch"].push_back({{"precision", t.precision},
                            {"decoder", t.decoder},
                            {"block_size", t.block_size},
                            {"concurrent", t.concurrent},
                            {"tokens", t.tokens},
                            {"passes", t.passes},
                            {"ms", t.ms},
                            {"tokens_per_s", t.tokens_per_s()}});
  std::printf("%s\n", out.dump().c_str());
}

void bench_batch(BatchBench& options) {
  install_interrupt_handler();
  apply_isa_variable();
  const std::vector<RecordedAnswer> answers = read_acceptance(options.acceptance);
  options.batch.model.draft = parse_draft_precision(options.draft_precision);
  if (options.batch.model.threads == 0) options.batch.model.threads = ThreadPool::default_threads();
  const std::vector<BatchTiming> timings = time_batches(options.batch, answers);
  if (options.json) return print_json(options, timings);
  std::printf("shape %s, %d threads, %s; draft weights: %s; drafts worth what they were in %s\n\n",
              options.batch.shape.c_str(), options.batch.model.threads, std::string(isa_name()).c_str(),
              options.draft_precision.c_str(), options.acceptance.c_str());
  std::printf(
      "| precision | decoder | block | requests | tokens | passes | tokens/s | x the first |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const BatchTiming& t : timings)
    std::printf("| %s | %s | %d | %zu | %d | %d | %.2f | %.2f |\n", t.precision.c_str(), t.decoder.c_str(),
                t.block_size, t.concurrent, t.tokens, t.passes, t.tokens_per_s(), gain(t, timings));
}

}  // namespace

void add_bench_batch(Command bench) {
  auto options = std::make_shared<BatchBench>();
  BatchBenchOptions& batch = options->batch;
  Command command =
      bench.add("batch", "Time requests that share passes, with random weights of a published shape");
  add_acceptance_option(command, options->acceptance);
  add_shape_options(command, batch.shape, batch.precisions);
  command.choices("--decoders", batch.decoders, decoder_names(true), "Which decoders");
  command.numbers("--concurrent", batch.concurrent, 1, 64, "Requests at once; the first is the base");
  add_draft_option(command, options->draft_precision);
  command.number("--block-size", batch.block_size, 2, 256, "Of drafts; auto takes any up to it");
  command.number("--prompt-tokens", batch.prompt, 1, 100'000, "Tokens before each answer");
  command.number("-n,--max-tokens", batch.max_tokens, 2, 4096, "Most tokens of each answer");
  command.number("--rounds", batch.rounds, 1, 1000, "Times that every setting is measured, in turn");
  add_output_options(command, batch.model.threads, options->json);
  command.runs([options] { bench_batch(*options); },
               "Example:\n  dvlm bench batch --acceptance bench/acceptance-tiny.json --precision fp8");
}

}  // namespace dvlm
