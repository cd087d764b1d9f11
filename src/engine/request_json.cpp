#include "engine/request_json.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/memory.h"

namespace dvlm {

using nlohmann::json;

Precision parse_precision(const std::string& name) {
  constexpr std::pair<std::string_view, Precision> kPrecisions[] = {{"auto", Precision::automatic},
                                                                    {"f32", Precision::f32},
                                                                    {"bf16", Precision::bf16},
                                                                    {"int8", Precision::int8},
                                                                    {"int4", Precision::int4}};
  for (const auto& [known, precision] : kPrecisions)
    if (name == known) return precision;
  fail("there is no precision \"{}\"; choose auto, f32, bf16, int8 or int4", printable(name));
}

namespace {

constexpr std::pair<std::string_view, DraftPrecision> kDraftPrecisions[] = {
    {"auto", DraftPrecision::automatic}, {"same", DraftPrecision::same}, {"int8", DraftPrecision::int8},
    {"int4", DraftPrecision::int4},      {"fp8", DraftPrecision::fp8},
};

}  // namespace

DraftPrecision parse_draft_precision(const std::string& name) {
  for (const auto& [known, precision] : kDraftPrecisions)
    if (name == known) return precision;
  fail("there is no draft precision \"{}\"; choose auto, same, int8, int4 or fp8", printable(name));
}

std::string_view name_of(DraftPrecision precision) {
  for (const auto& [name, known] : kDraftPrecisions)
    if (precision == known) return name;
  return "?";
}

void read_decoding(const JsonObject& object, Request& request) {
  DecodeOptions& decode = request.decode;
  decode.kind = decoder_kind(object.string("decoder", std::string(name_of(decode.kind))));
  decode.block_size = static_cast<int>(object.integer("block_size", 2, kMaxBlockSize, decode.block_size));
  decode.branches = static_cast<int>(object.integer("branches", 1, kMaxBlockSize, decode.branches));
  decode.draft_p_min = object.number("draft_p_min", 0, kMaxDraftPMin, decode.draft_p_min);
  decode.threshold = object.number("threshold", 0, 1, decode.threshold);
  decode.sub_block = static_cast<int>(object.integer("sub_block", 1, kMaxBlockSize, decode.sub_block));
  request.min_pixels = object.integer("min_pixels", 0, int64_t{1} << 40, 0);
  request.max_pixels = object.integer("max_pixels", 0, int64_t{1} << 40, 0);
}

std::vector<std::pair<TokenId, float>> read_logit_bias(const json& given, int vocab) {
  if (!given.is_object()) fail("\"logit_bias\" must be an object of token ids and biases");
  if (given.size() > kMaxLogitBiases)
    fail("\"logit_bias\" has {} tokens, but at most {} are read", given.size(), kMaxLogitBiases);
  std::vector<std::pair<TokenId, float>> out;
  for (const auto& [name, bias] : given.items()) {
    TokenId token = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), token);
    const bool plain = name == "0" || (!name.empty() && name[0] != '0');  // one name for each token
    if (error != std::errc() || end != name.data() + name.size() || !plain || token < 0 || token >= vocab)
      fail("\"logit_bias\": \"{}\" is no token id from 0 to {}", printable(name), vocab - 1);
    if (!bias.is_number() || !(std::abs(bias.get<double>()) <= kMaxLogitBias))
      fail("\"logit_bias\": the bias of {} must be a number from -{} to {}", token, kMaxLogitBias,
           kMaxLogitBias);
    out.emplace_back(token, bias.get<float>());
  }
  return out;
}

std::vector<std::string> read_stop(const json& given, const char* name) {
  constexpr size_t kMax = 16, kLongest = 1000;
  const auto texts = given.is_array() ? given : json::array({given});
  if (texts.size() > kMax)
    fail("\"{}\" has {} strings, but at most {} are allowed", name, texts.size(), kMax);
  std::vector<std::string> out;
  for (const json& text : texts) {
    if (!text.is_string()) fail("\"{}\" must be a string or a list of strings", name);
    out.push_back(text.get<std::string>());
    if (out.back().empty() || out.back().size() > kLongest)
      fail("\"{}\": a stop string must have 1 to {} bytes", name, kLongest);
  }
  return out;
}

