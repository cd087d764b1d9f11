// A server with the page and an API behind which no model is: it tells of passes that never were, at any
// pace.
#pragma once
#include <httplib.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace dvlm {

class FakeServer {
 public:
  struct Options {
    std::vector<std::string> tokens;        // the answer
    int block = 8;                          // tokens
    std::vector<int> accepted = {4, 8, 2};  // by verification, round by round, over and over
    int pass_ms = 0;
    bool knows_passes = true;               // else it refuses the field
    std::vector<nlohmann::json> work = {};  // "progress" of events before the first pass
    // Pieces of calls, in OpenAI's shape: the answer to who offers tools and has not said what calls gave.
    std::vector<nlohmann::json> calls = {};
    size_t breaks_after = SIZE_MAX;  // events: the connection is gone then
  };

  explicit FakeServer(Options options);
  ~FakeServer();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }
  // The bodies of all questions so far, and of those that ask for no answer.
  std::vector<nlohmann::json> questions() const, read_ahead() const;

 private:
  using Events = std::vector<nlohmann::json>;
  void chat(const httplib::Request& request, httplib::Response& response);
  Events calling() const;
  Events speculative() const;
  Events autoregressive() const;
  Events masked_diffusion() const;

  const Options options_;
  httplib::Server http_;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::vector<nlohmann::json> questions_, read_ahead_;
};

}  // namespace dvlm
