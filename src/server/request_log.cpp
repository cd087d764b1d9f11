#include "server/request_log.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "server/errors.h"

namespace dvlm {

namespace {

double rounded(double ms) {
  return std::round(ms * 1000) / 1000;
}

}  // namespace

std::string random_hex() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}{:08x}", random(), random() >> 32);
}

std::string request_id(const std::string& given) {
  constexpr size_t kLongest = 128;
  const bool visible = std::ranges::all_of(given, [](char c) { return c > ' ' && c < 127; });
  return !given.empty() && given.size() <= kLongest && visible ? given : "req-" + random_hex();
}

std::string log_line(const RequestRecord& record, double total_ms,
                     std::chrono::system_clock::time_point now) {
  const auto ms = std::chrono::time_point_cast<std::chrono::milliseconds>(now).time_since_epoch().count();
  nlohmann::ordered_json line = {
      {"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                           fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms % 1000)},
      {"id", record.id},
      {"address", record.address},
      {"method", record.method},
      {"path", record.path.substr(0, 200)},
      {"status", record.status},
      {"total_ms", rounded(total_ms)}};
  if (record.generated) {
    line["prompt_tokens"] = record.prompt_tokens;
    line["completion_tokens"] = record.completion_tokens;
    if (record.first_token_ms >= 0) line["first_token_ms"] = rounded(record.first_token_ms);
  }
  if (!record.finish.empty()) line["finish_reason"] = record.finish;
  if (!record.prompt.empty()) line["prompt"] = record.prompt;
  return line.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace dvlm
