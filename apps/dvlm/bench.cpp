// dvlm bench: the speed of passes on this machine, beside what the machine could do.
#include <cstdio>

#include "commands.h"
#include "core/interrupt.h"
#include "kernels/targets.h"
#include "measure/passes.h"

namespace dvlm {

namespace {

struct BenchOptions {
  PassOptions passes;
  int threads = 0;
  bool json = false;
};

nlohmann::json to_json(const PassTiming& t) {
  return {{"precision", t.precision},
          {"rows", t.rows},
          {"context", t.context},
          {"ms", t.ms},
          {"bytes", t.bytes},
          {"flops", t.flops},
          {"probe_gb_per_s", t.probe_gb_per_s},
          {"probe_gflops", t.probe_gflops},
          {"roofline_ratio", t.roofline_ratio()}};
}

void bench_pass(const BenchOptions& options) {
  install_interrupt_handler();
  apply_isa_variable();
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::default_threads());
  const std::vector<PassTiming> timings = time_passes(options.passes, pool);
  if (options.json) {
    nlohmann::json out = {{"shape", options.passes.shape}, {"threads", pool.threads()}, {"isa", isa_name()}};
    for (const PassTiming& timing : timings) out["passes"].push_back(to_json(timing));
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf(
      "shape %s, %d threads, %s; roofline: the larger of bytes over read bandwidth and work over the "
      "multiply rate, both measured in turn with the passes\n\n",
      options.passes.shape.c_str(), pool.threads(), std::string(isa_name()).c_str());
  std::printf(
      "| precision | rows | context | ms | GB | GFLOP | GB/s probe | GFLOP/s probe | x roofline |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const PassTiming& t : timings)
    std::printf("| %s | %d | %d | %.2f | %.3f | %.2f | %.1f | %.0f | %.2f |\n", t.precision.c_str(), t.rows,
                t.context, t.ms, t.bytes / 1e9, t.flops / 1e9, t.probe_gb_per_s, t.probe_gflops,
                t.roofline_ratio());
}

}  // namespace

void add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* bench = app.add_subcommand("bench", "Measure speed against the bounds of this machine");
  bench->require_subcommand(1);
  CLI::App* command =
      bench->add_subcommand("pass", "Time single passes with random weights of a published shape");
  command->add_option("--shape", options->passes.shape, "Shape of the model")
      ->check(CLI::IsMember({"3b", "tiny"}))
      ->capture_default_str();
  command->add_option("--precision", options->passes.precisions, "Which precisions")
      ->check(CLI::IsMember({"bf16", "fp8"}))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--rows", options->passes.rows, "Tokens per pass")
      ->check(CLI::Range(1, 4096))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--context", options->passes.contexts, "Committed tokens before them")
      ->check(CLI::Range(0, 100'000))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--repeats", options->passes.repeats, "Passes per line, of which the median is shown")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Example:\n  dvlm bench pass --shape 3b --precision bf16,fp8 --rows 1,8,32 --context 0,1024");
  command->callback([options] { bench_pass(*options); });
}

}  // namespace dvlm
