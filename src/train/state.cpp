#include "train/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <set>

#include "checkpoint/safetensors.h"
#include "core/error.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

std::string written_file(int64_t part, const RunState& run) {
  return fmt::format("training-{}-{}-of-{}.safetensors", run.step, part + 1, run.parts);
}

std::string file_of(int64_t part, const RunState& run) {
  return part == 0 ? kStateFile : written_file(part, run);
}

// A whole tensor has its own name and shape; a piece is flat, and its name ends with "@FIRST/ELEMENTS".
std::string name_in_file(const StatePiece& piece) {
  const int64_t all = c10::multiply_integers(piece.shape);
  return piece.values.numel() == all ? piece.name : fmt::format("{}@{}/{}", piece.name, piece.begin, all);
}

// What the files hold of one tensor.
struct Stored {
  int64_t begin = 0, all = 0;
  std::vector<int64_t> shape;  // of a whole tensor
  TensorView view;
};

void add(std::map<std::string, std::vector<Stored>>& all, const std::string& name, const TensorView& view,
         const std::string& file) {
  const size_t at = name.find('@'), slash = name.find('/', std::min(at, name.size()));
  if (view.type != DType::f32) fail("{}: '{}' is not in float", file, printable(name));
  if (at == std::string::npos) {
    all[name].push_back({0, view.elements(), view.shape, view});
    return;
  }
  Stored stored{0, 0, {}, view};
  const auto number = [&](size_t from, size_t to, int64_t& out) {
    const auto [end, error] = std::from_chars(name.data() + from, name.data() + to, out);
    return error == std::errc{} && end == name.data() + to && out >= 0;
  };
  if (slash == std::string::npos || !number(at + 1, slash, stored.begin) ||
      !number(slash + 1, name.size(), stored.all) || stored.begin > stored.all - view.elements())
    fail("{}: '{}' is no piece of a tensor", file, printable(name));
  all[name.substr(0, at)].push_back(stored);
}

void fill(const StatePiece& piece, const std::vector<Stored>& from, const std::string& file) {
  const int64_t end = piece.begin + piece.values.numel();
  torch::Tensor values = torch::empty({piece.values.numel()}, torch::kFloat32);
  int64_t at = piece.begin;
  for (bool found = true; found && at < end;) {
    found = false;
    for (const Stored& stored : from) {
      const int64_t there = stored.begin + stored.view.elements();
      if (stored.all != c10::multiply_integers(piece.shape) ||
          (!stored.shape.empty() && stored.shape != piece.shape))
        fail("{}: '{}' has shape {}, the model expects {}", file, piece.name,
             stored.shape.empty() ? fmt::format("[{}]", stored.all) : to_string(stored.shape),
             to_string(piece.shape));
      if (at < stored.begin || at >= there) continue;
      const int64_t count = std::min(there, end) - at;
      copy_to_float(stored.view, at - stored.begin, count, values.data_ptr<float>() + (at - piece.begin));
      at += count, found = true;
    }
  }
  if (at < end) fail("{}: some of '{}' is missing", file, piece.name);
  const torch::NoGradGuard no_grad;
  torch::Tensor(piece.values).copy_(values);
}

void remove_others(const fs::path& folder, const RunState& run) {
  std::set<std::string> kept;
  for (int64_t part = 0; part < run.parts; ++part) kept.insert(file_of(part, run));
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool part =
        name.ends_with(".safetensors") || name.ends_with(".partial");  // the latter of a killed process
    if (name.starts_with("training-") && part && !kept.contains(name)) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

StateWriter::StateWriter(fs::path folder, std::span<const StatePiece> pieces, RunState run,
                         const Ranks& ranks)
    : folder_(std::move(folder)),
      run_(std::move(run)),
      part_(ranks.rank()),
      pieces_(pieces.begin(), pieces.end()) {
  run_.parts = ranks.size();
  for (StatePiece& piece : pieces_) piece.values = piece.values.detach().to(torch::kCPU).contiguous();
}

void StateWriter::write() const {
  std::vector<NamedTensor> views;
  for (const StatePiece& piece : pieces_) {
    const bool whole = piece.values.numel() == c10::multiply_integers(piece.shape);
    views.push_back({name_in_file(piece),
                     {DType::f32, whole ? piece.shape : std::vector<int64_t>{piece.values.numel()},
                      static_cast<const std::byte*>(piece.values.const_data_ptr())}});
  }
  std::ranges::sort(views, {}, &NamedTensor::name);  // as who reads them finds them
  write_safetensors(folder_ / written_file(part_, run_), views, state_metadata(run_, views));
}

void StateWriter::commit(const Ranks& ranks) const {
  ranks.wait();
  if (ranks.first()) {
    std::error_code error;
    fs::rename(folder_ / written_file(0, run_), folder_ / kStateFile, error);
    if (error) fail("cannot replace {}: {}", (folder_ / kStateFile).string(), error.message());
    remove_others(folder_, run_);
  }
  ranks.wait();  // what the others write next is not to be removed
}

RunState load_state(const fs::path& folder, std::span<const StatePiece> pieces) {
  const fs::path path = folder / kStateFile;
  if (!fs::exists(path)) fail("nothing to resume: {} does not exist; start without --resume", path.string());
  std::vector<std::unique_ptr<Safetensors>> files;
  std::map<std::string, std::vector<Stored>> stored;
  const auto open = [&](const fs::path& file) {
    files.push_back(std::make_unique<Safetensors>(file));
    RunState run = read_run_state(*files.back(), file.string());
    for (const auto& [name, view] : files.back()->tensors()) add(stored, name, view, file.string());
    return run;
  };
  RunState run = open(path);
  for (int64_t part = 1; part < run.parts; ++part) {
    const fs::path other = folder / file_of(part, run);
    if (!fs::exists(other)) fail("{} is missing: {} needs it to continue", other.string(), path.string());
    const RunState its = open(other);
    if (its.step != run.step || its.data != run.data || its.passes != run.passes || its.parts != run.parts)
      fail("{} is not of the same run and step as {}", other.string(), path.string());
  }
  for (const StatePiece& piece : pieces) {
    const auto found = stored.find(piece.name);
    if (found == stored.end())
      fail("{} lacks '{}': it belongs to another model or another 'freeze' or 'ema_decay'", path.string(),
           piece.name);
    fill(piece, found->second, path.string());
  }
  return run;
}

}  // namespace dvlm
