// SGLang's native /generate.
#include "server/apis.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/ascii.h"
#include "core/error.h"
#include "core/stopwatch.h"

#include "server/grammar_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr int kDefaultNewTokens = 128;  // SGLang's default

constexpr FieldRule kGenerateFields[] = {
    {"text"},
    {"input_ids"},
    {"image_data"},
    {"sampling_params"},
    {"return_logprob"},
    {"top_logprobs_num"},
    {"return_text_in_logprobs"},
    {"stream"},
    {"dvlm"},
    {"logprob_start_len", "-1", "only answers have log probabilities"},
    {"return_hidden_states", "false", "hidden states are not returned"},
    {"log_metrics", "true or false", "it must be true or false"},
    {"rid", "any string", "it must be a string"},
};

constexpr FieldRule kSamplingFields[] = {
    {"max_new_tokens"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"stop"},
    {"seed"},
    {"frequency_penalty"},
    {"presence_penalty"},
    {"repetition_penalty"},
    {"logit_bias"},
    {"min_p", "0", "leave it out or 0"},
    {"n", "1", "one answer per request"},
    {"min_new_tokens", "0", "leave it out or 0"},
    {"stop_token_ids", "[]", "give \"stop\" strings"},
    {"ignore_eos", "false", "an answer ends with its end token"},
    {"skip_special_tokens", "true", "texts have no special tokens"},
    {"spaces_between_special_tokens", "true", "texts have no special tokens"},
    {"no_stop_trim", "false", "texts end before the stop string"},
    {"json_schema"},
    {"regex"},
    {"ebnf"},
};

void read_sampling_params(const ApiObject& body, const ModelConfig& config, const ChatLimits& limits,
                          Request& request) {
  static const json kNone = json::object();
  const json* given = body.find("sampling_params");
  const ApiObject sampling(given ? *given : kNone, "sampling_params");
  check_fields(sampling, generate_sampling_fields());
  request.decode.max_tokens = static_cast<int>(sampling.integer(
      "max_new_tokens", 0, limits.max_tokens, std::min(kDefaultNewTokens, limits.max_tokens)));
  request.decode.block_size = config.block_size;
  read_sampling(sampling, config, request.decode.sampling);
  read_stop(sampling, "stop", request);
}

void read_prompt(const ApiObject& body, const ModelConfig& config, const Tokenizer& tokenizer,
                 Request& request) {
  const json *text = body.find("text"), *ids = body.find("input_ids");
  if ((text != nullptr) == (ids != nullptr)) body.refuse("text", "give either \"text\" or \"input_ids\"");
  if (text && !text->is_string())
    body.refuse("text", "\"text\" must be a string: send one prompt per request");
  request.input_ids = text ? tokenizer.encode(text->get_ref<const std::string&>(), ControlTokens::parse)
                           : read_token_ids(*ids, "input_ids", config);
  if (request.input_ids.empty()) body.refuse(text ? "text" : "input_ids", "the prompt is empty");
}

// A picture as SGLang's clients send it, without a data URL around it. A name of a file has a dot in it or is
// shorter. A path from the root begins like no picture but a JPEG.
bool is_bare_base64(std::string_view source) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \t\r\n";
  constexpr size_t kShortest = 40;
  const std::string_view text = trim(source);
  return text.size() >= kShortest && text.find_first_not_of(kLetters) == text.npos &&
         (text.front() != '/' || text.starts_with("/9j/"));
}

void read_images(const ApiObject& body, Request& request) {
  const json* data = body.find("image_data");
  if (!data) return;
  Message message{"user", {}};
  const auto add = [&](const json& source) {
    if (!source.is_string())
      body.refuse("image_data", "\"image_data\" must be a picture or a list of pictures, each a string");
    const auto& text = source.get_ref<const std::string&>();
    message.content.push_back(image_part(is_bare_base64(text) ? "data:;base64," + text : text));
  };
  if (data->is_array())
    for (const json& source : *data) add(source);
  else
    add(*data);
  request.conversation.push_back(std::move(message));
}

class GenerateFormat : public AnswerFormat {
 public:
  explicit GenerateFormat(FormatOptions options) : options_(std::move(options)) {}

  json begin(int) override { return nullptr; }

  // The whole text so far, every time.
  json piece(int, const RequestHandle::Update& update) override {
    if (update.text.empty() && update.passes.empty() && update.progress.empty()) return nullptr;
    text_ += update.text;
    json out = {{"text", text_}, {"meta_info", {{"id", options_.identity.id}, {"finish_reason", nullptr}}}};
    if (!update.passes.empty()) out["dvlm"]["passes"] = passes_json(update.passes, options_.tokens);
    if (!update.progress.empty()) out["dvlm"]["progress"] = progress_json(update.progress.back());
    return out;
  }

