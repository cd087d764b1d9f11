#include "engine/prompt.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {
namespace {

constexpr int64_t kMaxCounted = int64_t{1} << 17;  // tokens of pictures of a prompt that is only counted

void check_ids(std::span<const TokenId> tokens, const ModelConfig& config) {
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= config.text.vocab_size)
      fail(
          "token {} of the prompt has the id {}, but the model has ids 0 to {}: tokenizer and model do not "
          "belong together",
          i, tokens[i], config.text.vocab_size - 1);
}

// Template text names the special tokens that the model was configured with only when the tokenizer agrees on
// them.
void check_pads(const LoadedPrompt& prompt, const ModelConfig& config) {
  const auto runs = pad_runs(prompt.tokens, config);
  if (runs.size() != prompt.visuals.size())
    fail(
        "the prompt has {} runs of picture pads for {} pictures: the token ids of config.json and of the "
        "tokenizer disagree, or the given ids do not fit the pictures",
        runs.size(), prompt.visuals.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    const Visual& visual = prompt.visuals[i];
    if (runs[i].count != visual.info.tokens ||
        (prompt.tokens[runs[i].begin] == config.video_token) != visual.video)
      fail("picture {} needs {} {} pads, but the prompt has {} at token {}", i + 1, visual.info.tokens,
           visual.video ? "video" : "image", runs[i].count, runs[i].begin);
  }
}

}  // namespace

LoadedPrompt load_prompt(const ModelConfig& config, const Tokenizer& tokenizer, const Request& request,
                         VisualCache* cache, int context_limit) {
  LoadedPrompt prompt;
  std::vector<int> image_tokens, video_tokens;
  int64_t total = 0, pixels = 0;
  const int64_t context = context_limit > 0 ? context_limit : kMaxCounted;
  const int64_t limit = cache ? std::min(context, cache->most_waiting()) : context;
  const auto add_tokens = [&](int64_t tokens) {
    if (total + tokens <= limit) return;
    const bool context_ends = limit == context_limit;
    throw PromptTooLong(fmt::format(
        "the pictures of the prompt need at least {} tokens, but {} {}: lower --max-pixels or send fewer",
        total + tokens, context_ends ? "the model's context has" : "those of one request may have at most",
        context_ends ? fmt::format("{} positions", limit) : std::to_string(limit)));
  };
  for (const ContentPart* part : visuals_of(request.conversation)) {
    Visual visual = load_visual(*part, request, config, cache, add_tokens);
    pixels += int64_t{visual.info.width} * visual.info.height;
    if (request.max_source_pixels > 0 && pixels > 4 * request.max_source_pixels)
      fail("the pictures of the prompt have more than {} pixels in all: send fewer or smaller ones",
           4 * request.max_source_pixels);
    add_tokens(visual.info.tokens);  // of a known one, too
    total += visual.info.tokens;
    if (context_limit == 0) visual.drop_pixels();
    (visual.video ? video_tokens : image_tokens).push_back(visual.info.tokens);
    prompt.visuals.push_back(std::move(visual));
  }
  prompt.image_tokens = static_cast<int>(total);
  prompt.tokens = !request.input_ids.empty() ? request.input_ids
                                             : encode_chat(tokenizer, request.conversation, image_tokens,
                                                           video_tokens, request.chat_template);
  if (prompt.tokens.empty()) fail("the prompt is empty: give it a question");
  check_ids(prompt.tokens, config);
  check_pads(prompt, config);
  return prompt;
}

PreparedPrompt prepare_prompt(const ModelConfig& config, const Tokenizer& tokenizer, const Request& request) {
  LoadedPrompt loaded = load_prompt(config, tokenizer, request, nullptr, 0);
  PreparedPrompt prepared;
  prepared.tokens = std::move(loaded.tokens);
  prepared.image_tokens = loaded.image_tokens;
  for (const Visual& visual : loaded.visuals) prepared.images.push_back(visual.info);
  return prepared;
}

std::vector<PadRun> pad_runs(std::span<const TokenId> tokens, const ModelConfig& config) {
  std::vector<PadRun> runs;
  for (int i = 0; i < static_cast<int>(tokens.size()); ++i) {
    if (!config.is_pad(tokens[i])) continue;
    if (i > 0 && tokens[i - 1] == tokens[i])
      ++runs.back().count;
    else
      runs.push_back({i, 1});
  }
  return runs;
}

PromptIdentity identity_of(const LoadedPrompt& prompt, const ModelConfig& config) {
  PromptIdentity identity{prompt.tokens, pad_runs(prompt.tokens, config), {}};
  for (const Visual& visual : prompt.visuals) identity.keys.push_back(visual.key);
  return identity;
}

int common_prefix(const PromptIdentity& a, const PromptIdentity& b) {
  const auto [end, ignored] =
      std::mismatch(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
  int length = static_cast<int>(end - a.tokens.begin());
  // A run without a counterpart can only stand against pads that a model wrote, which no image is behind.
  for (size_t i = 0; i < std::max(a.keys.size(), b.keys.size()); ++i)
    if (i >= a.keys.size() || i >= b.keys.size() || a.keys[i] != b.keys[i])
      length = std::min(length, (i < a.keys.size() ? a : b).runs[i].begin);
  return length;
}

}  // namespace dvlm
