#include "backends/choose_device.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/memory.h"
#include "cuda/model.h"

namespace dvlm {

namespace {

std::string text_of(size_t bytes) {
  return bytes_text(static_cast<double>(bytes));
}

}  // namespace

DeviceChoice choose_device(std::span<const cuda::CardInfo> cards, const std::function<size_t(int)>& free_of,
                           size_t needed, const ModelOptions& options) {
  if (cards.empty()) return {"cpu", "there is no card"};
  if (std::string why = cuda::refusal(options); !why.empty()) return {"cpu", std::move(why)};
  std::string others;
  const auto pass_over = [&](int i, const std::string& why) {
    others += fmt::format("{}cuda:{} ({}) {}", others.empty() ? "" : "; ", i, cards[i].name, why);
  };
  for (int i = 0; i < static_cast<int>(cards.size()); ++i) {
    if (cards[i].problem[0] != 0) {
      pass_over(i, cards[i].problem);
      continue;
    }
    try {
      const size_t free = free_of(i);
      if (free < needed)
        pass_over(i, fmt::format("has {} free, and the model needs {}", text_of(free), text_of(needed)));
      else if (options.memory_limit > 0 && options.memory_limit < needed)
        pass_over(i, fmt::format("may use {} (--memory-limit), and the model needs {}",
                                 text_of(options.memory_limit), text_of(needed)));
      else
        return {fmt::format("cuda:{}", i), fmt::format("{}, {} free{}{}", cards[i].name, text_of(free),
                                                       others.empty() ? "" : "; ", others)};
    } catch (const Error& error) {
      pass_over(i, fmt::format("does not answer: {}", error.what()));
    }
  }
  return {"cpu", others};
}

}  // namespace dvlm
