#include "server/request_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "core/error.h"
#include "engine/request_json.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr FieldRule kStreamFields[] = {
    {"include_usage"},
    {"include_obfuscation", "false", "events have no padding"},
    {"continuous_usage_stats", "false", "the last event has the usage"},
};

constexpr FieldRule kExtensionFields[] = {
    {"decoder"},    {"block_size"}, {"branches"}, {"draft_p_min"}, {"threshold"},   {"sub_block"}, {"top_k"},
    {"min_pixels"}, {"max_pixels"}, {"passes"},   {"progress"},    {"json_spaces"}, {"seed"},
};

uint64_t draw_seed() {
  std::random_device random;
  return (uint64_t{random()} << 32 | random()) % kMaxSeed;
}

bool is_accepted(const json& value, std::string_view alternative) {
  if (alternative.empty()) return false;
  if (alternative == "any string") return value.is_string();
  if (alternative == "any object") return value.is_object();
  if (alternative == "true or false") return value.is_boolean();
  return value == json::parse(alternative);
}

// Whether one of the rule's alternatives is the value.
bool changes_nothing(const json& value, std::string_view accepted) {
  constexpr std::string_view kOr = " or ";
  if (accepted == "true or false") return is_accepted(value, accepted);
  for (size_t end; (end = accepted.find(kOr)) != accepted.npos; accepted.remove_prefix(end + kOr.size()))
    if (is_accepted(value, accepted.substr(0, end))) return true;
  return is_accepted(value, accepted);
}

// Which of the keys it is that read_decoding() refuses.
std::string refused_key(const json& fields) {
  for (const auto& [key, value] : fields.items()) {
    const json alone = {{key, value}};
    try {
      Request unused;
      read_decoding(JsonObject(alone, "dvlm"), unused);
    } catch (const Error&) {
      return "dvlm." + key;
    }
  }
  return "dvlm";
}

}  // namespace

FieldRules stream_fields() {
  return kStreamFields;
}

FieldRules extension_fields() {
  return kExtensionFields;
}

ApiObject::ApiObject(const json& object, const std::string& name)
    : json_(object),
      name_(name),
      object_(at_field(name, [&] { return JsonObject(object, name.empty() ? "the request" : name); })) {}

int64_t ApiObject::integer(const char* key, int64_t low, int64_t high,
                           std::optional<int64_t> fallback) const {
  return at_field(path(key), [&] { return object_.integer(key, low, high, fallback); });
}

double ApiObject::number(const char* key, double low, double high, double fallback) const {
  return at_field(path(key), [&] { return object_.number(key, low, high, fallback); });
}

bool ApiObject::boolean(const char* key, bool fallback) const {
  return at_field(path(key), [&] { return object_.boolean(key, fallback); });
}

std::string ApiObject::text(const char* key, std::optional<std::string> fallback) const {
  const json* value = find(key);
  if (!value && fallback) return *fallback;
  if (!value) refuse(key, "the field \"{}\" is missing", path(key));
  if (!value->is_string()) refuse(key, "\"{}\" must be a string", path(key));
  return value->get<std::string>();
}

void check_fields(const ApiObject& body, FieldRules rules) {
  for (const auto& [key, value] : body.value().items()) {
    if (value.is_null()) continue;
    // `name = key`: clang captures no structured binding.
    const auto rule =
        std::ranges::find_if(rules, [&name = key](const FieldRule& given) { return name == given.name; });
    const std::string name = body.path(printable(key));
    if (rule == rules.end()) throw FieldError(name, fmt::format("the field \"{}\" is not known", name));
    if (rule->accepted && !changes_nothing(value, rule->accepted))
      throw FieldError(name, fmt::format("\"{}\" is not supported: {}", name, rule->why));
  }
}

Conversation read_conversation(const ApiObject& body, const ChatLimits& limits) {
  const json* messages = body.find("messages");
  if (!messages) body.refuse("messages", "the field \"messages\" is missing");
  if (messages->is_array() && messages->size() > limits.messages)
    body.refuse("messages", "the conversation has {} messages, but at most {} are allowed", messages->size(),
                limits.messages);
  return at_field("messages", [&] { return parse_messages(*messages); });
}

