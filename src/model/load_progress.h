// What is shown while weights load, and how Ctrl-C ends that.
#pragma once
#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"

namespace dvlm {

class LoadProgress {
 public:
  explicit LoadProgress(size_t bytes) : bar_("loading the model, MiB", mebibytes(bytes)) {}

  void add(size_t bytes) { bar_.update(mebibytes(done_ += bytes)); }
  // Throws Error after Ctrl-C.
  void check() const {
    if (interrupted()) fail("loading the model was interrupted");
  }

 private:
  static int64_t mebibytes(size_t bytes) { return static_cast<int64_t>(bytes >> 20); }

  Progress bar_;
  size_t done_ = 0;
};

}  // namespace dvlm
