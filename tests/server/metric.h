// Numbers of /metrics.
#pragma once
#include <httplib.h>

#include <chrono>
#include <string>
#include <thread>

namespace dvlm::test {

// -1 when it is not there.
inline double metric(httplib::Client& client, const std::string& name) {
  const std::string text = "\n" + client.Get("/metrics")->body;
  const size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

// Waits until it has the value, at most 20 seconds.
inline bool becomes(httplib::Client& client, const std::string& name, double value) {
  for (int i = 0; i < 1000; ++i) {
    if (metric(client, name) == value) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

}  // namespace dvlm::test
