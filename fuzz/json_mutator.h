// Changes JSON documents as such: values, keys and depth, where changes of bytes mostly end in the parser.
// The document is the first line of an input; behind it may stand what the fuzzer takes as bytes. To be
// included by one source of a fuzzer.
#pragma once
#include <nlohmann/json.hpp>

#include "core/random.h"
#include "fuzzing.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace dvlm::fuzz {

using nlohmann::json;

inline std::vector<json*> nodes_of(json& document) {
  std::vector<json*> nodes = {&document};
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]->is_structured())
      for (json& child : *nodes[i]) nodes.push_back(&child);
  return nodes;
}

// Values at which ranges and types end.
inline json special_value(Random& random) {
  static const json kValues = {nullptr,
                               true,
                               false,
                               0,
                               1,
                               -1,
                               2,
                               0.5,
                               2.0,
                               -0.0,
                               1e-320,
                               1e308,
                               1e19,
                               "",
                               "x",
                               "\u00e9\n\u0007",
                               INT32_MAX,
                               INT32_MIN,
                               1ull << 31,
                               1 << 24,
                               65536,
                               4096,
                               255,
                               1ull << 40,
                               INT64_MAX,
                               INT64_MIN,
                               UINT64_MAX,
                               1ull << 63,
                               9007199254740993,
                               9.3e18,
                               -9.3e18,
                               "auto",
                               json::array(),
                               json::object(),
                               json::array({0, 0}),
                               json::array({1, 2, 3})};
  return kValues[static_cast<size_t>(random.below(static_cast<int64_t>(kValues.size())))];
}

inline void change_text(std::string& text) {
  const size_t size = text.size();
  text.resize(size + 32);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
}

inline void change_list(json& list, json other, Random& random) {
  const auto at = [&] { return static_cast<size_t>(random.below(static_cast<int64_t>(list.size()))); };
  if (list.is_array() && (list.empty() || random.below(2))) {
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(list.empty() ? 0 : at()), std::move(other));
  } else if (list.is_array()) {
    list.erase(at());
  } else if (!list.empty()) {
    const auto member = std::next(list.begin(), static_cast<std::ptrdiff_t>(at()));
    std::string key = member.key();
    json value = *member;
    if (random.below(2)) list.erase(member);
    if (random.below(3) == 0) change_text(key);
    if (random.below(3)) list[key] = random.below(2) ? std::move(value) : std::move(other);
  }
}

inline void change(json& document, Random& random) {
  constexpr int kDeep = 70;
  const std::vector<json*> nodes = nodes_of(document);
  const auto pick = [&]() -> json& { return *nodes[static_cast<size_t>(random.below(std::ssize(nodes)))]; };
  json& node = pick();
  const json other = pick();
  switch (random.below(6)) {
    case 0:
      node = special_value(random);
      break;
    case 1:
      node = other;
      break;
    case 2:
      if (node.is_number_integer())
        node = static_cast<int64_t>(node.get<uint64_t>() + static_cast<uint64_t>(random.below(17)) - 8);
      if (node.is_number_float()) node = node.get<double>() * (random.below(2) ? -1 : 1.5);
      if (node.is_string()) change_text(node.get_ref<std::string&>());
      break;
    case 3:
      for (int64_t i = random.below(16) ? 1 : kDeep; i > 0; --i) node = json::array({std::move(node)});
      break;
    default:
      if (node.is_structured()) change_list(node, random.below(2) ? other : special_value(random), random);
  }
}

}  // namespace dvlm::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  using namespace dvlm::fuzz;
  dvlm::Random random(seed);
  const std::string_view text = text_of(data, size), line = text.substr(0, text.find('\n'));
  json document = json::parse(line, nullptr, false);
  if (document.is_discarded() || random.below(6) == 0) return LLVMFuzzerMutate(data, size, most);
  std::string rest(text.substr(line.size()));
  for (int64_t i = random.below(3); i >= 0; --i) change(document, random);
  if (!rest.empty() && random.below(3) == 0) change_text(rest);
  if (!rest.empty()) rest[0] = '\n';
  const std::string out = document.dump(-1, ' ', false, json::error_handler_t::replace) + rest;
  if (out.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::copy(out.begin(), out.end(), data);
  return out.size();
}
