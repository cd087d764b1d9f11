#include "server/answer_format.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/request_json.h"
#include "server/errors.h"

namespace dvlm {

using nlohmann::json;

namespace {

// The prompt counts once, the choices are summed up.
json usage_json(Answers answers) {
  const Answer& first = *answers.front();
  size_t written = 0;
  for (const Answer* answer : answers) written += answer->tokens.size();
  return {{"prompt_tokens", first.prompt_tokens},
          {"completion_tokens", written},
          {"total_tokens", static_cast<size_t>(first.prompt_tokens) + written},
          {"prompt_tokens_details", {{"cached_tokens", first.reused_tokens}}}};
}

const char* finish_reason_of(const Answer& answer, bool called) {
  return answer.finish != FinishReason::stop ? "length" : called ? "tool_calls" : "stop";
}

json choice_json(int choice, json content, json finish_reason, json logprobs) {
  content["index"] = choice;
  content["finish_reason"] = std::move(finish_reason);
  content["logprobs"] = std::move(logprobs);
  return content;
}

}  // namespace

FormatOptions format_options(AnswerIdentity identity, const ApiRequest& asked, TokenWriter tokens) {
  return {.identity = std::move(identity),
          .decode = asked.request.decode,
          .include_usage = asked.include_usage,
          .echo = asked.echo,
          .asked = asked.asked,
          .stop = asked.request.stop,
          .token_texts = asked.token_texts,
          .tools = !asked.request.chat_template.tools.empty(),
          .tokens = tokens};
}

json AnswerFormat::failure(const ApiError& error) {
  return error_json(error);
}

json statistics_json(Answers answers, const DecodeOptions& decode) {
  json choices = json::array();
  for (const Answer* answer : answers) {
    json& stats = choices.emplace_back(answer_json(*answer, decode).at("stats"));
    if (!answer->images.empty()) stats["images"] = images_json(answer->images);
    // What writes this very choice again.
    if (decode.sampling.temperature > 0) stats["seed"] = decode.sampling.seed + (choices.size() - 1);
  }
  return choices.size() == 1 ? choices.front() : json{{"choices", choices}};
}

std::string matched_stop(const Answer& answer, const FormatOptions& options) {
  const std::string full = options.tokens.tokenizer().decode(answer.tokens, true);
  std::string found;  // the shortest: it was complete first
  for (const std::string& stop : options.stop)
    if (full.size() > answer.text.size() && full.compare(answer.text.size(), stop.size(), stop) == 0 &&
        (found.empty() || stop.size() < found.size()))
      found = stop;
  return found;
}

json progress_json(const WorkProgress& progress) {
  json out = {{"stage", name_of(progress.stage)}, {"done", progress.done}, {"total", progress.total}};
  if (progress.stage == Stage::picture) out["picture"] = progress.picture;
  return out;
}

OpenAiFormat::OpenAiFormat(FormatOptions options, const char* whole, const char* event)
    : options_(std::move(options)), whole_(whole), event_(event) {}

json OpenAiFormat::piece(int choice, const RequestHandle::Update& update) {
  if (update.text.empty() && update.logprobs.empty() && update.passes.empty() && update.progress.empty())
    return nullptr;
  json out = event(choice, content(choice, update), nullptr,
                   update.logprobs.empty() ? json() : logprobs(choice, update.logprobs));
  if (!update.passes.empty()) out["dvlm"]["passes"] = passes_json(update.passes, options_.tokens);
  if (!update.progress.empty()) out["dvlm"]["progress"] = progress_json(update.progress.back());
  return out;
}

json OpenAiFormat::end(int choice, const Answer& answer) {
  return event(choice, rest(choice), finish_reason_of(answer, called(answer)), nullptr);
}

json OpenAiFormat::last(Answers answers) {
  return options_.include_usage ? complete(event_, json::array(), answers) : json();
}

json OpenAiFormat::whole(Answers answers) {
  json choices = json::array();
  for (const Answer* answer : answers) {
    const int choice = static_cast<int>(choices.size());
    choices.push_back(
        choice_json(choice, content(*answer), finish_reason_of(*answer, called(*answer)),
                    options_.decode.logprobs < 0 ? json() : logprobs(choice, answer->logprobs)));
  }
  return complete(whole_, std::move(choices), answers);
}

json OpenAiFormat::event(int choice, json content, json finish_reason, json logprobs) const {
  json out = header(event_);
  out["choices"].push_back(
      choice_json(choice, std::move(content), std::move(finish_reason), std::move(logprobs)));
  if (options_.include_usage) out["usage"] = nullptr;  // the last event has it
  return out;
}

json OpenAiFormat::header(const char* object) const {
  const AnswerIdentity& identity = options_.identity;
  return {{"id", identity.id}, {"object", object}, {"created", identity.created}, {"model", identity.model}};
}

json OpenAiFormat::complete(const char* object, json choices, Answers answers) const {
  json out = header(object);
  out["choices"] = std::move(choices);
  out["usage"] = usage_json(answers);
  out["dvlm"] = statistics_json(answers, options_.decode);
  return out;
}

}  // namespace dvlm
