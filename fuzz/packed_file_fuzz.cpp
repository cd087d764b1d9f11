// A file of repacked weights that something else has written into: what is taken from it is what it holds,
// or nothing. An input that begins with { is the index; behind its line stand matrices; lengths and sums
// around them fit.
#include "native/packed_file.h"

#include <cstring>

#include "core/checksum.h"
#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;
using fuzz::json;

constexpr std::string_view kMagic = "dvlm repacked weights, safe to delete\n";
constexpr size_t kMagicBytes = 64;

PackedMatrix empty_matrix() {
  return {33, 5, WeightFormat::f32_panels, true};
}

// "sums": "right" becomes the sums of the bytes at "offset", each part on a page of its own.
void mend_sums(json& index, const std::string& file) {
  if (!index.is_object() || !index.contains("matrices") || !index["matrices"].is_object()) return;
  for (json& entry : index["matrices"]) {
    if (!entry.is_object() || entry.value("sums", json()) != "right" ||
        !entry.value("offset", json()).is_number_unsigned())
      continue;
    uint64_t offset = entry["offset"];
    PackedMatrix matrix = empty_matrix();
    entry["sums"] = json::array();
    for (const std::span<std::byte> part : matrix.parts()) {
      const std::string bytes = offset < file.size() ? file.substr(offset, part.size()) : "";
      entry["sums"].push_back(checksum(bytes));
      offset += (part.size() + 4095) / 4096 * 4096;
    }
  }
}

std::string file_of(fuzz::Input input, bool raw) {
  std::string file(kMagic);
  file.resize(kMagicBytes);
  if (raw) return file + std::string(input.rest());
  json index = fuzz::document_of(input);
  file.resize(4096);
  file += input.rest();
  file.resize(std::max<size_t>(file.size(), 16384));
  mend_sums(index, file);
  const std::string text = index.dump(-1, ' ', true, json::error_handler_t::replace);
  const uint64_t footer[] = {file.size(), text.size(), checksum(text), kPackedLayout};
  return file + text + std::string(reinterpret_cast<const char*>(footer), sizeof footer) + "dvlmpak2";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  static ThreadPool pool(1);
  const bool raw = size == 0 || data[0] != '{';
  const std::string content = file_of({data, size}, raw);
  folder.put("packed", content);
  PackedMatrix matrix = empty_matrix();
  fuzz::accepts([&] {
    PackedFile file(folder.path() / "packed", "fuzz");
    LoadProgress progress(0);
    const bool taken = file.complete() && file.read("w", matrix);
    if (!file.complete() || !file.finish(pool, progress) || !taken) return;
    for (const std::span<std::byte> part : matrix.parts())
      DVLM_ASSERT(content.find(std::string_view(reinterpret_cast<const char*>(part.data()), part.size())) !=
                  content.npos);
  });
  return 0;
}
