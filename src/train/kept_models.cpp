#include "train/kept_models.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kStep = "step-";

// Of a run, not of a model.
bool is_of_run(const std::string& name) {
  return name.starts_with("training") || name.ends_with(".jsonl") || name.ends_with(".svg") ||
         name.ends_with(".partial");
}

int64_t step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  int64_t step = -1;
  if (!name.starts_with(kStep)) return step;
  const auto [end, error] = std::from_chars(name.data() + kStep.size(), name.data() + name.size(), step);
  return error == std::errc{} && end == name.data() + name.size() ? step : -1;
}

}  // namespace

void keep_model(const fs::path& output, const std::string& name) {
  const fs::path target = output / name, fresh = output / (name + ".partial");
  std::error_code error;
  fs::remove_all(fresh, error);
  make_folder(fresh);
  for (const auto& entry : fs::directory_iterator(output)) {
    const std::string file = entry.path().filename().string();
    if (!entry.is_regular_file() || is_of_run(file)) continue;
    // Files of a model are replaced, never written to: a link keeps what there is now.
    fs::create_hard_link(entry.path(), fresh / file, error);
    if (error) fs::copy_file(entry.path(), fresh / file, error);
    if (error) fail("cannot keep the model as {}: {}", target.string(), error.message());
  }
  fs::remove_all(target, error);
  fs::rename(fresh, target, error);
  if (error) fail("cannot keep the model as {}: {}", target.string(), error.message());
}

void remove_older_models(const fs::path& output, int count) {
  std::vector<fs::path> kept;
  for (const auto& entry : fs::directory_iterator(output))
    if (entry.is_directory() && step_of(entry.path()) >= 0) kept.push_back(entry.path());
  std::ranges::sort(kept, std::greater(), step_of);
  std::error_code ignored;
  for (size_t i = static_cast<size_t>(count); i < kept.size(); ++i) fs::remove_all(kept[i], ignored);
}

}  // namespace dvlm
