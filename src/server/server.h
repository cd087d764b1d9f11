// dvlm over HTTP: the APIs of OpenAI, vLLM and SGLang for one model (docs/serving.md).
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "server/image_access.h"
#include "server/request_fields.h"

namespace dvlm {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                       // 0: any free one
  std::string model_name = "dvlm-tiny";  // what clients see and may ask for
  std::vector<std::string> api_keys;     // none: everybody may
  std::vector<std::string> origins;      // of web pages that may read the answers (Origins)
  std::vector<std::string> hosts;        // more names by which the server may be asked (Origins)
  SchedulerOptions scheduler;
  ImagePolicy images;                    // what requests may name beside data URLs
  size_t max_connections = 256;          // further ones get a 503
  size_t body_limit = size_t{64} << 20;  // bytes
  int timeout = 600;                     // seconds from arrival to the end of an answer
  int read_timeout = 60;                 // seconds for a request to arrive; a sixth of it for its headers
  ChatLimits chat;
  std::function<void(const std::string&)> log;  // gets one line of JSON for every request; may be empty
  bool log_prompts = false;                     // lines hold prompts, too
};

class Server {
 public:
  Server(Engine& engine, const ServerOptions& options);
  ~Server();

  // Takes the address; throws Error when it cannot be had. Returns the port.
  int bind();
  // Serves until stop(), then finishes what was accepted.
  void run();
  void stop();  // from any thread

  std::vector<std::string> routes() const;  // "POST /v1/chat/completions", ...

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dvlm
