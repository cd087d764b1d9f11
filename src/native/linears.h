// Runs the linear layers of a tower, and shows their inputs to the observer, if there is one.
#pragma once
#include "kernels/linear.h"
#include "model/options.h"

namespace dvlm {

struct Linears {
  ThreadPool& pool;
  LinearObserver observer;  // may be empty
  LinearScratch scratch = {};

  void operator()(const PackedMatrix& w, Rows x, Rows y, LinearMode mode) {
    if (observer) observer(w.name(), {x.data, x.stride, x.count, w.inputs()});
    linear(w, x, y, mode, scratch, pool);
  }
  // Some outputs of a layer that nobody observes.
  void panels(const PackedMatrix& w, PanelRange range, Rows x, Rows y) {
    linear(w, range, x, y, LinearMode::store, scratch, pool);
  }
};

inline size_t product(int64_t a, int64_t b) {  // floats of a buffer
  return static_cast<size_t>(a) * static_cast<size_t>(b);
}

// Rows [first, first + rows) of a buffer of rows of `width` floats.
inline Rows view(Buffer<float>& buffer, int width, int first, int rows) {
  return Rows{buffer.data(), static_cast<size_t>(width), first + rows}.part(first, rows);
}

}  // namespace dvlm