namespace {

// A schema is a string: its properties have an order, which parsed JSON forgets.
std::optional<GrammarSource> read_form(const JsonObject& object) {
  constexpr std::pair<const char*, GrammarKind> kForms[] = {{"json_schema", GrammarKind::json_schema},
                                                            {"regex", GrammarKind::regex},
                                                            {"grammar", GrammarKind::gbnf}};
  std::optional<GrammarSource> out;
  for (const auto& [key, kind] : kForms) {
    if (!object.has(key)) continue;
    if (out) fail("request: give one of \"json_schema\", \"regex\" and \"grammar\"");
    out = GrammarSource{kind, object.string(key, "")};
  }
  if (!object.has("json_spaces")) return out;
  if (!out || out->kind != GrammarKind::json_schema) fail("request: \"json_spaces\" needs \"json_schema\"");
  out->spaces = json_spaces(object.string("json_spaces", ""));
  return out;
}

void read_sampling(const JsonObject& object, const ModelConfig& config, SamplingOptions& sampling) {
  sampling.temperature = object.number("temperature", 0, 100, 0);
  sampling.top_k = static_cast<int>(object.integer("top_k", 0, 1 << 24, 0));
  sampling.top_p = object.number("top_p", 0, 1, 1);
  sampling.seed = static_cast<uint64_t>(object.integer("seed", 0, int64_t{kMaxSeed}, 0));
  sampling.repetition_penalty =
      object.number("repetition_penalty", kMinRepetitionPenalty, kMaxRepetitionPenalty, 1);
  sampling.presence_penalty = object.number("presence_penalty", -kMaxPenalty, kMaxPenalty, 0);
  sampling.frequency_penalty = object.number("frequency_penalty", -kMaxPenalty, kMaxPenalty, 0);
  if (const json* bias = object.find("logit_bias"))
    sampling.logit_bias = read_logit_bias(*bias, config.text.vocab_size);
}

}  // namespace

Request parse_request(const json& request_json, const ModelConfig& config) {
  const JsonObject object(request_json, "request");
  Request request;
  if (!object.has("messages")) fail("request: the key \"messages\" is missing");
  request.chat_template.add_vision_id = object.boolean("add_vision_id", false);
  request.grammar = read_form(object);
  if (const json* stop = object.find("stop")) request.stop = read_stop(*stop, "stop");
  request.decode.record = object.boolean("passes", false);
  DecodeOptions& decode = request.decode;
  decode.block_size = config.block_size;
  read_decoding(object, request);
  decode.max_tokens = static_cast<int>(object.integer("max_tokens", 0, 1 << 20, decode.max_tokens));
  read_sampling(object, config, decode.sampling);
  object.refuse_others();
  request.conversation = parse_messages(*object.find("messages"));
  return request;
}

json images_json(const std::vector<ImageInfo>& images) {
  json out = json::array();
  for (const ImageInfo& image : images)
    out.push_back({{"width", image.width},
                   {"height", image.height},
                   {"resized_width", image.resized_width},
                   {"resized_height", image.resized_height},
                   {"tokens", image.tokens}});
  return out;
}

json answer_json(const Answer& answer, const DecodeOptions& decode) {
  const DecodeStats& stats = answer.stats;
  json out = {{"text", answer.text},
              {"tokens", answer.tokens},
              {"finish_reason", name_of(answer.finish)},
              {"usage",
               {{"prompt_tokens", answer.prompt_tokens},
                {"image_tokens", answer.image_tokens},
                {"completion_tokens", answer.tokens.size()}}},
              {"images", images_json(answer.images)},
              {"stats",
               {{"decoder", name_of(decode.kind)},
                {"block_size", decode.kind == DecoderKind::autoregressive ? 1 : decode.block_size},
                {"nfe", stats.nfe},
                {"tokens_per_nfe", stats.tokens_per_nfe()},
                {"accepted_per_round", stats.accepted_per_round()},
                {"encode_ms", answer.encode_ms},
                {"prefill_ms", answer.prefill_ms},
                {"decode_ms", answer.decode_ms},
                {"tokens_per_s", answer.tokens_per_s()},
                {"draft_precision", name_of(answer.memory.draft)},
                {"weight_bytes", answer.memory.weights},
                {"draft_bytes", answer.memory.drafts},
                {"peak_rss_bytes", peak_rss_bytes()}}}};
  if (stats.verified > 0) out["stats"]["verified_per_round"] = stats.verified_per_round();
  if (stats.forced > 0) out["stats"]["forced_tokens"] = stats.forced;
  if (stats.fused > 0) out["stats"]["fused_rounds"] = stats.fused;
  for (const auto& [block, rounds] : stats.blocks) out["stats"]["blocks"][std::to_string(block)] = rounds;
  return out;
}

}  // namespace dvlm