void read_sampling(const ApiObject& body, const ModelConfig& config, SamplingOptions& sampling) {
  sampling.temperature = body.number("temperature", 0, 2, 0);
  sampling.top_p = body.number("top_p", 0, 1, 1);
  if (sampling.top_p == 0) body.refuse("top_p", "\"top_p\" is 0, but it must be above 0 and at most 1");
  sampling.top_k = static_cast<int>(std::max<int64_t>(0, body.integer("top_k", -1, 1 << 24, 0)));
  // OpenAI's seeds may be negative. Without one every request is another draw, as everywhere.
  if (body.has("seed") || sampling.temperature == 0)
    sampling.seed = static_cast<uint64_t>(body.integer("seed", INT64_MIN, INT64_MAX, 0));
  else
    sampling.seed = draw_seed();
  sampling.repetition_penalty =
      body.number("repetition_penalty", kMinRepetitionPenalty, kMaxRepetitionPenalty, 1);
  sampling.presence_penalty = body.number("presence_penalty", -kMaxPenalty, kMaxPenalty, 0);
  sampling.frequency_penalty = body.number("frequency_penalty", -kMaxPenalty, kMaxPenalty, 0);
  if (const json* bias = body.find("logit_bias"))
    at_field(body.path("logit_bias"),
             [&] { sampling.logit_bias = read_logit_bias(*bias, config.text.vocab_size); });
}

void read_stop(const ApiObject& body, const char* key, Request& request) {
  if (const json* stop = body.find(key))
    request.stop = at_field(body.path(key), [&] { return read_stop(*stop, key); });
}

void read_streaming(const ApiObject& body, ApiRequest& out) {
  out.stream = body.boolean("stream", false);
  const json* given = body.find("stream_options");
  if (!given) return;
  if (!out.stream) body.refuse("stream_options", "\"stream_options\" needs \"stream\": true");
  const ApiObject options(*given, "stream_options");
  check_fields(options, stream_fields());
  out.include_usage = options.boolean("include_usage", false);
}

void read_extensions(const ApiObject& body, ApiRequest& out) {
  const json* given = body.find("dvlm");
  if (!given) return;
  const ApiObject fields(*given, "dvlm");
  check_fields(fields, extension_fields());
  DecodeOptions& decode = out.request.decode;
  try {
    read_decoding(JsonObject(*given, "dvlm"), out.request);
  } catch (const Error& error) {
    throw FieldError(refused_key(*given), error.what());
  }
  if (const DecoderInfo& info = info_of(decode.kind); decode.sampling.changes_logits() && !info.lossless)
    fields.refuse("decoder",
                  "penalties and \"logit_bias\" are not supported with the decoder \"{}\"; choose {}",
                  info.name, decoder_choice(true));
  if (fields.has("top_k") && body.has("top_k"))
    fields.refuse("top_k", "\"top_k\" stands both under \"dvlm\" and beside it");
  decode.sampling.top_k = static_cast<int>(fields.integer("top_k", 0, 1 << 24, decode.sampling.top_k));
  const json* inside = body.find("sampling_params");
  if (fields.has("seed") && (body.has("seed") || (inside && inside->is_object() && inside->contains("seed"))))
    fields.refuse("seed", "\"seed\" stands both under \"dvlm\" and beside it");
  if (fields.has("seed"))
    decode.sampling.seed = static_cast<uint64_t>(fields.integer("seed", 0, int64_t{kMaxSeed}, 0));
  decode.record = fields.boolean("passes", false);
  if (decode.record && !out.stream) fields.refuse("passes", "dvlm: \"passes\" needs \"stream\": true");
  if (const json* spaces = fields.find("json_spaces")) {
    if (!spaces->is_string()) fields.refuse("json_spaces", "\"dvlm.json_spaces\" must be a string");
    out.json_spaces = at_field("dvlm.json_spaces", [&] { return json_spaces(spaces->get<std::string>()); });
  }
  out.progress = fields.boolean("progress", false);
  if (out.progress && !out.stream) fields.refuse("progress", "dvlm: \"progress\" needs \"stream\": true");
}

void refuse_observers(const ApiRequest& asked) {
  for (const auto& [given, field] :
       {std::pair{asked.request.decode.record, "dvlm.passes"}, {asked.progress, "dvlm.progress"}})
    if (given)
      throw FieldError(field, fmt::format("\"{}\" is not supported here: ask chat completions", field));
}

void ask_logprobs(DecodeOptions& decode, int64_t alternatives) {
  if (const DecoderInfo& info = info_of(decode.kind); !info.lossless)
    throw FieldError("logprobs",
                     fmt::format("log probabilities are not supported with the decoder \"{}\": its text does "
                                 "not come from one causal distribution; choose {}",
                                 info.name, decoder_choice(true)));
  decode.logprobs = static_cast<int>(alternatives);
}

std::vector<TokenId> read_token_ids(const json& list, const char* name, const ModelConfig& config) {
  return at_field(name, [&] {
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
  });
}

}  // namespace dvlm
