// Whose fault a grammar is.
#pragma once
#include "core/error.h"

namespace dvlm {

// A grammar is malformed, not supported, or beyond a limit: its author can mend it.
class GrammarError : public Error {
 public:
  using Error::Error;
};

}  // namespace dvlm
