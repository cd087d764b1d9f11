// dvlm train: training lives in a plugin, because it needs LibTorch and nothing else here does.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "core/plugin.h"
#include "options.h"

namespace dvlm {

namespace {

constexpr const char* kTrainFooter = R"(Examples:
  dvlm train --config examples/tiny/ar.json         (from what ./dev train makes before it)
  dvlm train --config examples/tiny/convert.json
  dvlm train --config examples/tiny/ar.json --resume
  dvlm train --config examples/tiny/ar.json --set batch_size=8 --set max_minutes=10 --output runs/short
  dvlm train --config examples/tiny/ar.json --set device=cuda   (on an NVIDIA card)
  dvlm train --config examples/3b/convert.json --plan --processes 8 --memory 80GB

Ctrl-C saves a checkpoint and ends; --resume continues from it. docs/training.md explains every key.)";

struct TrainArguments {
  std::string config, output;
  std::vector<std::string> overrides;
  bool resume = false, plan = false;
  int processes = 1;
  std::string memory;
};

void run_train(const TrainArguments& arguments) {
  const Plugin plugin("libdvlm_torch_plugin.so", "training",
                      "run ./dev setup and build with -DDVLM_TORCH=ON, for it needs LibTorch");
  // The plugin has told what went wrong.
  const nlohmann::json request = {{"config", arguments.config},
                                  {"set", arguments.overrides},
                                  {"output", arguments.output},
                                  {"resume", arguments.resume},
                                  {"plan", arguments.plan},
                                  {"processes", arguments.processes},
                                  {"memory", parse_bytes(arguments.memory, "--memory")}};
  if (const int status = plugin.function<int(const char*)>("dvlm_train")(request.dump().c_str()))
    end_with(status);
}

}  // namespace

void add_train(Command app) {
  auto arguments = std::make_shared<TrainArguments>();
  Command command = app.add("train", "Train a model, or convert one from autoregressive to block diffusion");
  command.text("--config", arguments->config, "JSON file that describes the run").required();
  command.repeated("--set", arguments->overrides, "Override one key of the file: key=value");
  command.text("--output", arguments->output, "Output folder instead of the file's");
  command.flag("--resume", arguments->resume, "Continue the run in the output folder");
  command.flag("--plan", arguments->plan,
               "Train nothing: parameters, data, memory of each device; status 1 where it does not fit");
  command.number("--processes", arguments->processes, 1, 1 << 16, "With --plan: how many there will be");
  command.text("--memory", arguments->memory,
               "With --plan: of a device, e.g. 80GB; without it, what is free here");
  command.needs("--processes", "--plan");
  command.needs("--memory", "--plan");
  command.runs([arguments] { run_train(*arguments); }, kTrainFooter);
}

}  // namespace dvlm
