#include "core/card_number.h"

#include <charconv>

namespace dvlm {

std::optional<int> card_number(std::string_view device) {
  constexpr std::string_view kName = "cuda";
  if (!device.starts_with(kName)) return {};
  device.remove_prefix(kName.size());
  if (device.empty()) return 0;
  if (device[0] != ':') return {};
  device.remove_prefix(1);
  const bool one_way_to_write_it = device == "0" || (!device.starts_with('0') && !device.starts_with('-'));
  int number = 0;
  const auto [end, error] = std::from_chars(device.begin(), device.end(), number);
  if (!one_way_to_write_it || error != std::errc() || end != device.end()) return {};
  return number;
}

}  // namespace dvlm
