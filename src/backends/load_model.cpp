#include "backends/load_model.h"

#include <map>
#include <optional>

#include "backends/choose_device.h"
#include "core/card_number.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "cuda/cards.h"
#include "cuda/model.h"
#include "model/device_lost.h"
#include "native/native.h"

namespace dvlm {

namespace {

std::map<std::string, ModelLoader>& loaders() {
  static std::map<std::string, ModelLoader> known = {{"cpu", load_native}};
  return known;
}

DeviceChoice automatic(const Checkpoint& checkpoint, const ModelOptions& options) {
  try {
    const std::vector<cuda::CardInfo> cards = cuda::cards();
    if (options.precision == Precision::automatic && checkpoint.head().type == DType::f32)
      return {"cpu", "the checkpoint is in F32, which a card would round to bf16: --device cuda does so"};
    return choose_device(cards, cuda::free_bytes, cuda::least_bytes(checkpoint, options), options);
  } catch (const Error& error) {
    return {"cpu", error.what()};
  }
}

std::unique_ptr<Model> load_automatically(const Checkpoint& checkpoint, ModelOptions options) {
  options.device = "cpu";
  if (!cuda::has_plugin()) return load_model(checkpoint, options);
  const auto take = [&](const DeviceChoice& choice) {
    options.device = choice.device;
    if (options.on_device) options.on_device(choice.device, choice.reason);
  };
  take(automatic(checkpoint, options));
  if (options.device == "cpu") return load_model(checkpoint, options);
  try {
    return load_model(checkpoint, options);
  } catch (const DeviceLost&) {
    throw;
  } catch (const std::runtime_error& error) {
    if (interrupted()) throw;
    take({"cpu", error.what()});
  }
  return load_model(checkpoint, options);
}

}  // namespace

void add_backend(const std::string& device, ModelLoader load) {
  loaders()[device] = load;
}

std::shared_ptr<cuda::Device> open_card(const std::string& device) {
  const std::optional<int> card = card_number(device);
  return card ? cuda::open_card(*card) : nullptr;
}

std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  if (options.device == "auto") return load_automatically(checkpoint, options);
  if (const std::shared_ptr<cuda::Device> card = open_card(options.device))
    return cuda::load_model(checkpoint, card, options);
  const auto found = loaders().find(options.device);
  if (found == loaders().end()) {
    std::string names = "auto, cuda, cuda:1";
    for (const auto& [name, load] : loaders()) names += ", " + name;
    fail("there is no device \"{}\"; this program has: {}", options.device, names);
  }
  return found->second(checkpoint, options);
}

}  // namespace dvlm
