// Requests and answers as JSON: what `dvlm run --json` prints and libdvlm takes and gives.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "checkpoint/json.h"
#include "engine/engine.h"

namespace dvlm {

// {"messages": [...], "decoder": "auto", "block_size": ..., ...} (include/dvlm/dvlm.h lists the keys). Throws
// Error naming the key that is unknown or out of range.
Request parse_request(const nlohmann::json& json, const ModelConfig& config);

// What both this and the server's "dvlm" hold: decoder, block_size, branches, draft_p_min, threshold,
// sub_block, min_pixels, max_pixels. Without block_size the one in `request` stays.
void read_decoding(const JsonObject& object, Request& request);

// {"token id": bias}; each token of the vocabulary at most once.
std::vector<std::pair<TokenId, float>> read_logit_bias(const nlohmann::json& given, int vocab);

// Texts that end an answer: one, or a list.
std::vector<std::string> read_stop(const nlohmann::json& given, const char* name);

// "auto", "f32", "bf16", "int8", "int4"; throws Error for another.
Precision parse_precision(const std::string& name);
// "auto", "same", "int8", "int4", "fp8"; likewise. What drafts are made with.
DraftPrecision parse_draft_precision(const std::string& name);
std::string_view name_of(DraftPrecision precision);

nlohmann::json images_json(const std::vector<ImageInfo>& images);
nlohmann::json answer_json(const Answer& answer, const DecodeOptions& decode);

}  // namespace dvlm
