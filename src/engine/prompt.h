// From a request to the tokens and images of its prompt.
#pragma once
#include <vector>

#include "engine/visual.h"

namespace dvlm {

struct LoadedPrompt {
  std::vector<TokenId> tokens;
  std::vector<Visual> visuals;  // in order of appearance
  int image_tokens = 0;
};

// Reads the images and encodes the text. `context_limit` ends the reading as soon as the images alone
// exceed it; 0 keeps no pixels and has no limit: for counting.
LoadedPrompt load_prompt(const ModelConfig& config, const Tokenizer& tokenizer, const Request& request,
                         VisualCache* cache, int context_limit);

// The runs of pad tokens, in order; the k-th belongs to the k-th image or video.
struct PadRun {
  int begin = 0, count = 0;
};
std::vector<PadRun> pad_runs(std::span<const TokenId> tokens, const ModelConfig& config);

// What the images of one prompt are, run by run: equal tokens with other images behind their pads are another
// prompt.
struct PromptIdentity {
  std::vector<TokenId> tokens;
  std::vector<PadRun> runs;
  std::vector<ContentKey> keys;
};
PromptIdentity identity_of(const LoadedPrompt& prompt, const ModelConfig& config);

// The longest prefix that two prompts share, images included.
int common_prefix(const PromptIdentity& a, const PromptIdentity& b);

}  // namespace dvlm
