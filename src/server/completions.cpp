// OpenAI's completions: text after a raw prompt, without a chat template.
#include "server/apis.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/grammar_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr int kDefaultTokens = 16;  // OpenAI's default

constexpr FieldRule kCompletionFields[] = {
    {"prompt"},
    {"model"},
    {"max_tokens"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"seed"},
    {"stop"},
    {"stream"},
    {"stream_options"},
    {"n"},
    {"best_of"},
    {"logprobs"},
    {"echo"},
    {"dvlm"},
    {"suffix", R"("")", "text cannot be inserted"},
    {"frequency_penalty"},
    {"presence_penalty"},
    {"repetition_penalty"},
    {"min_p", "0", "leave it out or 0"},
    {"logit_bias"},
    {"response_format"},
    {"structured_outputs"},
    {"user", "any string", "it must be a string"},
};

// A prompt may stand alone in a list: clients send lists of prompts.
const json& one_prompt(const ApiObject& body) {
  const json* prompt = body.find("prompt");
  if (!prompt) body.refuse("prompt", "the field \"prompt\" is missing");
  const bool several = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (!several) return *prompt;
  if (prompt->size() > 1)
    body.refuse("prompt", "\"prompt\" has {} prompts: send one per request", prompt->size());
  return prompt->front();
}

// Text names special tokens as in Hugging Face's tokenizers: who writes raw prompts writes the template
// too.
void read_prompt(const ApiObject& body, const ModelConfig& config, const Tokenizer& tokenizer,
                 Request& request, std::string& echo) {
  const json& prompt = one_prompt(body);
  if (prompt.is_string())
    request.input_ids = tokenizer.encode(prompt.get_ref<const std::string&>(), ControlTokens::parse);
  else if (prompt.is_array())
    request.input_ids = read_token_ids(prompt, "prompt", config);
  else
    body.refuse("prompt", "\"prompt\" must be a string or a list of token ids");
  const auto& ids = request.input_ids;
  if (ids.empty()) body.refuse("prompt", "\"prompt\" is empty");
  if (std::ranges::any_of(ids, [&](TokenId id) { return config.is_pad(id); }))
    body.refuse(
        "prompt",
        "\"prompt\" has places for pictures, which this address does not take: use /v1/chat/completions or "
        "/generate");
  if (body.boolean("echo", false))
    echo = prompt.is_string() ? prompt.get<std::string>() : tokenizer.decode(ids, false);
}

class CompletionFormat : public OpenAiFormat {
 public:
  explicit CompletionFormat(FormatOptions options)
      : OpenAiFormat(std::move(options), "text_completion", "text_completion") {}

  json begin(int choice) override {
    return options_.echo.empty() ? json() : event(choice, {{"text", options_.echo}}, nullptr, nullptr);
  }

 private:
  json content(int, const RequestHandle::Update& update) override { return {{"text", update.text}}; }
  json rest(int) override { return {{"text", ""}}; }
  json content(const Answer& answer) override { return {{"text", options_.echo + answer.text}}; }
  json logprobs(int choice, std::span<const TokenLogprob> tokens) override {
    return completion_logprobs(tokens, options_.tokens, offsets_[choice]);
  }

  std::map<int, int64_t> offsets_;  // characters of each choice so far
};

}  // namespace

FieldRules completion_fields() {
  return kCompletionFields;
}

ApiRequest parse_completion_request(const json& given, const ModelConfig& config, const Tokenizer& tokenizer,
                                    const ChatLimits& limits) {
  const ApiObject body(given);
  check_fields(body, completion_fields());
  ApiRequest out;
  out.fields = {"prompt", "prompt"};
  DecodeOptions& decode = out.request.decode;
  decode.max_tokens = static_cast<int>(
      body.integer("max_tokens", 0, limits.max_tokens, std::min(kDefaultTokens, limits.max_tokens)));
  decode.block_size = config.block_size;
  read_sampling(body, config, decode.sampling);
  read_streaming(body, out);
  read_extensions(body, out);
  read_answer_form(body, out);
  if (body.has("logprobs")) ask_logprobs(decode, body.integer("logprobs", 0, kMaxLogprobs));
  read_stop(body, "stop", out.request);
  out.choices = static_cast<int>(body.integer("n", 1, kMaxChoices, 1));
  if (const json* best = body.find("best_of"); best && *best != out.choices)
    body.refuse("best_of", "\"best_of\" is not supported: every answer is returned, so it must equal \"n\"");
  read_prompt(body, config, tokenizer, out.request, out.echo);
  if (!out.echo.empty() && decode.logprobs >= 0)
    body.refuse(
        "echo",
        "\"echo\" together with \"logprobs\" is not supported: a prompt has no log probabilities here");
  return out;
}

std::unique_ptr<AnswerFormat> completion_format(FormatOptions options) {
  return std::make_unique<CompletionFormat>(std::move(options));
}

}  // namespace dvlm
