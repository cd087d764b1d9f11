// Runs the linear layers of a tower, and shows their inputs to whoever asked to see them.
#pragma once
#include <functional>

#include "kernels/linear.h"

namespace dvlm {

// Called before a linear layer runs, with its inputs [x.count, w.inputs()].
using LinearObserver = std::function<void(const PackedMatrix& w, Rows x)>;

struct Linears {
  ThreadPool& pool;
  LinearObserver observer;  // may be empty
  LinearScratch scratch = {};

  void operator()(const PackedMatrix& w, Rows x, Rows y, LinearMode mode) {
    if (observer) observer(w, x);
    linear(w, x, y, mode, scratch, pool);
  }
};

}  // namespace dvlm
