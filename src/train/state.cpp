#include "train/state.h"

#include <fmt/format.h>

#include <charconv>

#include "checkpoint/safetensors.h"
#include "core/checksum.h"
#include "core/error.h"

namespace dvlm {

namespace {

constexpr const char* kChecksum = "checksum";

template <class Number>
Number number_in(const std::map<std::string, std::string>& metadata, const char* key,
                 const std::string& file) {
  const auto found = metadata.find(key);
  Number value{};
  if (found != metadata.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && end == text.data() + text.size() && value >= Number{}) return value;
  }
  fail("{} has no valid '{}' in its metadata; it is not the state of a training run", file, key);
}

// Of everything that a resumed run takes from the file.
std::string state_checksum(std::span<const NamedTensor> tensors,
                           std::map<std::string, std::string> metadata) {
  metadata.erase(kChecksum);
  std::string all;
  for (const auto& [key, value] : metadata) all += fmt::format("{}: {}\n", key, value);
  for (const NamedTensor& item : tensors)
    all +=
        fmt::format("{}: {:016x}\n", item.name, checksum(std::span(item.tensor.data, item.tensor.bytes())));
  return fmt::format("{:016x}", checksum(all));
}

}  // namespace

void save_state(const std::filesystem::path& folder, const std::map<std::string, torch::Tensor>& tensors,
                const RunState& run) {
  std::vector<torch::Tensor> kept;
  std::vector<NamedTensor> views;
  for (const auto& [name, tensor] : tensors) {
    kept.push_back(tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous());
    const torch::Tensor& t = kept.back();
    views.push_back({name, {DType::f32, t.sizes().vec(), static_cast<const std::byte*>(t.const_data_ptr())}});
  }
  std::map<std::string, std::string> metadata = {{"step", fmt::format("{}", run.step)},
                                                 {"seconds", fmt::format("{}", run.seconds)},
                                                 {"config", run.config}};
  metadata[kChecksum] = state_checksum(views, metadata);
  write_safetensors(folder / kStateFile, views, metadata);
}

RunState load_state(const std::filesystem::path& folder,
                    const std::map<std::string, torch::Tensor>& tensors) {
  const std::filesystem::path path = folder / kStateFile;
  if (!std::filesystem::exists(path))
    fail("nothing to resume: {} does not exist; start without --resume", path.string());
  const Safetensors file(path);
  std::vector<NamedTensor> views;
  for (const auto& [name, view] : file.tensors()) views.push_back({name, view});
  const auto sum = file.metadata().find(kChecksum);
  if (sum == file.metadata().end() || sum->second != state_checksum(views, file.metadata()))
    fail("{} is damaged, or an older dvlm wrote it: its checksum is not that of its content", path.string());
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors) {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end())
      fail("{} lacks '{}': it belongs to another model or another 'freeze' or 'ema_decay'", path.string(),
           name);
    const TensorView& view = found->second;
    if (view.shape != tensor.sizes().vec() || view.type != DType::f32)
      fail("{}: '{}' has shape {}, the model expects {}", path.string(), name, to_string(view.shape),
           to_string(tensor.sizes().vec()));
    torch::Tensor values = torch::empty(tensor.sizes(), torch::kFloat32);
    copy_to_float(view, 0, view.elements(), values.data_ptr<float>());
    tensor.copy_(values);
  }
  RunState run;
  run.step = number_in<int64_t>(file.metadata(), "step", path.string());
  run.seconds = number_in<double>(file.metadata(), "seconds", path.string());
  if (const auto config = file.metadata().find("config"); config != file.metadata().end())
    run.config = config->second;
  return run;
}

}  // namespace dvlm
