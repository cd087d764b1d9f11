// A safetensors file from anywhere: it is read, or refused with an Error; every tensor that is read lies in
// the file, apart from all others, and can be written again. An input that begins with { is a header, its
// length put in front of it, and behind its line the data.
#include "checkpoint/safetensors.h"

#include <cstring>

#include "json_mutator.h"

namespace {

using namespace dvlm;

std::string file_of(std::string_view input) {
  if (!input.starts_with('{')) return std::string(input);
  const std::string_view header = input.substr(0, input.find('\n'));
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return file.append(header).append(input.substr(std::min(input.size(), header.size() + 1)));
}

void check(const Safetensors& file, size_t size) {
  uint64_t all = 0;
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    all += tensor.bytes();
    DVLM_ASSERT(tensor.bytes() == static_cast<size_t>(tensor.elements()) * size_of(tensor.type));
    if (tensor.bytes() > 0)
      static_cast<void>(*(static_cast<const volatile std::byte*>(tensor.data) + tensor.bytes() - 1));
    tensors.push_back({name, tensor});
  }
  DVLM_ASSERT(all <= size);
  static const fuzz::Folder folder;
  write_safetensors(folder.path() / "again", tensors, file.metadata());
  const Safetensors again(folder.path() / "again");
  DVLM_ASSERT(again.metadata() == file.metadata() && again.tensors().size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const TensorView& copy = again.tensors().at(name);
    DVLM_ASSERT(copy.shape == tensor.shape && copy.type == tensor.type);
    DVLM_ASSERT(tensor.bytes() == 0 || std::memcmp(copy.data, tensor.data, copy.bytes()) == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string content = file_of(fuzz::text_of(data, size));
  const fuzz::MemoryFile file(content);
  std::optional<Safetensors> read;
  if (fuzz::accepts([&] { read.emplace(file.path()); })) check(*read, content.size());
  return 0;
}
