#include "measure/loading.h"

#include <fcntl.h>
#include <unistd.h>

#include "backends/load_model.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/memory.h"
#include "core/progress.h"
#include "core/stopwatch.h"
#include "kernels/mapped_memory.h"
#include "measure/random_checkpoint.h"
#include "native/weights.h"  // how much memory to touch: packed files are the CPU's

namespace dvlm {

namespace {

namespace fs = std::filesystem;

void write_checkpoint(const LoadBenchOptions& options, const fs::path& folder) {
  make_folder(folder);
  const RandomCheckpoint random(shape_named(options.shape), linears_in(options.precision));
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : random.checkpoint().tensors())
    tensors.push_back({published_name(name), tensor});
  write_config(folder, random.checkpoint().config());
  write_safetensors(folder / "model.safetensors", tensors);
}

// Drops what the system keeps of the file in memory.
void forget(const InputFile& file) {
  ::fsync(file.descriptor());
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
}

void read_through(const InputFile& file) {
  std::vector<char> piece(size_t{8} << 20);
  for (size_t at = 0; at < file.size() && !interrupted(); at += piece.size())
    file.read(piece.data(), piece.size(), at);
}

// A virtual machine's host takes back memory that was freed, and is slow to give it again: not ours to time.
void touch_memory(size_t bytes, ThreadPool& pool) {
  constexpr int64_t kPage = 4096;
  MappedMemory memory(bytes);
  pool.parallel_for(static_cast<int64_t>(bytes) / kPage, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) memory.data()[i * kPage] = std::byte{1};
  });
}

}  // namespace

std::vector<LoadTiming> time_loading(const LoadBenchOptions& options, Machine& machine) {
  const bool packs = machine.card().empty();
  // A checkpoint, a packed file, then two states of three measurements.
  Progress progress("measuring loads", packs ? 8 : 5);
  int done = 0;
  // A folder of its own inside: never beside a checkpoint that means something.
  const fs::path folder = options.folder / ("dvlm-bench-" + options.shape + "-" + options.precision);
  const fs::path file = folder / "model.safetensors", packed = folder / "packed";
  if (!fs::exists(file)) write_checkpoint(options, folder);
  progress.update(++done);
  const size_t weight_bytes = packed_bytes(Checkpoint(folder), WeightFormats{});
  const auto load_ms = [&](const fs::path& from) {
    touch_memory(weight_bytes, machine.pool());
    std::unique_ptr<Model> model;
    const double ms = milliseconds_of(
        [&] { model = load_model(Checkpoint(folder), machine.options({.packed_file = from})); });
    progress.update(++done);
    return ms;  // without the time to give the memory back
  };
  if (packs) load_ms(packed);
  std::vector<LoadTiming> out;
  for (const char* state : {"cold", "warm"}) {
    if (interrupted()) break;
    const bool cold = state == std::string("cold");
    const auto prepare = [&](const fs::path& path) { (cold ? forget : read_through)(InputFile(path)); };
    LoadTiming timing{.state = state};
    timing.file_bytes = static_cast<double>(fs::file_size(file));
    timing.weight_bytes = static_cast<double>(weight_bytes);
    prepare(file);
    timing.read_ms = milliseconds_of([&] { read_through(InputFile(file)); });
    progress.update(++done);
    prepare(file);
    timing.load_ms = load_ms({});
    if (packs) {
      prepare(packed);
      timing.packed_ms = load_ms(packed);
    }
    if (interrupted()) break;
    timing.peak_bytes = static_cast<double>(peak_rss_bytes());
    out.push_back(timing);
  }
  return out;
}

}  // namespace dvlm
