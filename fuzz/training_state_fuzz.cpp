// The state of a stopped training run from anywhere: what is resumed is a run, and of a state that was
// written every change is noticed or changes nothing. An input that begins with { is the metadata of a file
// whose checksum is right, and bytes behind its line are where that file is damaged.
#include <cmath>
#include <optional>

#include "core/files.h"
#include "json_files.h"
#include "json_mutator.h"
#include "train/config.h"
#include "train/run_state.h"

namespace {

using namespace dvlm;

std::optional<RunState> state_in(std::string_view content) {
  const fuzz::MemoryFile file(content);
  std::optional<RunState> run;
  fuzz::accepts([&] { run = read_run_state(Safetensors(file.path()), "state"); });
  if (run) DVLM_ASSERT(run->step >= 0 && run->seconds >= 0 && std::isfinite(run->seconds));
  return run;
}

std::string text_of_member(const fuzz::json& document, const char* key) {
  return document.contains(key) ? fuzz::text_in(document.at(key)) : "";
}

// Two tensors and the numbers of the document, as a trainer writes them.
std::string written(const RunState& run) {
  static const fuzz::Folder folder;
  const float values[] = {1, 2, 3, 4, 5};
  const auto* const bytes = reinterpret_cast<const std::byte*>(values);
  const NamedTensor tensors[] = {{"adam/a", {DType::f32, {2}, bytes}},
                                 {"b", {DType::f32, {3, 1}, bytes + 8}}};
  write_safetensors(folder.path() / "state", tensors, state_metadata(run, tensors));
  return read_file(folder.path() / "state");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  if (size == 0 || data[0] != '{') {
    state_in(input.rest());
    return 0;
  }
  const fuzz::json document = fuzz::document_of(input);
  RunState run;
  run.step = std::atoll(text_of_member(document, "step").c_str());
  run.seconds = std::atof(text_of_member(document, "seconds").c_str());
  run.config = replace_invalid_utf8(text_of_member(document, "config"));
  std::string content = written(run);
  const auto found = state_in(content);
  DVLM_ASSERT(found.has_value() ==
              (run.step >= 0 && run.step <= kMaxSteps && run.seconds >= 0 && std::isfinite(run.seconds)));
  if (found)
    DVLM_ASSERT(found->step == run.step && found->seconds == run.seconds && found->config == run.config);
  for (int left = 4; left > 0 && !input.empty(); --left) {
    const size_t at = input.number(2) % content.size();
    content[at] = static_cast<char>(content[at] ^ (1 << input.below(8)));
    const auto damaged = state_in(content);
    if (damaged) DVLM_ASSERT(found && damaged->step == run.step && damaged->config == run.config);
  }
  return 0;
}
