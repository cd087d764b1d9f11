// Options that several subcommands share.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "engine/engine.h"

namespace dvlm {

// Of dvlm bench.
struct MachineFlags {
  std::string device = "cpu";
  int threads = 0;
  bool json = false;
};

// Which checkpoint, and how it is held.
struct ModelFlags {
  std::string model;  // empty: the installed dvlm-tiny
  std::string lora, draft_lora;
  std::string device = "auto", precision = "auto", draft_precision = "auto", packed;
  int threads = 0;
  std::string memory_limit;
};
void add_model_options(Command command, ModelFlags& options);   // all, in a group of their own
void add_model_option(Command command, std::string& model);     // --model
void add_memory_options(Command command, ModelFlags& options);  // --threads, --memory-limit
// "6GiB", "500MB", ...; 0 for an empty text. Throws Error naming `option`.
size_t parse_bytes(const std::string& text, const char* option);
// `decoders`: all that the command will use; where none of them drafts in passes of its own,
// --draft-precision auto holds no weights for that.
EngineOptions engine_options(const ModelFlags& options, const std::vector<std::string>& decoders);
// What the commands of `dvlm bench` share. Here: --shape and --precision.
void add_shape_options(Command command, std::string& shape, std::vector<std::string>& precisions,
                       const char* which = "Which precisions");
void add_acceptance_option(Command command, std::string& file);    // --acceptance
void add_machine_options(Command command, MachineFlags& options);  // --device, --threads, --json
void add_draft_option(Command command, std::string& precision);    // --draft-precision
void add_p_min_option(Command command, double& p_min);             // --draft-p-min

// How the answer is decoded.
struct DecodingOptions {
  std::string decoder = "auto";
  int block_size = 0;  // 0: the checkpoint's
  DecodeOptions decode;
  std::vector<std::string> logit_bias;  // ID=BIAS
};
void add_decoder_option(Command command, DecodingOptions& options);    // --decoder
void add_decoding_options(Command command, DecodingOptions& options);  // the rest
void add_penalty_options(Command command, DecodingOptions& options);
DecodeOptions decode_options(const DecodingOptions& options, const ModelConfig& config);

// What the answer must be.
struct GrammarFlags {
  std::string regex, grammar, json_schema, json_spaces = "usual";
};
void add_grammar_options(Command command, GrammarFlags& options);  // --regex, --grammar, --json-schema
// Reads the files. Throws Error for what cannot be read.
std::optional<GrammarSource> grammar_source(const GrammarFlags& options);

// What is asked.
struct PromptOptions {
  std::vector<std::string> images, videos;
  std::string frames;  // a folder of images, one video
  std::string prompt, system, messages, input_ids;
  int64_t min_pixels = 0, max_pixels = 0;
  double fps = 0;
  bool add_vision_id = false, exif_rotate = false;
};
void add_prompt_options(Command command, PromptOptions& options);
// The conversation so far: --messages, or system + one user turn with images, videos and the prompt.
Request make_request(const PromptOptions& options);

// `given`, or else dvlm-tiny beside the program: in share/dvlm/models of an installation or models/ of a
// source tree.
std::filesystem::path model_folder(const std::string& given);

}  // namespace dvlm
