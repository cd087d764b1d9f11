#include "engine/core.h"

#include <algorithm>
#include <limits>

#include "backends/load_model.h"
#include "core/error.h"
#include "engine/pass_costs.h"

namespace dvlm {
namespace {

constexpr int kWorthWaiting = 64;  // tokens of a prefix that another answer is about to compute

// The last token of a prompt is never taken from elsewhere: its logits are wanted.
int shared_tokens(int common, const PromptIdentity& identity) {
  return std::min(common, static_cast<int>(identity.tokens.size()) - 1);
}

void check_length(const LoadedPrompt& prompt, int limit) {
  const int size = static_cast<int>(prompt.tokens.size());
  if (size >= limit)
    fail(
        "the prompt has {} tokens ({} of them pictures), but the model's context has {} positions and the "
        "answer needs at least one: shorten the prompt{}",
        size, prompt.image_tokens, limit, prompt.image_tokens > 0 ? " or lower --max-pixels" : "");
}

}  // namespace

EngineCore::EngineCore(const EngineOptions& options, const Checkpoint& checkpoint)
    : tokenizer_(options.model),
      folder_(options.model),
      model_(load_model(checkpoint, options.load)),
      pictures_(options.image_memory),
      prefixes_(options.max_cached_prefixes) {}

void EngineCore::check_template(const Request& request) {
  if (template_checked_ || !request.input_ids.empty()) return;
  check_chat_template(folder_);
  template_checked_ = true;
}

LoadedPrompt EngineCore::load_checked(const Request& request) {
  check_template(request);
  const int limit = config().text.max_positions;
  LoadedPrompt prompt = load_prompt(config(), tokenizer_, request, &pictures_, limit);
  check_length(prompt, limit);
  return prompt;
}

std::unique_ptr<Generation> EngineCore::load(const Request& request) {
  auto generation = std::make_unique<Generation>(tokenizer_);
  Generation& g = *generation;
  g.options = request.decode;
  g.stops = StopStrings(request.stop);
  g.loaded = load_checked(request);
  g.identity = {g.loaded.tokens, pad_runs(g.loaded.tokens, config()), {}};
  for (const Visual& picture : g.loaded.pictures) {
    g.identity.keys.push_back(picture.key);
    g.answer.images.push_back(picture.info);
  }
  g.answer.prompt_tokens = static_cast<int>(g.loaded.tokens.size());
  g.answer.image_tokens = g.loaded.image_tokens;
  return generation;
}

// What the checkpoint decides.
DecodeContext EngineCore::context_of(const DecodeOptions& options) {
  const int vocab = config().text.vocab_size;
  DecodeContext context{.valid_tokens = std::min(tokenizer_.size(), vocab),
                        .context_limit = config().text.max_positions};
  if (!info_of(options.kind).needs_mask) return context;
  const auto mask = tokenizer_.find(kMaskToken);
  if (!mask)
    fail(
        "{} has no mask token {} in its tokenizer, which --decoder {} needs: it was not converted to block "
        "diffusion; use --decoder ar",
        folder_.string(), kMaskToken, name_of(options.kind));
  if (*mask >= vocab)
    fail("the mask token has the id {}, but the model has ids 0 to {}: use --decoder ar", *mask, vocab - 1);
  context.mask_token = *mask;
  if (options.kind == DecoderKind::automatic) context.chooser = chooser(options.block_size);
  return context;
}

// Passes are measured when it is first needed; what drafts were worth it remembers from answer to answer.
std::shared_ptr<BlockChooser> EngineCore::chooser(int largest) {
  auto& known = choosers_[largest];
  if (!known) known = std::make_shared<BlockChooser>(measure_pass_costs(*model_, largest), largest);
  return known;
}

std::vector<TokenId> EngineCore::stop_tokens() const {
  std::vector<TokenId> stops = config().stop_tokens;
  if (const auto end = tokenizer_.find("<|im_end|>");
      end && std::find(stops.begin(), stops.end(), *end) == stops.end())
    stops.push_back(*end);
  return stops;
}

RopeIndex EngineCore::positions_of(const LoadedPrompt& prompt) const {
  std::vector<Grid> grids;
  std::vector<double> seconds;
  for (const Visual& picture : prompt.pictures) {
    grids.push_back(picture.grid);
    seconds.push_back(picture.second_per_grid);
  }
  return rope_index(prompt.tokens, grids, seconds, config());
}

// Among what was kept and the prompts of answers under way.
PrefixMatch EngineCore::longest_prefix(const PromptIdentity& identity) {
  PrefixMatch best = prefixes_.find(identity);
  for (const Generation* other : live_) {
    const int held = std::min(common_prefix(other->identity, identity), other->sequence->length());
    if (held > best.length) best = {other->sequence.get(), held};
  }
  best.length = shared_tokens(best.length, identity);
  return best;
}

// Whether an answer under way is about to compute much more of the prompt than the `held` tokens there are.
bool EngineCore::worth_waiting(const Generation& generation, int held) const {
  return std::any_of(live_.begin(), live_.end(), [&](const Generation* other) {
    return !other->prefilled() && !other->ended() &&
           shared_tokens(common_prefix(other->identity, generation.identity), generation.identity) >=
               held + kWorthWaiting;
  });
}

// With the longest prefix there is and room for `capacity` tokens. Null: not while other answers hold memory.
std::unique_ptr<Sequence> EngineCore::sequence_for(const PromptIdentity& identity, int capacity) {
  for (;;) {
    const PrefixMatch match = longest_prefix(identity);
    std::string problem;
    try {
      if (match.length == 0) return model_->new_sequence(capacity);
      auto sequence = match.sequence->fork(match.length);
      if (sequence->reserve(capacity)) return sequence;
    } catch (const Error& error) {
      problem = error.what();
    }
    if (prefixes_.drop_oldest()) continue;
    if (!live_.empty()) return nullptr;
    fail("{}; lower --max-tokens or --max-pixels, or shorten the prompt", problem);
  }
}

bool EngineCore::begin(Generation& g) {
  if (const std::string problem = g.options.problem(); !problem.empty()) fail("{}", problem);
  g.context = context_of(g.options);
  if (worth_waiting(g, longest_prefix(g.identity).length)) return false;
  const int64_t wanted = int64_t{g.options.max_tokens} + g.options.block_size + g.answer.prompt_tokens;
  const int capacity = static_cast<int>(std::min<int64_t>(wanted, g.context.context_limit));
  g.sequence = sequence_for(g.identity, capacity);
  if (!g.sequence) return false;
  g.answer.reused_tokens = g.sequence->length();
  start_when_encoded(g);
  live_.push_back(&g);  // last: what throws has not begun
  return true;
}

void EngineCore::encode_visual(Generation& g) {
  DVLM_ASSERT(!g.ready());
  encode(g.loaded.pictures[g.visuals_done], g.visuals_done + 1);
  start_when_encoded(g);
}

// Passes over pictures that need no features, or have them.
void EngineCore::start_when_encoded(Generation& g) {
  const auto done = [&](size_t i) {
    const PadRun& run = g.identity.runs[i];
    return run.begin + run.count <= g.answer.reused_tokens || g.loaded.pictures[i].features;
  };
  while (g.visuals_done < g.loaded.pictures.size() && done(g.visuals_done)) ++g.visuals_done;
  if (g.visuals_done == g.loaded.pictures.size()) start(g);
}

void EngineCore::encode(Visual& picture, size_t number) {
  if (const auto known = pictures_.find(picture.key)) {  // twice in one prompt, or another's in the meantime
    picture.features = known->features;
    return;
  }
  try {
    picture.features = std::make_shared<ImageFeatures>(model_->encode_image(patches_of(picture, config())));
  } catch (const Error& error) {
    fail("picture {} ({} tokens): {}; lower --max-pixels", number, picture.info.tokens, error.what());
  }
  picture.image = {};
  picture.patches = {};
  DVLM_ASSERT(picture.features->tokens == picture.info.tokens);
  pictures_.insert(picture);
}

// Of the pads behind the `held` tokens.
void EngineCore::add_features(Prompt& prompt, const LoadedPrompt& loaded, std::span<const PadRun> runs,
                              int held) const {
  const auto hidden = static_cast<size_t>(config().text.hidden_size);
  for (size_t i = 0; i < runs.size(); ++i) {
    const int skip = std::max(0, held - runs[i].begin);
    if (skip >= runs[i].count) continue;
    const auto& values = loaded.pictures[i].features->values;
    prompt.features.insert(prompt.features.end(),
                           values.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(skip) * hidden),
                           values.end());
    for (int pad = skip; pad < runs[i].count; ++pad) prompt.pads.push_back(runs[i].begin + pad);
  }
}

