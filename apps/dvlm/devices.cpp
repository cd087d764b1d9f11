// dvlm devices: what models can run on here.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "command.h"
#include "core/error.h"
#include "core/machine.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "cuda/cards.h"
#include "kernels/targets.h"
#include "output.h"

namespace dvlm {

namespace {

nlohmann::json describe(const cuda::CardInfo& card, int index) {
  nlohmann::json out = {{"device", "cuda:" + std::to_string(index)},
                        {"name", card.name},
                        {"processors", card.processors},
                        {"instructions", fmt::format("sm_{}{}", card.major, card.minor)},
                        {"precisions", {"bf16", "fp8"}},
                        {"memory", card.memory}};
  try {
    if (card.problem[0] != 0) fail("{}", card.problem);
    out["free"] = cuda::free_bytes(index);
  } catch (const Error& error) {
    out["problem"] = error.what();
  }
  return out;
}

nlohmann::json describe() {
  apply_isa_variable();
  nlohmann::json devices = {{{"device", "cpu"},
                             {"name", processor_name()},
                             {"threads", ThreadPool::default_threads()},
                             {"instructions", std::string(isa_name())},
                             {"precisions", {"f32", "bf16", "fp8", "int8", "int4"}},
                             {"free", available_memory_bytes()}}};
  nlohmann::json out = {{"devices", devices}};
  try {
    const std::vector<cuda::CardInfo> cards = cuda::cards();
    for (int i = 0; i < static_cast<int>(cards.size()); ++i) out["devices"].push_back(describe(cards[i], i));
  } catch (const Error& error) {
    out["no_cuda"] = error.what();
  }
  return out;
}

void print_table(const nlohmann::json& found) {
  for (const nlohmann::json& device : found["devices"]) {
    std::string precisions;
    for (const nlohmann::json& name : device["precisions"])
      precisions += (precisions.empty() ? "" : ", ") + name.get<std::string>();
    fmt::print("{:<8} {}: {}, ", device["device"].get<std::string>(),
               printable(device["name"].get<std::string>()), device["instructions"].get<std::string>());
    if (device.contains("problem"))
      fmt::print("not usable: {}\n", device["problem"].get<std::string>());
    else
      fmt::print("{} free; {}\n", bytes_text(device["free"].get<double>()), precisions);
  }
  if (found.contains("no_cuda")) fmt::print("no cuda: {}\n", found["no_cuda"].get<std::string>());
}

}  // namespace

void add_devices(Command app) {
  auto json = std::make_shared<bool>(false);
  Command command = app.add("devices", "What models can run on here, and why not on a card");
  command.flag("--json", *json, "Print JSON");
  command.runs(
      [json] {
        const nlohmann::json found = describe();
        *json ? print_json(found) : print_table(found);
      },
      "--device auto, the default elsewhere, takes the first card here that the model fits, else the CPU.\n"
      "Example:\n  dvlm devices");
}

}  // namespace dvlm
