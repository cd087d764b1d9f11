// Texts that end an answer, found in text that arrives in pieces.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace dvlm {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Returns what can no longer be part of a stop string. Once one is found, what precedes it and then
  // nothing. The first that is complete ends the text, in whatever pieces it arrives.
  std::string push(std::string_view piece);
  // What was held back when the text ends without a stop string.
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;  // none is empty
  std::string held_;
  bool found_ = false;
};

}  // namespace dvlm