void EngineCore::start(Generation& g) {
  g.prompt.rope = positions_of(g.loaded);
  g.prompt.stop_tokens = stop_tokens();
  add_features(g.prompt, g.loaded, g.identity.runs, g.answer.reused_tokens);
  g.prompt.tokens = std::move(g.loaded.tokens);
  g.loaded.pictures.clear();
  g.decoder = make_decoder(g.prompt, *g.sequence, g.options, g.context);
  g.answer.encode_ms = g.watch.lap();
}

std::span<const Chosen> EngineCore::forward(std::span<const Segment> segments) {
  Stopwatch watch;
  const auto chosen = model_->forward(segments);
  ++passes_;
  pass_seconds_ += watch.lap() / 1000;
  for (const Segment& segment : segments) rows_ += segment.tokens.size();
  return chosen;
}

void EngineCore::step(std::span<Generation* const> together, int prefill_rows) {
  const auto writing =
      std::count_if(together.begin(), together.end(), [](const Generation* g) { return g->prefilled(); });
  for (const auto& [largest, chooser] : choosers_)
    chooser->set_sharing(std::max(1, static_cast<int>(writing)));
  pass_.clear();
  in_pass_.clear();
  for (Generation* g : together) {
    if (!g->prefilled() && prefill_rows <= 0) continue;
    prefill_rows -= pass_.add(*g->decoder, std::max(prefill_rows, 1));
    in_pass_.push_back(g);
  }
  std::span<const Chosen> chosen;
  try {
    chosen = forward(pass_.segments());
  } catch (...) {  // whose fault it is shows when each goes alone; a refused pass has changed nothing
    for (size_t i = 0; i < in_pass_.size(); ++i) step_alone(i);
    return;
  }
  for (size_t i = 0; i < in_pass_.size(); ++i) take(*in_pass_[i], pass_.rows_of(i, chosen));
}

