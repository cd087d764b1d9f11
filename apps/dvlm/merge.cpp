// dvlm merge: a model with an adapter merged into its weights, as a folder of its own.
#include <cstdio>

#include "checkpoint/merge.h"
#include "command.h"
#include "options.h"

namespace dvlm {

namespace {

struct MergeOptions {
  std::string model, lora, output;
};

void merge(const MergeOptions& options) {
  write_merged(model_folder(options.model), options.lora, options.output);
  std::printf("written to %s\n", options.output.c_str());
}

}  // namespace

void add_merge(Command app) {
  auto options = std::make_shared<MergeOptions>();
  Command command = app.add("merge", "Write a model with a LoRA adapter merged into its weights");
  command.text(
      "-m,--model", options->model,
      "Hugging Face folder, or org/name that was pulled (default: the dvlm-tiny that comes with dvlm)");
  command.text("--lora", options->lora, "Folder of the adapter, as PEFT or dvlm train writes it").required();
  command.text("-o,--output", options->output, "Folder to write").required();
  command.runs([options] { merge(*options); },
               "Example:\n"
               "  dvlm merge -m models/Qwen2.5-VL-3B-Instruct --lora runs/lora -o models/mine");
}

}  // namespace dvlm
