#include "server/request_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "engine/request_json.h"

namespace dvlm {

using nlohmann::json;

void check_known(const json& body, const std::string& known, const char* where) {
  const auto is_known = [&](const std::string& key) {
    return key.find(' ') == std::string::npos &&
           (" " + known + " ").find(" " + key + " ") != std::string::npos;
  };
  for (const auto& [key, value] : body.items())
    if (!value.is_null() && !is_known(key)) fail("{}the field \"{}\" is not known", where, printable(key));
}

void check_neutral(const JsonObject& body, const char* key, const json& value, const char* why) {
  if (const json* found = body.find(key); found && *found != value)
    fail("\"{}\" is not supported: {}", key, why);
}

void check_neutral_sampling(const JsonObject& fields) {
  check_neutral(fields, "frequency_penalty", 0, "leave it out or 0");
  check_neutral(fields, "presence_penalty", 0, "leave it out or 0");
  check_neutral(fields, "repetition_penalty", 1, "leave it out or 1");
  check_neutral(fields, "min_p", 0, "leave it out or 0");
}

Conversation read_conversation(const JsonObject& body, const ChatLimits& limits) {
  const json* messages = body.find("messages");
  if (!messages) fail("the field \"messages\" is missing");
  if (messages->is_array() && messages->size() > limits.messages)
    fail("the conversation has {} messages, but at most {} are allowed", messages->size(), limits.messages);
  return parse_messages(*messages);
}

void read_sampling(const JsonObject& body, SamplingOptions& sampling) {
  sampling.temperature = body.number("temperature", 0, 2, 0);
  sampling.top_p = body.number("top_p", 0, 1, 1);
  sampling.top_k = static_cast<int>(std::max<int64_t>(0, body.integer("top_k", -1, 1 << 24, 0)));
  // OpenAI's seeds may be negative.
  sampling.seed = static_cast<uint64_t>(body.integer("seed", INT64_MIN, INT64_MAX, 0));
}

std::vector<std::string> read_stop(const JsonObject& body) {
  constexpr size_t kMax = 16, kLongest = 1000;
  std::vector<std::string> out;
  const json* stop = body.find("stop");
  if (!stop) return out;
  const auto add = [&](const json& text) {
    if (!text.is_string()) fail("\"stop\" must be a string or a list of strings");
    out.push_back(text.get<std::string>());
    if (out.back().empty() || out.back().size() > kLongest)
      fail("a stop string must have 1 to {} bytes", kLongest);
  };
  if (!stop->is_array()) {
    add(*stop);
    return out;
  }
  if (stop->size() > kMax) fail("\"stop\" has {} strings, but at most {} are allowed", stop->size(), kMax);
  for (const json& text : *stop) add(text);
  return out;
}

void read_streaming(const JsonObject& body, ApiRequest& out) {
  out.stream = body.boolean("stream", false);
  const json* given = body.find("stream_options");
  if (!given) return;
  if (!out.stream) fail("\"stream_options\" needs \"stream\": true");
  const JsonObject options(*given, "stream_options");
  check_known(*given, "include_usage", "stream_options: ");
  out.include_usage = options.boolean("include_usage", false);
}

void read_extensions(const JsonObject& body, ApiRequest& out) {
  const json* given = body.find("dvlm");
  if (!given) return;
  const JsonObject fields(*given, "dvlm");
  check_known(*given,
              "decoder block_size branches draft_p_min threshold sub_block top_k min_pixels max_pixels "
              "passes",
              "dvlm: ");
  DecodeOptions& decode = out.request.decode;
  read_decoding(fields, out.request);
  if (fields.has("top_k") && body.has("top_k")) fail("\"top_k\" stands both under \"dvlm\" and beside it");
  decode.sampling.top_k = static_cast<int>(fields.integer("top_k", 0, 1 << 24, decode.sampling.top_k));
  decode.record = fields.boolean("passes", false);
  if (decode.record && !out.stream) fail("dvlm: \"passes\" needs \"stream\": true");
}

void ask_logprobs(DecodeOptions& decode, int64_t alternatives) {
  if (const DecoderInfo& info = info_of(decode.kind); !info.lossless)
    fail(
        "log probabilities are not supported with the decoder \"{}\": its text does not come from one causal "
        "distribution; choose {}",
        info.name, decoder_choice(true));
  decode.logprobs = static_cast<int>(alternatives);
}

std::vector<TokenId> read_token_ids(const json& list, const char* name, const ModelConfig& config) {
  if (!list.is_array()) fail("\"{}\" must be a list of token ids", name);
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= config.text.vocab_size)
      fail("\"{}\": item {} is {}, but token ids are whole numbers from 0 to {}", name, ids.size(),
           printable(id.dump(-1, ' ', true, json::error_handler_t::replace)), config.text.vocab_size - 1);
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

}  // namespace dvlm
