#include "read_ahead.h"

#include <utility>

#include "core/interrupt.h"

namespace dvlm {

void ReadAhead::begin(Request known) {
  known.decode.max_tokens = 0;
  reading_ = std::async(std::launch::async,
                        [this, known = std::move(known), before = std::move(reading_)]() mutable {
                          if (before.valid()) before.wait();
                          read(known);
                        });
}

void ReadAhead::read(const Request& known) {
  const auto cancelled = [this] { return stopped_ || interrupted(); };
  if (cancelled()) return;
  try {
    engine_.generate(known, {}, cancelled, [this](const WorkProgress& work) { hear(work); });
  } catch (const std::exception&) {
  }
}

void ReadAhead::hear(const WorkProgress& work) {
  const std::lock_guard lock(mutex_);
  if (on_progress_) on_progress_(work);
}

void ReadAhead::finish(std::function<void(const WorkProgress&)> on_progress) {
  if (!reading_.valid()) return;
  const auto listen = [this](std::function<void(const WorkProgress&)> listener) {
    const std::lock_guard lock(mutex_);
    on_progress_ = std::move(listener);
  };
  listen(std::move(on_progress));
  reading_.wait();
  reading_ = {};
  listen({});
}

void ReadAhead::stop() {
  stopped_ = true;
  finish({});
  stopped_ = false;
}

}  // namespace dvlm
