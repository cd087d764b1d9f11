// How users name a card.
#pragma once
#include <optional>
#include <string_view>

namespace dvlm {

// "cuda" is card 0, "cuda:2" is card 2; nothing for other names.
std::optional<int> card_number(std::string_view device);

}  // namespace dvlm
