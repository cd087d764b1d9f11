// What a benchmark runs on: threads of the CPU, or a card.
#pragma once
#include <memory>
#include <string>

#include "core/thread_pool.h"
#include "model/options.h"

namespace dvlm {

// Bytes read per second, and multiplications and additions per second with what linear layers use for BF16.
struct Rates {
  double bytes = 0, operations = 0;
};

class Machine {
 public:
  // `device` as in ModelOptions, but not "auto". Throws Error as load_model does.
  Machine(const std::string& device, int threads);
  ~Machine();

  // For models that are measured here.
  ModelOptions options(ModelOptions given) const;
  // "2 threads, avx512_bf16", or the card's name.
  std::string text() const;
  // Of a card, else empty.
  std::string card() const;
  int threads() const { return pool_.threads(); }
  ThreadPool& pool() { return pool_; }
  // Measured now, once: what is compared with them is measured in turn, because shared machines drift. Takes
  // up to a GiB of memory, for good.
  Rates rates();

 private:
  struct Card;
  std::string device_;
  ThreadPool pool_;
  std::unique_ptr<Card> card_;
};

}  // namespace dvlm
