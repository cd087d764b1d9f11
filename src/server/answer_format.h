// How an API writes what the engine says: as events of a stream or as one object. No HTTP here.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "engine/scheduler.h"
#include "server/request_fields.h"
#include "server/token_json.h"

namespace dvlm {

// One answer under way: its id, of which model, and when it was asked for (seconds since 1970).
struct AnswerIdentity {
  std::string id, model;
  int64_t created = 0;
};

using Answers = std::span<const Answer* const>;  // of all choices

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // Events of a stream, for each choice in this order; null: there is none.
  virtual nlohmann::json begin(int choice) = 0;
  virtual nlohmann::json piece(int choice, const RequestHandle::Update& update) = 0;
  virtual nlohmann::json end(int choice, const Answer& answer) = 0;
  // After the ends of all choices; null: there is none.
  virtual nlohmann::json last(Answers answers) = 0;
  // All at once, without a stream.
  virtual nlohmann::json whole(Answers answers) = 0;
};

// What an AnswerFormat knows beforehand.
struct FormatOptions {
  AnswerIdentity identity;
  DecodeOptions decode;
  bool include_usage = false;
  std::string echo;
  std::vector<std::string> stop;
  bool token_texts = false;
  TokenWriter tokens;
};
FormatOptions format_options(AnswerIdentity identity, const ApiRequest& asked, TokenWriter tokens);

// "usage": the prompt counts once, the choices are summed up.
nlohmann::json usage_json(Answers answers);
// "dvlm": the statistics of the one choice, or "choices" with those of each.
nlohmann::json statistics_json(Answers answers, const DecodeOptions& decode);
const char* openai_finish_reason(const Answer& answer);  // "stop" or "length"

}  // namespace dvlm
