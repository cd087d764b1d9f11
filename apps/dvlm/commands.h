// The subcommands of `dvlm`, one file each.
#pragma once
#include "command.h"

namespace dvlm {

void add_run(Command app);
void add_inspect(Command app);
void add_tokenize(Command app);
void add_serve(Command app);
void add_eval(Command app);
void add_synth(Command app);
void add_quantize(Command app);
void add_bench(Command app);
void add_train(Command app);

}  // namespace dvlm
