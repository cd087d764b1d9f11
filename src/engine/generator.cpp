#include "engine/generator.h"

#include <algorithm>

#include "core/error.h"
#include "core/finally.h"
#include "core/machine.h"
#include "grammar/grammar_error.h"
#include "model/device_lost.h"
#include "text/answers.h"
#include "text/mask_token.h"

namespace dvlm {

using Phase = Generation::Phase;

namespace {

// Beside the packed weights, else in the user's cache.
std::filesystem::path cost_file_for(const std::filesystem::path& packed_file) {
  if (!packed_file.empty()) return packed_file.string() + ".costs";
  const std::filesystem::path folder = cache_folder();
  return folder.empty() ? folder : folder / "pass-costs.json";
}

// For models that cannot draft.
std::shared_ptr<BlockChooser> steps_alone() {
  const CostCurve any{{{1, 1.0}}};
  return std::make_shared<BlockChooser>(PassCosts{any, {}}, 1);
}

}  // namespace

Generator::Generator(const EngineOptions& options, const Tokenizer& tokenizer, Model& model,
                     PromptReader& reader)
    : folder_(options.model),
      tokenizer_(tokenizer),
      model_(model),
      reader_(reader),
      prefixes_(model, options.max_cached_prefixes),
      grammars_(tokenizer, std::min(tokenizer.size(), model.config().text.vocab_size),
                mask_token(tokenizer, model.config()), reader.stop_tokens()),
      cost_file_(cost_file_for(options.load.packed_file)),
      learner_(model.weight_memory()) {}

std::unique_ptr<Generation> Generator::load(const Request& request) {
  LoadedPrompt loaded = reader_.load(request);
  PromptIdentity identity = identity_of(loaded, model_.config());
  std::unique_ptr<Generation> generation(new Generation(tokenizer_, mask_token(tokenizer_, model_.config()),
                                                        request, std::move(loaded), std::move(identity)));
  if (request.grammar) generation->grammar_ = grammars_.find(*request.grammar);
  Answer& answer = generation->answer_;
  for (const Visual& visual : generation->loaded_.visuals) answer.images.push_back(visual.info);
  answer.prompt_tokens = static_cast<int>(generation->loaded_.tokens.size());
  answer.image_tokens = generation->loaded_.image_tokens;
  answer.memory = model_.weight_memory();
  return generation;
}

DecodeContext Generator::context_of(const DecodeOptions& options, bool grammar) {
  const TextConfig& text = model_.config().text;
  DecodeContext context{.valid_tokens = std::min(tokenizer_.size(), text.vocab_size),
                        .context_limit = text.max_positions,
                        .clean_attention = model_.config().clean_attention};
  if (block_attention() && info_of(options.kind).lossless) fail("{}", context.problem(options.kind));
  const bool automatic = options.kind == DecoderKind::automatic;
  if (!automatic && !info_of(options.kind).needs_mask) return context;
  const auto mask = mask_token(tokenizer_, model_.config());
  if (automatic && (!mask || *mask >= text.vocab_size)) {
    context.chooser = steps_alone();
    return context;
  }
  if (!mask)
    fail(
        "{} has no mask token {} in its tokenizer, which --decoder {} needs: it was not converted to block "
        "diffusion; use --decoder ar",
        folder_.string(), kMaskToken, name_of(options.kind));
  if (*mask >= text.vocab_size)
    fail("the mask token has the id {}, but the model has ids 0 to {}: use --decoder ar", *mask,
         text.vocab_size - 1);
  context.mask_token = *mask;
  if (automatic) context.chooser = chooser(options.block_size, grammar);
  return context;
}

// What passes cost and drafts are worth it remembers from answer to answer.
std::shared_ptr<BlockChooser> Generator::chooser(int largest, bool grammar) {
  const std::pair key(largest, grammar);
  if (const auto known = choosers_.find(key); known != choosers_.end()) return known->second;
  if (known_.largest == 0) {
    const std::string name = model_.timing_name();
    if (const auto kept = cost_file_.find(name, 1))
      known_ = *kept;
    else
      known_.drafts = cost_file_.drafts_of(name);
  }
  if (largest > known_.largest) {
    known_.largest = largest;
    widen(known_.costs, largest);
  }
  return choosers_[key] = new_chooser(model_, largest, known_.costs, known_.drafts[grammar ? 1 : 0]);
}

// For later answers; for the next process seldom: a file is read and written between passes.
void Generator::keep_costs(const DecodeOptions& options, bool grammar) {
  constexpr double kSeconds = 60;
  constexpr double kWorthKeepingMs = 20;  // of a token's pass: a small model learns in no time
  const auto found = choosers_.find({options.block_size, grammar});
  if (options.kind != DecoderKind::automatic || found == choosers_.end()) return;
  const BlockChooser& chooser = *found->second;
  const CostCurve& exact = chooser.costs().exact;
  if (exact.points.empty()) return;
  replace_drafts(known_.drafts[grammar ? 1 : 0], chooser.evidence());
  if (options.block_size >= known_.largest || known_.costs.exact.points.empty()) {
    known_.costs = chooser.costs();
    widen(known_.costs, known_.largest);
  }
  if (!keeps_ || exact.of(1) < kWorthKeepingMs) return;
  if (costs_kept_ && seconds_since(*costs_kept_) < kSeconds) return;
  costs_kept_ = Clock::now();
  keeps_ = cost_file_.keep(model_.timing_name(), known_.largest, known_.costs, grammar, chooser.evidence());
}

bool Generator::begin(Generation& g) {
  if (const std::string problem = g.options_.problem(); !problem.empty()) fail("{}", problem);
  g.context_ = context_of(g.options_, g.grammar_ != nullptr);
  g.context_.grammar = g.grammar_;
  if (const std::string problem = g.context_.problem(g.options_.kind); !problem.empty()) fail("{}", problem);
  if (prefixes_.worth_waiting(g.identity_)) return false;
  const int64_t wanted = int64_t{g.options_.max_tokens} + g.options_.block_size + g.answer_.prompt_tokens;
  const int capacity = static_cast<int>(std::min<int64_t>(wanted, g.context_.context_limit));
  g.sequence_ = prefixes_.sequence_for(g.identity_, capacity);
  if (!g.sequence_) return false;
  g.answer_.reused_tokens = g.sequence_->length();
  g.phase_ = Phase::encoding;
  start_when_encoded(g);
  prefixes_.add(g);  // last: what throws has not begun
  return true;
}

void Generator::encode_visual(Generation& g) {
  DVLM_ASSERT(g.phase_ == Phase::encoding);
  try {
    reader_.encode(g.loaded_.visuals[g.visuals_done_], g.visuals_done_ + 1, g.listener_);
    start_when_encoded(g);
  } catch (const Cancelled&) {  // who drives it ends it
  } catch (...) {
    g.end_with(std::current_exception());
  }
}

// Skips images that need no features, or have them; behind the last one passes begin.
void Generator::start_when_encoded(Generation& g) {
  const auto done = [&](size_t i) {
    const PadRun& run = g.identity_.runs[i];
    return run.begin + run.count <= g.answer_.reused_tokens || g.loaded_.visuals[i].features;
  };
  while (g.visuals_done_ < g.loaded_.visuals.size() && done(g.visuals_done_)) ++g.visuals_done_;
  if (g.visuals_done_ < g.loaded_.visuals.size()) return;
  g.prompt_ = reader_.finish(std::move(g.loaded_), g.answer_.reused_tokens);
  if (block_attention())
    g.prompt_.turn_ends =
        turn_ends(static_cast<int>(g.prompt_.tokens.size()),
                  find_answers(g.prompt_.tokens, answer_markers(tokenizer_)), g.options_.block_size);
  g.decoder_ = make_decoder(g.prompt_, *g.sequence_, g.options_, g.context_);
  g.answer_.encode_ms = g.watch_.lap();
  g.phase_ = Phase::prefill;
}

std::span<const Chosen> Generator::forward(std::span<const Segment> segments) {
  Stopwatch watch;
  const auto chosen = model_.forward(segments);
  ++passes_;
  last_pass_ms_ = watch.lap();
  pass_seconds_ += last_pass_ms_ / 1000;
  for (const Segment& segment : segments) rows_ += segment.tokens.size();
  return chosen;
}

void Generator::step(std::span<Generation* const> together, int prefill_rows) {
  const auto writing = std::count_if(together.begin(), together.end(),
                                     [](const Generation* g) { return g->phase_ == Phase::writing; });
  for (const auto& [key, chooser] : choosers_) chooser->set_sharing(std::max(1, static_cast<int>(writing)));
  pass_.clear();
  in_pass_.clear();
  reading_.clear();
  for (Generation* g : together) {
    if (g->phase_ == Phase::prefill && prefill_rows <= 0) continue;
    try {
      reading_.push_back(pass_.add(*g->decoder_, std::max(prefill_rows, 1)));
    } catch (const GrammarError&) {  // beyond its limits
      g->end_with(std::current_exception());
      continue;
    }
    in_pass_.push_back(g);
    prefill_rows -= reading_.back();
  }
  if (in_pass_.empty()) return;
  const bool reads = std::any_of(reading_.begin(), reading_.end(), [](int tokens) { return tokens > 0; });
  if (reads) model_.set_watch([&](int64_t done, int64_t total) { tell_of_prompts(done, total); });
  const Finally unwatch([&] { model_.set_watch({}); });
  const size_t masks = masks_found();
  std::span<const Chosen> chosen;
  try {
    chosen = forward(pass_.segments());
  } catch (const Cancelled&) {
    return;
  } catch (const DeviceLost&) {
    for (Generation* g : in_pass_) g->end_with(std::current_exception());
    return;
  } catch (...) {  // whose fault it is shows when each goes alone; a refused pass has changed nothing
    for (size_t i = 0; i < in_pass_.size(); ++i) step_alone(i);
    return;
  }
  // A pass that waited for new masks says little of its rows.
  if (masks_found() == masks) learn_costs();
  for (size_t i = 0; i < in_pass_.size(); ++i) take(*in_pass_[i], pass_.rows_of(i, chosen));
}

// Of the grammars in the pass.
size_t Generator::masks_found() const {
  size_t out = 0;
  for (const Generation* g : in_pass_) out += g->grammar_ ? g->grammar_->masks_found() : 0;
  return out;
}

// Of the pass.
void Generator::learn_costs() {
  const auto of_prompt = [](int tokens) { return tokens > 0; };
  if (std::ranges::all_of(reading_, of_prompt)) return learner_.read(pass_.segments(), last_pass_ms_);
  if (std::ranges::any_of(reading_, of_prompt)) return;
  std::vector<BlockChooser*> choosers;
  for (const Generation* g : in_pass_)
    if (g->context_.chooser) choosers.push_back(g->context_.chooser.get());
  learner_.wrote(pass_.segments(), last_pass_ms_, choosers, known_.largest);
}

// Of the prompts that the pass reads; all of them are given up together or not at all.
void Generator::tell_of_prompts(int64_t layers, int64_t of) {
  for (size_t i = 0; i < in_pass_.size(); ++i) {
    const Generation& g = *in_pass_[i];
    if (reading_[i] == 0 || !g.listener_.on_progress) continue;
    const int64_t held = g.sequence_->length() - g.answer_.reused_tokens;
    g.listener_.on_progress({.stage = Stage::prompt,
                             .done = held + reading_[i] * layers / of,
                             .total = g.answer_.prompt_tokens - g.answer_.reused_tokens});
  }
  if (std::all_of(in_pass_.begin(), in_pass_.end(), [](const Generation* g) { return g->given_up(); }))
    throw Cancelled();
}

void Generator::step_alone(size_t i) {
  model_.set_watch({});
  try {
    take(*in_pass_[i], forward(pass_.alone(i)));
  } catch (...) {
    in_pass_[i]->end_with(std::current_exception());
  }
}

void Generator::take(Generation& g, std::span<const Chosen> chosen) try {
  const auto emitted = g.decoder_->take(chosen);
  if (g.phase_ == Phase::prefill && g.decoder_->prefilled()) {
    g.answer_.prefill_ms = g.watch_.lap();
    g.phase_ = Phase::writing;
  }
  g.answer_.finish = g.decoder_->finished();
  if (g.options_.record) g.update_.passes.push_back(g.decoder_->record());
  std::string text;
  for (size_t i = 0; i < emitted.size() && !g.stops_.found(); ++i) {
    g.answer_.tokens.push_back(emitted[i]);
    if (std::ranges::count(g.prompt_.stop_tokens, emitted[i]) > 0) {  // the last one: no text, special or not
      if (g.options_.logprobs >= 0) g.answer_.stop_logprob = g.decoder_->logprobs()[i];
      break;
    }
    text += g.stops_.push(g.stream_.push(emitted.subspan(i, 1)));
    if (g.options_.logprobs < 0) continue;
    g.update_.logprobs.push_back(g.decoder_->logprobs()[i]);
    g.answer_.logprobs.push_back(g.decoder_->logprobs()[i]);
  }
  if (g.stops_.found()) g.answer_.finish = FinishReason::stop;
  g.update_.text += text;
  g.answer_.text += text;
  if (g.answer_.finish != FinishReason::none) g.phase_ = Phase::ended;
} catch (...) {
  g.end_with(std::current_exception());
}

void Generator::end(Generation& g) {
  prefixes_.remove(g);
  g.phase_ = Phase::ended;
  if (g.answer_.finish == FinishReason::none) g.answer_.finish = FinishReason::cancelled;
  const std::unique_ptr<Decoder> decoder = std::move(g.decoder_);
  std::unique_ptr<Sequence> sequence = std::move(g.sequence_);
  if (g.failure_ || !decoder) return;
  std::string rest = g.stops_.push(g.stream_.finish());
  rest += g.stops_.finish();  // behind it: operands of one + have no order
  g.update_.text += rest;
  g.answer_.text += rest;
  if (!g.answer_.tokens.empty()) g.answer_.decode_ms = g.watch_.lap();
  g.answer_.stats = decoder->stats();
  keep_costs(g.options_, g.grammar_ != nullptr);
  // A stop string may have dropped tokens that the last pass gave.
  auto& tokens = g.identity_.tokens;
  tokens.insert(tokens.end(), g.answer_.tokens.begin(), g.answer_.tokens.end());
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(sequence->length())));
  sequence->truncate(static_cast<int>(tokens.size()));
  sequence->trim();
  prefixes_.keep(std::move(g.identity_), std::move(sequence));
}

GeneratorTotals Generator::totals() const {
  return {passes_, rows_, pass_seconds_, model_.kv_memory(), prefixes_.kept(), reader_.visuals().totals()};
}

}  // namespace dvlm
