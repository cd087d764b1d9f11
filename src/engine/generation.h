// One answer under way.
#pragma once
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "core/stopwatch.h"
#include "decode/decoder.h"
#include "engine/engine.h"
#include "engine/prompt.h"
#include "engine/stop_strings.h"

namespace dvlm {

// What EngineCore keeps of an answer between its steps.
struct Generation {
  explicit Generation(const Tokenizer& tokenizer)
      : stream(tokenizer, tokenizer.find(kMaskToken).value_or(-1)), stops({}) {}

  // What whoever drives it reads.
  Answer answer;
  AnswerPart update;           // since it was last taken
  std::exception_ptr failure;  // why there is no answer
  bool ended() const { return failure || answer.finish != FinishReason::none; }
  bool ready() const { return decoder != nullptr; }  // for passes
  bool prefilled() const { return decoder && decoder->prefilled(); }

  // From the request.
  DecodeOptions options;
  DecodeContext context;
  LoadedPrompt loaded;
  PromptIdentity identity;
  Prompt prompt;

  // Once it has begun.
  std::unique_ptr<Sequence> sequence;
  size_t visuals_done = 0;           // of loaded.pictures: those before have features or need none
  std::unique_ptr<Decoder> decoder;  // when all are done
  StreamDecoder stream;
  StopStrings stops;
  Stopwatch watch;
};

}  // namespace dvlm
