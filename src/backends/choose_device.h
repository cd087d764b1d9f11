// What --device auto is.
#pragma once
#include <functional>
#include <span>
#include <string>

#include "cuda/cards.h"
#include "model/options.h"

namespace dvlm {

struct DeviceChoice {
  std::string device;  // as ModelOptions::device names it: "cpu", "cuda:1"
  std::string reason;  // for people: the card, and why no card, or none before it, was taken
};

// The first card that has `needed` bytes free, of options.memory_limit if there is one, else the CPU; the
// CPU, too, for options that no card does. `free_of` tells the free bytes of a card by its number. It is
// asked in order and no further than needed, and may throw Error.
DeviceChoice choose_device(std::span<const cuda::CardInfo> cards, const std::function<size_t(int)>& free_of,
                           size_t needed, const ModelOptions& options);

}  // namespace dvlm
