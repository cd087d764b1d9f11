#include "checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the format's own library
constexpr size_t kMaxRank = 8;

std::optional<DType> dtype_from(const std::string& name) {
  for (DType type : {DType::f32, DType::f16, DType::bf16, DType::f8_e4m3, DType::i64, DType::i32, DType::u8,
                     DType::boolean, DType::i8})
    if (name_of(type) == name) return type;
  return {};
}

struct Range {
  uint64_t begin, end;
  std::string name;
};

// One header entry -> view, with every number checked against the `data_size` bytes that follow the header.
TensorView read_entry(const JsonObject& entry, std::span<const std::byte> data, Range& range) {
  TensorView view;
  const std::string type = entry.string("dtype", "");
  const auto known = dtype_from(type);
  if (!known)
    fail("{}: dtype \"{}\" is not one of F32, F16, BF16, F8_E4M3, I64, I32, U8, BOOL, I8", entry.where(),
         printable(type));
  view.type = *known;
  if (!entry.has("shape")) fail("{}: the key \"shape\" is missing", entry.where());
  view.shape = entry.integers("shape", 0, std::numeric_limits<int64_t>::max() / 2, kMaxRank);
  uint64_t bytes = size_of(view.type);
  for (int64_t extent : view.shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes))
      fail("{}: shape {} is larger than any file", entry.where(), to_string(view.shape));
  const auto offsets = entry.integers("data_offsets", 0, std::numeric_limits<int64_t>::max() / 2, 2);
  if (offsets.size() != 2) fail("{}: \"data_offsets\" must be two numbers", entry.where());
  range.begin = static_cast<uint64_t>(offsets[0]), range.end = static_cast<uint64_t>(offsets[1]);
  if (range.begin > range.end || range.end > data.size())
    fail("{}: its bytes {}..{} lie outside the {} bytes of data; the file is truncated or damaged",
         entry.where(), range.begin, range.end, data.size());
  if (range.end - range.begin != bytes)
    fail("{}: shape {} of {} needs {} bytes, but data_offsets hold {}", entry.where(), to_string(view.shape),
         name_of(view.type), bytes, range.end - range.begin);
  view.data = data.data() + range.begin;
  return view;
}

}  // namespace

Safetensors::Safetensors(const std::filesystem::path& path) : file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < 8)
    fail("{} is too short for a safetensors file ({} bytes)", path.string(), bytes.size());
  refuse_lfs_pointer({reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 256)},
                     path);
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeader || header_size > bytes.size() - 8)
    fail(
        "{}: the header claims {} bytes, but {} follow (at most {} are allowed); the file is truncated or "
        "not safetensors",
        path.string(), header_size, bytes.size() - 8, kMaxHeader);
  const json header =
      parse_json({reinterpret_cast<const char*>(bytes.data()) + 8, header_size}, path.string() + " (header)");
  if (!header.is_object()) fail("{}: the header is not a JSON object", path.string());
  const auto data = bytes.subspan(8 + header_size);
  std::vector<Range> ranges;
  for (const auto& [name, value] : header.items()) {
    const JsonObject entry(value, path.string() + ": tensor " + printable(name));
    if (name == "__metadata__") {
      for (const auto& [key, text] : value.items())
        if (text.is_string()) metadata_[key] = text.get<std::string>();
      continue;
    }
    Range range{0, 0, name};
    tensors_[name] = read_entry(entry, data, range);
    if (range.begin < range.end) ranges.push_back(range);
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      fail("{}: tensors {} and {} share bytes; the file is damaged", path.string(),
           printable(ranges[i - 1].name), printable(ranges[i].name));
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return size_of(a->tensor.type) > size_of(b->tensor.type);
  });
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor* item : order) {
    if (header.contains(item->name))
      fail("cannot write {}: two tensors are named {}", path.string(), item->name);
    const uint64_t end = offset + item->tensor.bytes();
    header[item->name] = {{"dtype", name_of(item->tensor.type)},
                          {"shape", item->tensor.shape},
                          {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string head = header.dump();
  head.resize((8 + head.size() + 63) / 64 * 64 - 8, ' ');

  FileWriter file(path);
  const uint64_t head_size = head.size();
  file.append(&head_size, sizeof head_size);
  file.append(head);
  for (const NamedTensor* item : order) file.append(item->tensor.data, item->tensor.bytes());
  file.commit();
}

}  // namespace dvlm
