// How an API writes what the engine says: as events of a stream or as one object. No HTTP here.
#pragma once
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

struct ApiError;
using Answers = std::span<const Answer* const>;  // of all choices

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // Whether events have their "type" as their name, and no [DONE] behind them.
  virtual bool named() const { return false; }
  // Events of a stream, for each choice in this order; null: there is none; a list: several.
  virtual nlohmann::json begin(int choice) = 0;
  // An update has progress only where the request asks for it.
  virtual nlohmann::json piece(int choice, const RequestHandle::Update& update) = 0;
  virtual nlohmann::json end(int choice, const Answer& answer) = 0;
  // After the ends of all choices; null: there is none.
  virtual nlohmann::json last(Answers answers) = 0;
  // In place of all that would follow.
  virtual nlohmann::json failure(const ApiError& error);
  // All at once, without a stream.
  virtual nlohmann::json whole(Answers answers) = 0;
};

// What an AnswerFormat knows beforehand.
struct FormatOptions {
  AnswerIdentity identity;
  DecodeOptions decode;
  bool include_usage = false;
  std::string echo, asked;
  std::vector<std::string> stop;
  bool token_texts = false;
  bool tools = false;  // answers may call some
  TokenWriter tokens;
};
FormatOptions format_options(AnswerIdentity identity, const ApiRequest& asked, TokenWriter tokens);

// The stop string that would follow the text; empty: none ended it.
std::string matched_stop(const Answer& answer, const FormatOptions& options);

// How far the work before the first text is: {"stage": "prompt", "done": 512, "total": 1221}.
nlohmann::json progress_json(const WorkProgress& progress);

// "dvlm": the statistics of the one choice, or "choices" with those of each.
nlohmann::json statistics_json(Answers answers, const DecodeOptions& decode);

// What OpenAI's chat and completions have in common.
class OpenAiFormat : public AnswerFormat {
 public:
  // "object" of a whole answer, and of an event.
  OpenAiFormat(FormatOptions options, const char* whole, const char* event);
  nlohmann::json piece(int choice, const RequestHandle::Update& update) override;
  nlohmann::json end(int choice, const Answer& answer) override;
  nlohmann::json last(Answers answers) override;
  nlohmann::json whole(Answers answers) override;

 protected:
  // Of a choice, what is not "index", "logprobs" and "finish_reason".
  virtual nlohmann::json content(int choice, const RequestHandle::Update& update) = 0;
  virtual nlohmann::json rest(int choice) = 0;  // when it ends
  virtual nlohmann::json content(const Answer& answer) = 0;
  virtual bool called(const Answer&) { return false; }  // a tool
  virtual nlohmann::json logprobs(int choice, std::span<const TokenLogprob> tokens) = 0;
  nlohmann::json event(int choice, nlohmann::json content, nlohmann::json finish_reason,
                       nlohmann::json logprobs) const;

  const FormatOptions options_;

 private:
  nlohmann::json header(const char* object) const;
  nlohmann::json complete(const char* object, nlohmann::json choices, Answers answers) const;

  const char *whole_, *event_;
};

}  // namespace dvlm