void EngineCore::step_alone(size_t i) {
  try {
    take(*in_pass_[i], forward(pass_.alone(i)));
  } catch (...) {
    in_pass_[i]->failure = std::current_exception();
  }
}

void EngineCore::take(Generation& g, std::span<const Chosen> chosen) try {
  const bool prefill = !g.prefilled();
  const auto emitted = g.decoder->take(chosen);
  if (prefill && g.prefilled()) g.answer.prefill_ms = g.watch.lap();
  g.answer.finish = g.decoder->finished();
  if (g.options.record) g.update.passes.push_back(g.decoder->record());
  std::string text;
  for (size_t i = 0; i < emitted.size() && !g.stops.found(); ++i) {
    g.answer.tokens.push_back(emitted[i]);
    if (g.answer.finish == FinishReason::stop && i + 1 == emitted.size()) break;  // no text, special or not
    text += g.stops.push(g.stream.push(emitted.subspan(i, 1)));
    if (g.options.logprobs < 0) continue;
    g.update.logprobs.push_back(g.decoder->logprobs()[i]);
    g.answer.logprobs.push_back(g.decoder->logprobs()[i]);
  }
  if (g.stops.found()) g.answer.finish = FinishReason::stop;
  g.update.text += text;
  g.answer.text += text;
} catch (...) {
  g.failure = std::current_exception();
}

void EngineCore::end(Generation& g) {
  live_.erase(std::remove(live_.begin(), live_.end(), &g), live_.end());
  if (g.answer.finish == FinishReason::none) g.answer.finish = FinishReason::cancelled;
  if (g.failure || !g.decoder) {
    g.decoder.reset();
    g.sequence.reset();
    return;
  }
  const std::string rest = g.stops.push(g.stream.finish()) + g.stops.finish();
  g.update.text += rest;
  g.answer.text += rest;
  if (!g.answer.tokens.empty()) g.answer.decode_ms = g.watch.lap();
  g.answer.stats = g.decoder->stats();
  g.decoder.reset();
  // A stop string may have dropped tokens that the last pass gave.
  auto& tokens = g.identity.tokens;
  tokens.insert(tokens.end(), g.answer.tokens.begin(), g.answer.tokens.end());
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(g.sequence->length())));
  g.sequence->truncate(static_cast<int>(tokens.size()));
  g.sequence->trim();
  prefixes_.insert(std::move(g.identity), std::move(g.sequence));
}

void EngineCore::score(const Request& request,
                       const std::function<void(size_t, std::span<const float>)>& on_row) {
  constexpr int kRows = 128;  // per pass: each row has logits
  LoadedPrompt loaded = load_checked(request);
  const std::vector<PadRun> runs = pad_runs(loaded.tokens, config());
  for (size_t i = 0; i < loaded.pictures.size(); ++i) encode(loaded.pictures[i], i + 1);
  Prompt prompt;
  add_features(prompt, loaded, runs, 0);
  const RopeIndex rope = positions_of(loaded);
  const int size = static_cast<int>(loaded.tokens.size());
  const auto sequence = model_->new_sequence(size);
  const auto hidden = static_cast<size_t>(config().text.hidden_size);
  for (int first = 0; first < size; first += kRows) {
    const auto count = static_cast<size_t>(std::min(kRows, size - first)), at = static_cast<size_t>(first);
    const auto pads = [&](int end) {
      return static_cast<size_t>(std::lower_bound(prompt.pads.begin(), prompt.pads.end(), end) -
                                 prompt.pads.begin());
    };
    std::vector<Wanted> rows;
    for (size_t i = 0; i < count; ++i) rows.push_back({.row = static_cast<int>(i), .choice = Choice::logits});
    const Segment segment{
        .sequence = sequence.get(),
        .tokens = std::span(loaded.tokens).subspan(at, count),
        .positions = std::span(rope.positions).subspan(at, count),
        .features = std::span(prompt.features)
                        .subspan(pads(first) * hidden,
                                 (pads(first + static_cast<int>(count)) - pads(first)) * hidden),
        .context = first,
        .keep = true,
        .wanted = rows};
    const auto chosen = forward({&segment, 1});
    for (size_t i = 0; i < count; ++i) on_row(at + i, chosen[i].logits);
  }
}

PreparedPrompt EngineCore::prepare(const Request& request) {
  check_template(request);
  return prepare_prompt(config(), tokenizer_, request);
}

void EngineCore::clear() {
  prefixes_.clear();
  pictures_.clear();
}

CoreTotals EngineCore::totals() const {
  return {passes_, rows_, pass_seconds_, model_->kv_memory(), prefixes_.size(), pictures_.totals()};
}

}  // namespace dvlm
