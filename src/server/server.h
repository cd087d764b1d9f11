// dvlm over HTTP: OpenAI's chat completions for one model (docs/serving.md).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/openai.h"

namespace dvlm {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                       // 0: any free one
  std::string model_name = "dvlm-tiny";  // what clients see and may ask for
  std::vector<std::string> api_keys;     // none: everybody may
  size_t most_waiting = 32;              // requests, beside the one being answered
  size_t body_limit = size_t{64} << 20;  // bytes
  int timeout = 600;                     // seconds from arrival to the end of an answer
  ChatLimits chat;
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

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dvlm
