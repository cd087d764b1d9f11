#include "backends/load_model.h"

#include <map>

#include "core/error.h"
#include "native/native.h"

namespace dvlm {

namespace {

std::map<std::string, ModelLoader>& loaders() {
  static std::map<std::string, ModelLoader> known = {{"cpu", load_native}};
  return known;
}

}  // namespace

void add_backend(const std::string& device, ModelLoader load) {
  loaders()[device] = load;
}

std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  const auto found = loaders().find(options.device);
  if (found == loaders().end()) {
    std::string names;
    for (const auto& [name, load] : loaders()) names += (names.empty() ? "" : ", ") + name;
    fail("there is no device \"{}\"; this program has: {}", options.device, names);
  }
  return found->second(checkpoint, options);
}

}  // namespace dvlm
