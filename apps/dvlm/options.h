// Options that several subcommands share.
#pragma once
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// An option whose values are checked and whose default is shown.
template <class T>
CLI::Option* add_checked(CLI::App& command, const char* flag, T& value, const CLI::Validator& valid,
                         const std::string& help) {
  return command.add_option(flag, value, help)->check(valid)->capture_default_str();
}

// Which checkpoint, and how it is held.
struct ModelFlags {
  std::string model;  // empty: the installed dvlm-tiny
  std::string precision = "auto", draft_precision = "same", packed;
  int threads = 0;
  std::string memory_limit;
};
void add_model_options(CLI::App& command, ModelFlags& options);
// "6GiB", "500MB", ...; 0 for an empty text. Throws Error naming `option`.
size_t parse_bytes(const std::string& text, const char* option);
EngineOptions engine_options(const ModelFlags& options);
// What the commands of `dvlm bench` share: --shape and --precision; --threads and --json.
void add_shape_options(CLI::App& command, std::string& shape, std::vector<std::string>& precisions,
                       const char* which = "Which precisions");
void add_output_options(CLI::App& command, int& threads, bool& json);
void add_draft_option(CLI::App& command, std::string& precision);  // --draft-precision
void add_p_min_option(CLI::App& command, double& p_min);           // --draft-p-min
DraftPrecision parse_draft_precision(const std::string& name);

// Exact in JSON numbers too. Checked as text: CLI11 would wrap -1 around.
inline const CLI::Range kSeedRange{int64_t{0}, int64_t{1} << 53};

// How the answer is decoded.
struct DecodingOptions {
  std::string decoder = "spec";
  int block_size = 0;  // 0: the checkpoint's
  DecodeOptions decode;
};
void add_decoder_option(CLI::App& command, DecodingOptions& options);    // --decoder
void add_decoding_options(CLI::App& command, DecodingOptions& options);  // the rest
DecodeOptions decode_options(const DecodingOptions& options, const ModelConfig& config);

// What is asked.
struct PromptOptions {
  std::vector<std::string> images, videos;
  std::string frames;  // a folder of images, one video
  std::string prompt, system, messages, input_ids;
  int64_t min_pixels = 0, max_pixels = 0;
  double fps = 0;
  bool add_vision_id = false;
};
void add_prompt_options(CLI::App& command, PromptOptions& options);
// The conversation so far: --messages, or system + one user turn with images, videos and the prompt.
Request make_request(const PromptOptions& options);

// `given`, or else dvlm-tiny beside the program: in share/dvlm/models of an installation or models/ of a
// source tree.
std::filesystem::path model_folder(const std::string& given);

}  // namespace dvlm
