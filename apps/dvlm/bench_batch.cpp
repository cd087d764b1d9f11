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

void add_bench_batch(CLI::App& bench) {
  auto options = std::make_shared<BatchBench>();
  CLI::App* command = bench.add_subcommand(
      "batch", "Time requests that share passes, with random weights of a published shape");
  command->add_option("--acceptance", options->acceptance, "What dvlm bench record wrote")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--shape", options->batch.shape, "Shape of the model")
      ->check(CLI::IsMember({"3b", "tiny"}))
      ->capture_default_str();
  command->add_option("--precision", options->batch.precisions, "Which precisions")
      ->check(CLI::IsMember({"bf16", "fp8"}))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--decoders", options->batch.decoders, "Which decoders")
      ->check(CLI::IsMember({"ar", "spec", "fused", "auto"}))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--concurrent", options->batch.concurrent, "Requests at once; the first is the base")
      ->check(CLI::Range(1, 64))
      ->delimiter(',')
      ->capture_default_str();
  add_draft_option(*command, options->draft_precision);
  command->add_option("--block-size", options->batch.block_size, "Of drafts; auto takes any up to it")
      ->check(CLI::Range(2, 256))
      ->capture_default_str();
  command->add_option("--prompt-tokens", options->batch.prompt, "Tokens before each answer")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("-n,--max-tokens", options->batch.max_tokens, "Most tokens of each answer")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  command->add_option("--rounds", options->batch.rounds, "Times that every setting is measured, in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", options->batch.model.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Example:\n  dvlm bench batch --acceptance bench/acceptance-tiny.json --precision fp8");
  command->callback([options] { bench_batch(*options); });
}

}  // namespace dvlm
