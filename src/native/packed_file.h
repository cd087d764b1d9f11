// Repacked weights in one file, so that the next start reads them in the kernels' order instead of repacking.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/thread_pool.h"
#include "kernels/matrix.h"
#include "model/load_progress.h"

namespace dvlm {

// Bound to an identity: of the checkpoint's files and of how they are packed. A file with another identity,
// or one that was cut short, is written anew; a file that is something else is never touched. But for that
// nothing here is fatal: what is damaged or cannot be read or written costs time and a warning.
class PackedFile {
 public:
  // Throws Error when `path` exists and is something else.
  PackedFile(std::filesystem::path path, std::string identity);

  // Whether the file holds this identity: then matrices are taken from it, else given to it.
  bool complete() const { return file_ != nullptr; }

  // Has `matrix` filled by finish() with what was written under this name, wherever it is moved until then;
  // false when the file does not hold one of its shape.
  bool read(const std::string& name, PackedMatrix& matrix);
  void write(const std::string& name, PackedMatrix& matrix);
  // After the last matrix: those read are filled, or the file appears under its name. False: they are not,
  // see begin_anew(). Throws Error after Ctrl-C.
  bool finish(ThreadPool& pool, LoadProgress& progress);
  // Forgets what the file holds: matrices are given to it from now on.
  void begin_anew();

 private:
  struct Entry {
    int64_t outputs, inputs, format;
    bool bias;
    uint64_t offset;             // of its parts, each aligned to kAlignment
    std::vector<uint64_t> sums;  // of the pieces of each part, in their order
  };
  static Entry entry_of(const PackedMatrix& matrix, uint64_t offset);
  struct Piece {
    std::span<std::byte> to;
    uint64_t offset, sum;
  };
  bool read_index(uint64_t size);
  bool fill(ThreadPool& pool, LoadProgress& progress);
  void commit();
  void pad();

  std::filesystem::path path_;
  std::string identity_;
  std::map<std::string, Entry> entries_;
  std::unique_ptr<InputFile> file_;
  uint64_t end_ = 0;  // of the matrices in it
  bool warned_ = false;
  std::vector<Piece> pieces_;  // to fill
  std::unique_ptr<FileWriter> writer_;
  uint64_t written_ = 0;
};

}  // namespace dvlm
