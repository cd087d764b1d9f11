// JSON from anywhere, against the JSON library alone: what it takes and dvlm refuses is too deep or has a key
// twice, and numbers are read as they are written or not at all.
#include "checkpoint/json.h"

#include <cmath>

#include "json_mutator.h"

namespace {

using namespace dvlm;
using nlohmann::json;

// Whether a whole number of JSON is `read`.
bool is_exactly(const json& value, int64_t read) {
  if (value.is_number_unsigned()) return read >= 0 && value.get<uint64_t>() == static_cast<uint64_t>(read);
  if (value.is_number_integer()) return value.get<int64_t>() == read;
  const double number = value.get<double>();
  return number >= -0x1p63 && number < 0x1p63 && static_cast<int64_t>(number) == read &&
         std::trunc(number) == number;
}

void check_members(const JsonObject& object, const json& document) {
  for (const auto& member : document.items()) {
    const json& value = member.value();
    const char* name = member.key().c_str();
    if (member.key().empty() || printable(member.key()) != member.key())
      continue;  // keys of readers are literals
    fuzz::accepts([&] { DVLM_ASSERT(is_exactly(value, object.integer(name, INT64_MIN, INT64_MAX))); });
    fuzz::accepts([&] { DVLM_ASSERT(is_exactly(value, object.integer(name, 0, int64_t{1} << 53))); });
    fuzz::accepts([&] { DVLM_ASSERT(std::isfinite(object.number(name, -1e300, 1e300))); });
    fuzz::accepts([&] { static_cast<void>(object.boolean(name, true)); });
    fuzz::accepts([&] { static_cast<void>(object.string(name, "")); });
    fuzz::accepts([&] {
      const std::vector<int64_t> numbers = object.integers(name, INT64_MIN, INT64_MAX, 8);
      for (size_t i = 0; i < numbers.size(); ++i) DVLM_ASSERT(is_exactly(value[i], numbers[i]));
    });
    fuzz::accepts([&] { check_members(object.object(name), value); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  json document;
  std::string refused;
  try {
    document = parse_json(text, "the input");
  } catch (const Error& error) {
    refused = error.what();
    fuzz::check_sentence(refused);
  }
  if (!refused.empty()) {
    DVLM_ASSERT(refused.find("levels deep") != refused.npos || refused.find("twice") != refused.npos ||
                !json::accept(text) || refused.find("not usable") != refused.npos);
    return 0;
  }
  DVLM_ASSERT(json::accept(text));
  DVLM_ASSERT(parse_json(document.dump(), "what was written") == document);
  fuzz::accepts([&] { check_members(JsonObject(document, "the input"), document); });
  return 0;
}
