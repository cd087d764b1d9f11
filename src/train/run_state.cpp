#include "train/run_state.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <vector>

#include "core/checksum.h"
#include "core/error.h"
#include "train/config.h"

namespace dvlm {

namespace {

constexpr const char* kChecksum = "checksum";

template <class Number>
Number number_in(const std::map<std::string, std::string>& metadata, const char* key, const std::string& file,
                 Number most = std::numeric_limits<Number>::max()) {
  const auto found = metadata.find(key);
  Number value{};
  if (found != metadata.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    if (whole && value >= Number{} && value <= most) return value;
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

std::map<std::string, std::string> state_metadata(const RunState& run, std::span<const NamedTensor> tensors) {
  std::map<std::string, std::string> metadata = {{"step", fmt::format("{}", run.step)},
                                                 {"seconds", fmt::format("{}", run.seconds)},
                                                 {"config", run.config},
                                                 {"data", run.data},
                                                 {"passes", fmt::format("{}", run.passes)},
                                                 {"parts", fmt::format("{}", run.parts)},
                                                 {"applied", fmt::format("{}", run.applied)},
                                                 {"bad", fmt::format("{}", run.bad)},
                                                 {"dropped", fmt::format("{}", run.dropped)},
                                                 {"shrunk", fmt::format("{}", run.shrunk)},
                                                 {"skipped", fmt::format("{}", run.skipped)}};
  metadata[kChecksum] = state_checksum(tensors, metadata);
  return metadata;
}

RunState read_run_state(const Safetensors& file, const std::string& name) {
  std::vector<NamedTensor> views;
  for (const auto& [tensor, view] : file.tensors()) views.push_back({tensor, view});
  const auto sum = file.metadata().find(kChecksum);
  if (sum == file.metadata().end() || sum->second != state_checksum(views, file.metadata()))
    fail("{} is damaged, or an older dvlm wrote it: its checksum is not that of its content", name);
  RunState run;
  run.step = number_in<int64_t>(file.metadata(), "step", name, kMaxSteps);
  run.seconds = number_in<double>(file.metadata(), "seconds", name);
  if (const auto config = file.metadata().find("config"); config != file.metadata().end())
    run.config = config->second;
  if (const auto data = file.metadata().find("data"); data != file.metadata().end()) run.data = data->second;
  run.passes = number_in<int64_t>(file.metadata(), "passes", name);
  run.parts = number_in<int64_t>(file.metadata(), "parts", name);
  run.applied = number_in<int64_t>(file.metadata(), "applied", name, run.step);
  run.bad = number_in<int64_t>(file.metadata(), "bad", name);
  run.dropped = number_in<int64_t>(file.metadata(), "dropped", name);
  run.shrunk = number_in<int64_t>(file.metadata(), "shrunk", name);
  run.skipped = number_in<int64_t>(file.metadata(), "skipped", name);
  return run;
}

}  // namespace dvlm
