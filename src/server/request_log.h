// What is remembered of a request: its id, and one line for the log.
#pragma once
#include <chrono>
#include <string>

#include "core/stopwatch.h"

namespace dvlm {

struct RequestRecord {
  std::string id, address, method, path;
  std::string finish;  // the reason why the answer ended, or why there is none
  std::string prompt;  // its texts, when they are to be logged
  Clock::time_point start;
  int status = 0;  // 0: no answer was begun
  bool generated = false;
  int prompt_tokens = 0, completion_tokens = 0;
  double first_token_ms = -1;  // -1: there was none
};

// The client's own id when it has 1 to 128 visible ASCII characters, or a new one.
std::string request_id(const std::string& given);

// 24 random hexadecimal digits.
std::string random_hex();

// One JSON object in one line, with the newline. `now`: the time at which the request ended.
std::string log_line(const RequestRecord& record, double total_ms, std::chrono::system_clock::time_point now);

}  // namespace dvlm
