// Requests and answers as JSON: what `dvlm run --json` prints and libdvlm takes and gives.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "engine/engine.h"

namespace dvlm {

// {"messages": [...], "decoder": "spec", "block_size": ..., ...} (include/dvlm/dvlm.h lists the keys). Throws
// Error naming the key that is unknown or out of range.
Request parse_request(const nlohmann::json& json, const ModelConfig& config);

DecoderKind decoder_kind(const std::string& name);   // "ar", "mdm", "spec", "fused", "auto"; or throws Error
Precision parse_precision(const std::string& name);  // "auto", "f32", "bf16"; throws Error for another

nlohmann::json images_json(const std::vector<ImageInfo>& images);
nlohmann::json answer_json(const Answer& answer, const DecodeOptions& decode);

}  // namespace dvlm
