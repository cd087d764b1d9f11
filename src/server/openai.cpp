#include "server/openai.h"

#include <algorithm>
#include <set>

#include "checkpoint/json.h"
#include "core/error.h"
#include "engine/request_json.h"

namespace dvlm {

namespace {

using nlohmann::json;

// Fields with one value that changes nothing: clients send them unasked.
void check_neutral(const JsonObject& body) {
  const auto neutral = [&](const char* key, const json& value, const char* why) {
    if (const json* found = body.find(key); found && *found != value)
      fail("\"{}\" is not supported: {}", key, why);
  };
  neutral("n", 1, "one answer per request");
  neutral("frequency_penalty", 0, "leave it out or 0");
  neutral("presence_penalty", 0, "leave it out or 0");
  neutral("logit_bias", json::object(), "leave it out");
  neutral("logprobs", false, "leave it out or false");
  neutral("response_format", json{{"type", "text"}}, "answers are text");
  neutral("tools", json::array(), "there are no tools");
  neutral("tool_choice", "none", "there are no tools");
  neutral("service_tier", "auto", "there is one");
  neutral("store", false, "nothing is stored");
}

void check_known(const json& body, const std::set<std::string>& known, const char* where) {
  for (const auto& [key, value] : body.items())
    if (!known.count(key) && !value.is_null()) fail("{}the field \"{}\" is not known", where, printable(key));
}

std::vector<std::string> parse_stop(const json* stop) {
  constexpr size_t kMost = 16, kLongest = 1000;
  std::vector<std::string> out;
  if (!stop) return out;
  const auto add = [&](const json& text) {
    if (!text.is_string()) fail("\"stop\" must be a string or a list of strings");
    out.push_back(text.get<std::string>());
    if (out.back().empty() || out.back().size() > kLongest)
      fail("a stop string must have 1 to {} bytes", kLongest);
  };
  if (!stop->is_array()) {
    add(*stop);
  } else {
    if (stop->size() > kMost)
      fail("\"stop\" has {} strings, but at most {} are allowed", stop->size(), kMost);
    for (const json& text : *stop) add(text);
  }
  return out;
}

void check_pictures(const Conversation& conversation, size_t most) {
  size_t count = 0;
  const auto check = [&](const std::string& source) {
    if (!source.starts_with("data:"))
      fail(
          "a picture must be a data URL (data:image/png;base64,...): this server opens no files or "
          "addresses");
    if (++count > most) fail("the conversation has more than {} pictures", most);
  };
  for (const Message& message : conversation) {
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::video && part.frames.empty())
        fail("a video must be a list of frames that are data URLs");
      if (part.type == ContentPart::Type::image) check(part.source);
      for (const std::string& frame : part.frames) check(frame);
    }
  }
}

void read_sampling(const JsonObject& body, DecodeOptions& decode, int max_tokens) {
  const char* key = body.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  decode.max_tokens = static_cast<int>(body.integer(key, 1, max_tokens, max_tokens));
  decode.sampling.temperature = body.number("temperature", 0, 2, 0);
  decode.sampling.top_p = body.number("top_p", 0, 1, 1);
  // OpenAI's seeds may be negative.
  decode.sampling.seed = static_cast<uint64_t>(body.integer("seed", INT64_MIN, INT64_MAX, 0));
}

void read_extensions(const JsonObject& fields, Request& request) {
  DecodeOptions& decode = request.decode;
  decode.kind = decoder_kind(fields.string("decoder", "spec"));
  decode.block_size = static_cast<int>(fields.integer("block_size", 2, 256, decode.block_size));
  decode.branches = static_cast<int>(fields.integer("branches", 1, 256, decode.branches));
  decode.threshold = fields.number("threshold", 0, 1, decode.threshold);
  decode.sub_block = static_cast<int>(fields.integer("sub_block", 1, 256, decode.sub_block));
  decode.sampling.top_k = static_cast<int>(fields.integer("top_k", 0, 1 << 24, 0));
  request.min_pixels = fields.integer("min_pixels", 0, int64_t{1} << 40, 0);
  request.max_pixels = fields.integer("max_pixels", 0, int64_t{1} << 40, 0);
}

}  // namespace

