// A device on which nothing runs any more.
#pragma once
#include <stdexcept>

namespace dvlm {

// Whatever a model asks of its device throws it from the failure on; only a new process can use the device
// again. Its text says so. It is no Error: what goes on after an Error cannot go on after this.
class DeviceLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace dvlm
