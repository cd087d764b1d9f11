// From a request to the tokens and pictures of its prompt.
#pragma once
#include <vector>

#include "engine/visual.h"

namespace dvlm {

struct LoadedPrompt {
  std::vector<TokenId> tokens;
  std::vector<Visual> pictures;  // in order of appearance
  int image_tokens = 0;
};

// Reads the pictures and encodes the text. `context_limit` ends the reading as soon as the pictures alone
// exceed it; 0 keeps no pixels and has no limit: for counting.
LoadedPrompt load_prompt(const ModelConfig& config, const Tokenizer& tokenizer, const Request& request,
                         VisualCache* cache, int context_limit);

// The runs of pad tokens, in order; the k-th belongs to the k-th picture.
struct PadRun {
  int begin = 0, count = 0;
};
std::vector<PadRun> pad_runs(std::span<const TokenId> tokens, const ModelConfig& config);

// What the pictures of one prompt are, run by run: equal tokens with other pictures behind their pads are
// another prompt.
struct PromptIdentity {
  std::vector<TokenId> tokens;
  std::vector<PadRun> runs;
  std::vector<ContentKey> keys;
};

// The longest prefix that two prompts share, pictures included.
int common_prefix(const PromptIdentity& a, const PromptIdentity& b);

}  // namespace dvlm