  json end(int, const Answer& answer) override { return complete(answer); }
  json last(Answers) override { return nullptr; }
  json whole(Answers answers) override { return complete(*answers.front()); }

 private:
  json finish_reason(const Answer& answer) const {
    if (answer.finish != FinishReason::stop) return {{"type", "length"}, {"length", answer.tokens.size()}};
    const std::string stop = matched_stop(answer, options_);
    const json last = answer.tokens.empty() ? json() : json(answer.tokens.back());
    return {{"type", "stop"}, {"matched", stop.empty() ? last : json(stop)}};
  }

  json complete(const Answer& answer) const {
    const Answer* const answers[] = {&answer};
    json meta = {{"id", options_.identity.id},
                 {"finish_reason", finish_reason(answer)},
                 {"prompt_tokens", answer.prompt_tokens},
                 {"completion_tokens", answer.tokens.size()},
                 {"cached_tokens", answer.reused_tokens},
                 {"e2e_latency", seconds_since(start_)}};
    if (const int top = options_.decode.logprobs; top >= 0) {
      const bool texts = options_.token_texts;
      const std::vector<TokenLogprob> logprobs = answer.all_logprobs();  // one for each of "output_ids"
      meta["input_token_logprobs"] = json::array();
      meta["output_token_logprobs"] = sglang_logprobs(logprobs, options_.tokens, texts);
      if (top > 0) meta["output_top_logprobs"] = sglang_top_logprobs(logprobs, options_.tokens, texts);
    }
    return {{"text", answer.text},
            {"output_ids", answer.tokens},
            {"meta_info", std::move(meta)},
            {"dvlm", statistics_json(answers, options_.decode)}};
  }

  const FormatOptions options_;
  const Clock::time_point start_ = Clock::now();
  std::string text_;
};

}  // namespace

FieldRules generate_fields() {
  return kGenerateFields;
}

FieldRules generate_sampling_fields() {
  return kSamplingFields;
}

ApiRequest parse_generate_request(const json& given, const ModelConfig& config, const Tokenizer& tokenizer,
                                  const ChatLimits& limits) {
  const ApiObject body(given);
  check_fields(body, generate_fields());
  ApiRequest out;
  out.fields = {body.has("text") ? "text" : "input_ids", "image_data"};
  read_sampling_params(body, config, limits, out.request);
  out.stream = body.boolean("stream", false);
  read_extensions(body, out);
  if (const json* sampling = body.find("sampling_params"))
    read_generate_form(ApiObject(*sampling, "sampling_params"), out);
  const int64_t top = body.integer("top_logprobs_num", 0, kMaxLogprobs, 0);
  out.token_texts = body.boolean("return_text_in_logprobs", false);
  const bool logprobs = body.boolean("return_logprob", false);
  if (logprobs) ask_logprobs(out.request.decode, top);
  if (!logprobs && (top > 0 || out.token_texts))
    body.refuse(top > 0 ? "top_logprobs_num" : "return_text_in_logprobs",
                "\"{}\" needs \"return_logprob\": true",
                top > 0 ? "top_logprobs_num" : "return_text_in_logprobs");
  read_images(body, out.request);
  read_prompt(body, config, tokenizer, out.request);
  return out;
}

void place_images(Request& request, const ModelConfig& config, const Tokenizer& tokenizer) {
  const auto pad = [&](TokenId id) { return config.is_pad(id); };
  std::vector<TokenId> given = std::exchange(request.input_ids, {});
  std::vector<ImageInfo> images;
  if (!request.conversation.empty()) images = prepare_prompt(config, tokenizer, request).images;
  size_t runs = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    if (!pad(given[i])) {
      request.input_ids.push_back(given[i]);
    } else if (i == 0 || given[i - 1] != given[i]) {
      const auto length = runs < images.size() ? static_cast<size_t>(images[runs].tokens) : 0;
      request.input_ids.insert(request.input_ids.end(), length, given[i]);
      ++runs;
    }
  }
  if (runs != images.size())
    fail("the prompt has places for {} pictures, but \"image_data\" has {}: write <|image_pad|> for each",
         runs, images.size());
}

std::unique_ptr<AnswerFormat> generate_format(FormatOptions options) {
  return std::make_unique<GenerateFormat>(std::move(options));
}

}  // namespace dvlm