ChatRequest parse_chat_request(const json& given, const ModelConfig& config, const ChatLimits& limits) {
  static const std::set<std::string> kKnown = {"messages",
                                               "model",
                                               "max_tokens",
                                               "max_completion_tokens",
                                               "temperature",
                                               "top_p",
                                               "seed",
                                               "stop",
                                               "stream",
                                               "stream_options",
                                               "user",
                                               "metadata",
                                               "dvlm",
                                               "n",
                                               "frequency_penalty",
                                               "presence_penalty",
                                               "logit_bias",
                                               "logprobs",
                                               "response_format",
                                               "tools",
                                               "tool_choice",
                                               "service_tier",
                                               "store"};
  static const std::set<std::string> kExtensions = {"decoder",   "block_size", "branches",   "threshold",
                                                    "sub_block", "top_k",      "min_pixels", "max_pixels"};
  const JsonObject body(given, "the request");
  check_known(given, kKnown, "");
  check_neutral(body);
  ChatRequest out;
  const json* messages = body.find("messages");
  if (!messages) fail("the field \"messages\" is missing");
  if (messages->is_array() && messages->size() > limits.messages)
    fail("the conversation has {} messages, but at most {} are allowed", messages->size(), limits.messages);
  out.request.conversation = parse_messages(*messages);
  check_pictures(out.request.conversation, limits.pictures);
  out.request.decode.block_size = config.block_size;
  read_sampling(body, out.request.decode, limits.max_tokens);
  if (const json* extensions = body.find("dvlm")) {
    const JsonObject fields(*extensions, "dvlm");
    check_known(*extensions, kExtensions, "dvlm: ");
    read_extensions(fields, out.request);
  }
  out.request.stop = parse_stop(body.find("stop"));
  out.stream = body.boolean("stream", false);
  if (const json* options = body.find("stream_options")) {
    if (!out.stream) fail("\"stream_options\" needs \"stream\": true");
    check_known(*options, {"include_usage"}, "stream_options: ");
    out.include_usage = JsonObject(*options, "stream_options").boolean("include_usage", false);
  }
  return out;
}

json usage_json(const Answer& answer) {
  return {{"prompt_tokens", answer.prompt_tokens},
          {"completion_tokens", answer.tokens.size()},
          {"total_tokens", static_cast<size_t>(answer.prompt_tokens) + answer.tokens.size()},
          {"prompt_tokens_details", {{"cached_tokens", answer.reused_tokens}}}};
}

const char* openai_finish_reason(const Answer& answer) {
  return answer.finish == FinishReason::stop ? "stop" : "length";
}

json chat_completion(const ChatIdentity& identity, const Answer& answer, const DecodeOptions& decode) {
  return {{"id", identity.id},
          {"object", "chat.completion"},
          {"created", identity.created},
          {"model", identity.model},
          {"choices",
           {{{"index", 0},
             {"message", {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}}},
             {"logprobs", nullptr},
             {"finish_reason", openai_finish_reason(answer)}}}},
          {"usage", usage_json(answer)},
          {"dvlm", answer_json(answer, decode).at("stats")}};
}

json chat_chunk(const ChatIdentity& identity, const json& delta, const char* finish_reason) {
  return {{"id", identity.id},
          {"object", "chat.completion.chunk"},
          {"created", identity.created},
          {"model", identity.model},
          {"choices",
           {{{"index", 0},
             {"delta", delta},
             {"logprobs", nullptr},
             {"finish_reason", finish_reason ? json(finish_reason) : json()}}}}};
}

json openai_error(const std::string& message, const char* type) {
  return {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", nullptr}}}};
}

}  // namespace dvlm
