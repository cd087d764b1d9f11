// One answer under way.
#pragma once
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "core/stopwatch.h"
#include "decode/decoder.h"
#include "engine/engine.h"
#include "engine/prompt.h"
#include "engine/stop_strings.h"

namespace dvlm {

// Generator moves it on; who drives it reads.
class Generation {
 public:
  enum class Phase {
    loaded,    // prompt and images are read
    encoding,  // it has a sequence; images still need features
    prefill,   // takes part in passes, and reads its prompt there
    writing,   // takes part in passes
    ended,     // has its answer or a failure
  };
  Phase phase() const { return phase_; }
  bool in_passes() const { return phase_ == Phase::prefill || phase_ == Phase::writing; }

  AnswerPart take_update() { return std::exchange(update_, {}); }  // what came since the last call
  // Once Generator::end() was called. A failure in a pass is not the request's fault.
  const std::exception_ptr& failure() const { return failure_; }
  bool failed_in_pass() const { return failed_in_pass_; }
  const Answer& answer() const { return answer_; }
  Answer take_answer() { return std::move(answer_); }

  // Who hears of its work; to be said before it begins.
  void listen(WorkListener listener) { listener_ = std::move(listener); }

  const PromptIdentity& identity() const { return identity_; }
  const Sequence* sequence() const { return sequence_.get(); }  // null: it has not begun

 private:
  friend class Generator;

  Generation(const Tokenizer& tokenizer, std::optional<TokenId> mask, const Request& request,
             LoadedPrompt loaded, PromptIdentity identity)
      : options_(request.decode),
        loaded_(std::move(loaded)),
        identity_(std::move(identity)),
        stream_(tokenizer, mask.value_or(-1)),
        stops_(request.stop) {}
  void end_with(std::exception_ptr failure) {
    failed_in_pass_ = in_passes();
    failure_ = std::move(failure);
    phase_ = Phase::ended;
  }

  bool given_up() const { return listener_.cancelled && listener_.cancelled(); }

  Phase phase_ = Phase::loaded;
  WorkListener listener_;
  Answer answer_;
  AnswerPart update_;
  std::exception_ptr failure_;
  bool failed_in_pass_ = false;

  const DecodeOptions options_;
  LoadedPrompt loaded_;
  PromptIdentity identity_;
  size_t visuals_done_ = 0;                // of loaded_: those before have features or need none
  std::shared_ptr<TokenGrammar> grammar_;  // or null
  DecodeContext context_;
  Prompt prompt_;
  std::unique_ptr<Sequence> sequence_;
  std::unique_ptr<Decoder> decoder_;  // from prefill on
  StreamDecoder stream_;
  StopStrings stops_;
  Stopwatch watch_;
};

}  // namespace dvlm
