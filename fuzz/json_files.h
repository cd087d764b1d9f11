// A folder's files as one JSON document, {"config.json": {...}, "merges.txt": "..."}: what a mutator of JSON
// changes then reaches the readers of every file.
#pragma once
#include <nlohmann/json.hpp>

#include "fuzzing.h"

namespace dvlm::fuzz {

using nlohmann::json;

inline std::string text_in(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// The document of the input's first line; null when there is none.
inline json document_of(Input& input) {
  json document = json::parse(input.line(), nullptr, false);
  return document.is_discarded() ? json() : document;
}

// Replaces the files of the folder by those that are named in `names`; other members are no files.
inline void put_files(Folder& folder, const json& document, std::initializer_list<const char*> names) {
  folder.clear();
  for (const char* name : names)
    if (document.contains(name)) folder.put(name, text_in(document.at(name)));
}

// A safetensors file with such a header, whose data are zeros.
inline std::string safetensors_of(const json& header) {
  constexpr size_t kData = 1 << 14;
  const std::string text = text_in(header);
  const uint64_t length = text.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return (file + text).append(kData, '\0');
}

}  // namespace dvlm::fuzz
