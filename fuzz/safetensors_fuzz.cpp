// A safetensors file from anywhere: it is read, or refused with an Error.
#include <cstdint>
#include <string_view>

#include "checkpoint/safetensors.h"
#include "core/error.h"
#include "core/files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto path = std::filesystem::temp_directory_path() / "dvlm-fuzz.safetensors";
  dvlm::write_file(path, {reinterpret_cast<const char*>(data), size});
  try {
    const dvlm::Safetensors file(path);
    for (const auto& [name, tensor] : file.tensors())
      if (tensor.bytes() > 0)
        static_cast<void>(*(static_cast<const volatile std::byte*>(tensor.data) + tensor.bytes() - 1));
  } catch (const dvlm::Error&) {
  }
  return 0;
}
