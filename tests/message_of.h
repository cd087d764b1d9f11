// What a call that must fail says.
#pragma once
#include <functional>
#include <string>

#include "core/error.h"

namespace dvlm {

inline std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace dvlm
