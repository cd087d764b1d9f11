#include "engine/token_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace dvlm {

using nlohmann::json;

namespace {

// In the order of PassKind.
constexpr const char* kPassNames[] = {"prefill", "decode", "draft", "verify", "denoise", "commit"};

}  // namespace

TokenWriter::TokenWriter(const Tokenizer& tokenizer, std::optional<TokenId> mask)
    : tokenizer_(&tokenizer), mask_(mask.value_or(-1)) {}

std::string TokenWriter::text(TokenId id) const {
  return tokenizer_->decode({&id, 1}, false);
}

std::vector<int> TokenWriter::bytes(TokenId id) const {
  std::vector<int> out;
  for (const char byte : tokenizer_->bytes_of(id)) out.push_back(static_cast<unsigned char>(byte));
  return out;
}

json passes_json(std::span<const PassRecord> passes, const TokenWriter& tokens) {
  json out = json::array();
  for (const PassRecord& pass : passes) {
    json block = json::array();
    for (const TokenId id : pass.block) block.push_back(tokens.masked(id) ? json() : json(tokens.text(id)));
    json& one = out.emplace_back(json{{"kind", kPassNames[static_cast<size_t>(pass.kind)]},
                                      {"rows", pass.rows},
                                      {"block", std::move(block)},
                                      {"accepted", pass.accepted},
                                      {"emitted", pass.emitted}});
    if (!pass.forced.empty()) one["forced"] = pass.forced;
  }
  return out;
}

}  // namespace dvlm
