// What the handlers of a server share.
#pragma once
#include <atomic>
#include <ctime>
#include <mutex>
#include <semaphore>

#include "engine/scheduler.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/token_json.h"
#include "text/mask_token.h"

namespace dvlm {

struct ServerState {
  ServerState(Engine& engine, const ServerOptions& given)
      : options(given),
        config(engine.config()),
        tokens(engine.tokenizer(), mask_token(engine.tokenizer(), engine.config())),
        started(std::time(nullptr)),
        scheduler(engine.generator(), given.scheduler) {
    check_policy(given.images);
  }

  const ServerOptions options;
  const ModelConfig config;
  const TokenWriter tokens;
  const int64_t started;  // seconds since 1970
  std::atomic<bool> stopping{false};
  std::atomic<int> exchanges{0};          // requests for text that are not answered to the end
  std::counting_semaphore<> fetching{4};  // requests that fetch or read images at once
  std::mutex images;  // outside the engine the images of one request at a time are decoded
  Metrics metrics;
  Scheduler scheduler;
};

}  // namespace dvlm
