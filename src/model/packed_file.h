// Repacked weights in one file, so that the next start reads them in the kernels' order instead of repacking.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "core/files.h"
#include "core/thread_pool.h"
#include "kernels/matrix.h"

namespace dvlm {

// Bound to an identity: of the checkpoint's files and of how they are packed. A file with another identity,
// or one that was cut short, is written anew; a file that is no such file is never touched. Nothing here is
// fatal but that: what cannot be read or written costs only time, and a warning.
class PackedFile {
 public:
  // Throws Error when `path` exists and is something else.
  PackedFile(std::filesystem::path path, std::string identity);
  ~PackedFile();

  // Whether the file holds this identity: then matrices are taken from it, else given to it.
  bool complete() const { return file_ >= 0; }

  // The matrix written under this name, or an empty one when the file cannot give it.
  PackedMatrix read(const std::string& name, ThreadPool& pool);
  void write(const std::string& name, PackedMatrix& matrix);
  // After the last write: the file appears under its name.
  void commit();

 private:
  struct Entry {
    int outputs, inputs;
    WeightFormat format;
    bool bias;
    uint64_t offset;  // of its parts, each aligned to kAlignment
  };
  bool open_existing();
  void pad();

  std::filesystem::path path_;
  std::string identity_;
  std::map<std::string, Entry> entries_;
  int file_ = -1;
  std::unique_ptr<FileWriter> writer_;
  uint64_t written_ = 0;
};

}  // namespace dvlm
