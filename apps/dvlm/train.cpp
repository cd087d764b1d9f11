// dvlm train: training lives in a plugin, because it needs LibTorch and nothing else here does.
#include <dlfcn.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "core/error.h"

namespace dvlm {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPlugin = "libdvlm_torch_plugin.so";

constexpr const char* kTrainFooter = R"(Examples:
  dvlm train --config examples/tiny/ar.json         (from what ./dev train makes before it)
  dvlm train --config examples/tiny/convert.json
  dvlm train --config examples/tiny/ar.json --resume
  dvlm train --config examples/tiny/ar.json --set batch_size=8 --set max_minutes=10 --output runs/short

Ctrl-C saves a checkpoint and ends; --resume continues from it. docs/training.md explains every key.)";

// The plugin stands beside the program in a build folder, or in the library folder of an installation.
fs::path find_plugin() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& candidate : {folder / kPlugin, folder / ".." / DVLM_LIBRARY_FOLDER / kPlugin})
    if (fs::exists(candidate, error)) return candidate;
  fail("training needs LibTorch: run ./dev setup and build with -DDVLM_TORCH=ON, so that {} stands beside {}",
       kPlugin, (folder / "dvlm").string());
}

struct TrainArguments {
  std::string config, output;
  std::vector<std::string> overrides;
  bool resume = false;
};

void run_train(const TrainArguments& arguments) {
  const fs::path path = find_plugin();
  void* plugin = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!plugin) fail("cannot load {}: {}; build it again with ./dev setup", path.string(), dlerror());
  const auto train = reinterpret_cast<int (*)(const char*)>(dlsym(plugin, "dvlm_train"));
  if (!train) fail("{} is not dvlm's plugin or is of another version; build it again", path.string());
  // The plugin has told what went wrong; LibTorch is not unloaded, its threads may still run.
  const nlohmann::json request = {{"config", arguments.config},
                                  {"set", arguments.overrides},
                                  {"output", arguments.output},
                                  {"resume", arguments.resume}};
  if (const int status = train(request.dump().c_str())) end_with(status);
}

}  // namespace

void add_train(Command app) {
  auto arguments = std::make_shared<TrainArguments>();
  Command command = app.add("train", "Train a model, or convert one from autoregressive to block diffusion");
  command.text("--config", arguments->config, "JSON file that describes the run").required();
  command.repeated("--set", arguments->overrides, "Override one key of the file: key=value");
  command.text("--output", arguments->output, "Output folder instead of the file's");
  command.flag("--resume", arguments->resume, "Continue the run in the output folder");
  command.runs([arguments] { run_train(*arguments); }, kTrainFooter);
}

}  // namespace dvlm
