// The subcommands of `dvlm`, one file each.
#pragma once
#include <CLI/CLI.hpp>

namespace dvlm {

void add_run(CLI::App& app);
void add_inspect(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_serve(CLI::App& app);
void add_eval(CLI::App& app);
void add_synth(CLI::App& app);
void add_quantize(CLI::App& app);
void add_bench(CLI::App& app);
void add_bench_batch(CLI::App& bench);
void add_train(CLI::App& app);

}  // namespace dvlm
