// What other tools put into model folders and dvlm cannot run: named, with what to do.
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace dvlm {

class JsonObject;

// Throws Error for a "quantization_config" of weights that dvlm does not read. It reads FP8 and INT8 with one
// scale per output row, and tokens scaled as they come (docs/quantization.md), and what grouped_format()
// knows. `where` begins the message.
void refuse_other_quantizers(const nlohmann::json& quantization, const std::string& where);

// Throws Error for settings of compressed-tensors, of all layers or of a group, that change more than weights
// and inputs: rotations of inputs, rounded outputs, rounded keys and values.
void refuse_more_than_weights(const JsonObject& at);

// Why a model with a tensor of this name (style B) cannot be run as if the tensor were not there: it belongs
// to an adapter, to another quantizer, or scales what a layer reads. "" for any other name.
std::string problem_of_name(std::string_view name);

// What a folder without weights, or without config.json, holds instead, as the end of a sentence; "" when
// nothing of it is known.
std::string held_instead(const std::filesystem::path& folder);

}  // namespace dvlm
