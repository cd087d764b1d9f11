// A server that speaks OpenAI's chat completions: dvlm serve, SGLang, vLLM, llama.cpp, OpenAI.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/stopwatch.h"
#include "engine/work_progress.h"
#include "evaluate/token_scores.h"
#include "text/chat.h"

namespace dvlm {

// Gives the requests of all threads their turns, so many a minute: one at once, the next a while later.
class RequestPace {
 public:
  explicit RequestPace(double per_minute);  // above 0
  // Waits for a turn. False: cancelled meanwhile.
  bool wait(const std::function<bool()>& cancelled);

 private:
  const Clock::duration between_;
  std::mutex mutex_;
  Clock::time_point next_;
};

struct EndpointOptions {
  std::string url = {};                    // up to "/v1"
  std::string model = {};                  // as the server calls it
  std::string key = {};                    // sent as a bearer token; empty: none
  double timeout = 600;                    // seconds for one try of an answer
  int tries = 6;                           // of an answer, where the server is busy, gone or speaks nonsense
  std::shared_ptr<RequestPace> pace = {};  // of every try; null: any
};

struct EndpointAnswer {
  std::string text, finish_reason;
  int64_t prompt_tokens = 0, tokens = 0;  // 0: the server does not say
  double first_ms = 0, total_ms = 0;      // to the first piece of text, and to the end
  std::vector<TokenScore> scores = {};    // where the request has "logprobs"
};

// The server will not answer this request: 400, 413, 422, ... It may answer others.
class EndpointRefusal : public Error {
 public:
  using Error::Error;
};

// The key that a variable of the environment holds. Throws Error for one that is not set or is no header.
std::string key_from_environment(const std::string& variable);

// OpenAI messages of a conversation; pictures as data URLs. Throws Error for one that cannot be read.
nlohmann::json endpoint_messages(const Conversation& conversation);

// Asks `body` (messages, max_tokens, temperature, ...) and reads the answer as it is written. Waits longer
// from try to try, or as long as the server asks for, up to a minute. Throws EndpointRefusal, Cancelled, and
// Error after the last try and for what all requests would get: 401, 403, 404, 405, redirects.
EndpointAnswer ask_endpoint(const EndpointOptions& options, nlohmann::json body,
                            const std::function<bool()>& cancelled = {});

}  // namespace dvlm
