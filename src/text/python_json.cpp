#include "text/python_json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace dvlm {

using nlohmann::ordered_json;

std::string python_float(double value) {
  const double size = std::abs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string out(text.data(), end);
  if (std::isfinite(value) && plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string python_json(const ordered_json& value) {
  if (value.is_number_float()) return python_float(value.get<double>());
  if (!value.is_structured()) return value.dump();
  std::string out = value.is_object() ? "{" : "[";
  for (const auto& [key, item] : value.items()) {
    if (out.size() > 1) out += ", ";
    if (value.is_object()) out += ordered_json(key).dump() + ": ";
    out += python_json(item);
  }
  return out + (value.is_object() ? "}" : "]");
}

}  // namespace dvlm
