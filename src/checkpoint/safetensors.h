// The safetensors format: reading (memory-mapped, hostile input) and writing.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "core/memory.h"
#include "core/tensor.h"

namespace dvlm {

// One .safetensors file. Views stay valid as long as the object lives.
class Safetensors {
 public:
  // Throws Error when the header lies: length beyond the file or above 100 MB, bad JSON, unknown dtype, shape
  // that does not match its byte range, overlapping ranges, ranges outside the file.
  explicit Safetensors(const std::filesystem::path& path);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  TensorView tensor;
};

// Writes one file (atomically). Data is contiguous, as other readers of the format demand, and starts 64-byte
// aligned; wider element types come first, so that every tensor is aligned to its element size.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace dvlm
