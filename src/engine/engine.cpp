#include "engine/engine.h"

#include "engine/core.h"

namespace dvlm {

namespace {

constexpr int kPrefillRows = 1024;  // in one pass: enough for full speed, and Ctrl-C is heard between them

}  // namespace

Engine::Engine(const EngineOptions& options)
    : core_(std::make_unique<EngineCore>(options, Checkpoint(options.model))) {}
Engine::~Engine() = default;

Answer Engine::generate(const Request& request, const std::function<void(std::string_view)>& on_text,
                        const std::function<bool()>& cancelled) {
  const auto generation = core_->load(request);
  core_->begin(*generation);  // nothing to wait for: it is alone
  struct Ending {
    EngineCore& core;
    Generation& generation;
    bool done = false;
    ~Ending() {
      if (!done) core.end(generation);
    }
    void now() {
      done = true;
      core.end(generation);
    }
  };
  Ending ending{*core_, *generation};
  const auto publish = [&] {
    if (on_text && !generation->update.text.empty()) on_text(generation->update.text);
    generation->update = {};
  };
  bool stopped = false;
  const auto ask = [&] { return stopped = cancelled && cancelled(); };
  while (!generation->ready() && !stopped) {
    core_->encode_visual(*generation);
    if (!generation->ready()) ask();
  }
  while (!stopped && !generation->ended() && !ask()) {
    Generation* const alone[] = {generation.get()};
    core_->step(alone, kPrefillRows);
    publish();
  }
  ending.now();
  if (generation->failure) std::rethrow_exception(generation->failure);
  publish();
  return std::move(generation->answer);
}

void Engine::score(const Request& request,
                   const std::function<void(size_t, std::span<const float>)>& on_row) {
  core_->score(request, on_row);
}

PreparedPrompt Engine::prepare(const Request& request) const {
  return core_->prepare(request);
}

void Engine::clear() {
  core_->clear();
}

const ModelConfig& Engine::config() const {
  return core_->config();
}
const Tokenizer& Engine::tokenizer() const {
  return core_->tokenizer();
}
Model& Engine::model() {
  return core_->model();
}

double Answer::tokens_per_s() const {
  return decode_ms > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / (decode_ms / 1000) : 0;
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "?";
}

}  // namespace dvlm
