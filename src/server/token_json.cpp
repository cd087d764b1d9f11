#include "server/token_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace dvlm {

using nlohmann::json;

namespace {

// JSON has no infinity: a logarithm of 0 becomes -9999.
double finite_logprob(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0;
}

json chat_entry(TokenId id, float logprob, const TokenWriter& tokens) {
  return {{"token", tokens.text(id)}, {"logprob", finite_logprob(logprob)}, {"bytes", tokens.bytes(id)}};
}

json sglang_entry(TokenId id, float logprob, const TokenWriter& tokens, bool texts) {
  return json::array({finite_logprob(logprob), id, texts ? json(tokens.text(id)) : json()});
}

int64_t characters(const std::string& utf8) {
  return std::ranges::count_if(utf8, [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

json chat_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens) {
  json content = json::array();
  for (const TokenLogprob& entry : answer) {
    json item = chat_entry(entry.token, entry.logprob, tokens);
    json& top = item["top_logprobs"] = json::array();
    for (const auto& [id, logprob] : entry.top) top.push_back(chat_entry(id, logprob, tokens));
    content.push_back(std::move(item));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

json completion_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens, int64_t& offset) {
  json texts = json::array(), logprobs = json::array(), tops = json::array(), offsets = json::array();
  for (const TokenLogprob& entry : answer) {
    const std::string text = tokens.text(entry.token);
    // Tokens of which several read alike have one entry, that of the likeliest. The chosen one is never
    // missing.
    json top = json::object();
    for (const auto& [id, logprob] : entry.top)
      if (const std::string name = tokens.text(id); !top.contains(name)) top[name] = finite_logprob(logprob);
    if (!top.contains(text)) top[text] = finite_logprob(entry.logprob);
    logprobs.push_back(finite_logprob(entry.logprob));
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += characters(text);
    texts.push_back(text);
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

json sglang_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens, bool texts) {
  json out = json::array();
  for (const TokenLogprob& entry : answer)
    out.push_back(sglang_entry(entry.token, entry.logprob, tokens, texts));
  return out;
}

json sglang_top_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens, bool texts) {
  json out = json::array();
  for (const TokenLogprob& entry : answer) {
    json top = json::array();
    for (const auto& [id, logprob] : entry.top) top.push_back(sglang_entry(id, logprob, tokens, texts));
    out.push_back(std::move(top));
  }
  return out;
}

}  // namespace dvlm
