#include "server/answer_format.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/request_json.h"

namespace dvlm {

using nlohmann::json;

FormatOptions format_options(AnswerIdentity identity, const ApiRequest& asked, TokenWriter tokens) {
  return {.identity = std::move(identity),
          .decode = asked.request.decode,
          .include_usage = asked.include_usage,
          .echo = asked.echo,
          .stop = asked.request.stop,
          .token_texts = asked.token_texts,
          .tokens = tokens};
}

json usage_json(Answers answers) {
  const Answer& first = *answers.front();
  size_t written = 0;
  for (const Answer* answer : answers) written += answer->tokens.size();
  return {{"prompt_tokens", first.prompt_tokens},
          {"completion_tokens", written},
          {"total_tokens", static_cast<size_t>(first.prompt_tokens) + written},
          {"prompt_tokens_details", {{"cached_tokens", first.reused_tokens}}}};
}

json statistics_json(Answers answers, const DecodeOptions& decode) {
  json choices = json::array();
  for (const Answer* answer : answers) choices.push_back(answer_json(*answer, decode).at("stats"));
  return choices.size() == 1 ? choices.front() : json{{"choices", choices}};
}

const char* openai_finish_reason(const Answer& answer) {
  return answer.finish == FinishReason::stop ? "stop" : "length";
}

}  // namespace dvlm
