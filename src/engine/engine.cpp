#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "engine/pass_costs.h"
#include "engine/prompt.h"
#include "engine/stop_strings.h"

namespace dvlm {
namespace {

constexpr size_t kPictureCacheBytes = size_t{256} << 20;

class Stopwatch {
 public:
  // Milliseconds since construction or the last lap.
  double lap() {
    const auto now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return ms;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// The tokens of a conversation whose K/V are held.
struct Held {
  std::unique_ptr<Sequence> sequence;
  int capacity = 0;
  PromptIdentity identity;  // of what the sequence holds
};

}  // namespace

struct Engine::Impl {
  Impl(const EngineOptions& options, const Checkpoint& checkpoint)
      : tokenizer(options.model),
        pool(options.threads > 0 ? options.threads : ThreadPool::default_threads()),
        folder(options.model) {
    model = load_native(
        checkpoint, pool,
        {options.precision, options.memory_limit, options.draft, options.packed_file, options.observer});
  }

  const ModelConfig& config() const { return model->config(); }

  DecodeOptions completed(const DecodeOptions& given);
  std::shared_ptr<BlockChooser> chooser(int largest);
  std::vector<TokenId> stop_tokens() const;
  void check_template(const Request& request);
  void check_length(const LoadedPrompt& prompt) const;
  Held take_sequence(const PromptIdentity& identity, int capacity, int& reused);
  std::unique_ptr<Sequence> new_sequence(int capacity);
  void encode_pictures(LoadedPrompt& prompt, const std::vector<PadRun>& runs, int reused);
  RopeIndex positions_of(const LoadedPrompt& prompt) const;
  std::vector<float> features_behind(const LoadedPrompt& prompt, const std::vector<PadRun>& runs,
                                     int reused) const;
  void decode(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
              const std::vector<std::string>& stop, const std::function<void(std::string_view)>& on_text,
              const std::function<bool()>& cancelled, Answer& answer);

  const Tokenizer tokenizer;
  ThreadPool pool;
  const std::filesystem::path folder;
  std::unique_ptr<Model> model;
  PictureCache pictures{kPictureCacheBytes};
  Held held;
  std::map<int, std::shared_ptr<BlockChooser>> choosers;  // by the largest block
  bool template_checked = false;
};

// The fields that the checkpoint decides.
DecodeOptions Engine::Impl::completed(const DecodeOptions& given) {
  DecodeOptions options = given;
  const int vocab = config().text.vocab_size;
  options.valid_tokens = std::min(tokenizer.size(), vocab);
  options.context_limit = config().text.max_positions;
  if (options.kind != DecoderKind::autoregressive && options.mask_token < 0) {
    const auto mask = tokenizer.find(kMaskToken);
    if (!mask)
      fail(
          "{} has no mask token {} in its tokenizer, which --decoder {} needs: it was not converted to block "
          "diffusion; use --decoder ar",
          folder.string(), kMaskToken, name_of(options.kind));
    options.mask_token = *mask;
  }
  if (options.mask_token >= vocab)
    fail("the mask token has the id {}, but the model has ids 0 to {}: use --decoder ar", options.mask_token,
         vocab - 1);
  if (options.kind == DecoderKind::automatic) options.chooser = chooser(options.block_size);
  if (const std::string problem = options.problem(); !problem.empty()) fail("{}", problem);
  return options;
}

// Passes are measured when it is first needed; what drafts were worth it remembers from answer to answer.
std::shared_ptr<BlockChooser> Engine::Impl::chooser(int largest) {
  auto& known = choosers[largest];
  if (!known) known = std::make_shared<BlockChooser>(measure_pass_costs(*model, largest), largest);
  return known;
}

std::vector<TokenId> Engine::Impl::stop_tokens() const {
  std::vector<TokenId> stops = config().stop_tokens;
  if (const auto end = tokenizer.find("<|im_end|>");
      end && std::find(stops.begin(), stops.end(), *end) == stops.end())
    stops.push_back(*end);
  return stops;
}

void Engine::Impl::check_template(const Request& request) {
  if (template_checked || !request.input_ids.empty()) return;
  check_chat_template(folder);
  template_checked = true;
}

void Engine::Impl::check_length(const LoadedPrompt& prompt) const {
  const int limit = config().text.max_positions, size = static_cast<int>(prompt.tokens.size());
  if (size >= limit)
    fail(
        "the prompt has {} tokens ({} of them pictures), but the model's context has {} positions and the "
        "answer "
        "needs at least one: shorten the prompt{}",
        size, prompt.image_tokens, limit, prompt.image_tokens > 0 ? " or lower --max-pixels" : "");
}

std::unique_ptr<Sequence> Engine::Impl::new_sequence(int capacity) {
  try {
    return model->new_sequence(capacity);
  } catch (const Error& error) {
    fail("{}; lower --max-tokens or --max-pixels, or shorten the prompt", error.what());
  } catch (const std::bad_alloc&) {
    fail(
        "there is no memory for a context of {} tokens: lower --max-tokens or --max-pixels, or shorten the "
        "prompt",
        capacity);
  }
}

// The sequence of the last conversation cut to what it shares with `identity`, or a new one. The last token
// of the prompt is never reused: its logits are wanted.
Held Engine::Impl::take_sequence(const PromptIdentity& identity, int capacity, int& reused) {
  Held taken = std::move(held);
  held = {};
  reused = 0;
  if (taken.sequence)
    reused = std::min(common_prefix(taken.identity, identity), static_cast<int>(identity.tokens.size()) - 1);
  if (reused > 0 && (taken.capacity >= capacity || taken.sequence->reserve(capacity))) {
    taken.capacity = std::max(taken.capacity, capacity);
    taken.sequence->truncate(reused);
  } else {
    reused = 0;
    taken.sequence.reset();  // its memory first
    taken.sequence = new_sequence(capacity);
    taken.capacity = capacity;
  }
  taken.identity = identity;
  return taken;
}

// Pictures whose pads are all held already need no features.
void Engine::Impl::encode_pictures(LoadedPrompt& prompt, const std::vector<PadRun>& runs, int reused) {
  for (size_t i = 0; i < prompt.pictures.size(); ++i) {
    Picture& picture = prompt.pictures[i];
    if (runs[i].begin + runs[i].count <= reused || picture.features) continue;
    if (const Picture* known = pictures.find(picture.key)) {  // the same picture twice in one prompt
      picture.features = known->features;
      continue;
    }
    try {
      picture.features = std::make_shared<ImageFeatures>(model->encode_image(patches_of(picture, config())));
    } catch (const Error& error) {
      fail("picture {} ({} tokens): {}; lower --max-pixels", i + 1, picture.info.tokens, error.what());
    }
    picture.image = {};
    picture.patches = {};
    DVLM_ASSERT(picture.features->tokens == picture.info.tokens);
    pictures.insert(picture);
  }
}

std::vector<float> Engine::Impl::features_behind(const LoadedPrompt& prompt, const std::vector<PadRun>& runs,
                                                 int reused) const {
  std::vector<float> rows;
  const auto hidden = static_cast<size_t>(config().text.hidden_size);
  for (size_t i = 0; i < runs.size(); ++i) {
    const int skip = std::max(0, reused - runs[i].begin);
    if (skip >= runs[i].count) continue;
    const auto& values = prompt.pictures[i].features->values;
    rows.insert(rows.end(), values.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(skip) * hidden),
                values.end());
  }
  return rows;
}

RopeIndex Engine::Impl::positions_of(const LoadedPrompt& prompt) const {
  std::vector<Grid> grids;
  std::vector<double> seconds;
  for (const Picture& picture : prompt.pictures) {
    grids.push_back(picture.grid);
    seconds.push_back(picture.second_per_grid);
  }
  return rope_index(prompt.tokens, grids, seconds, config());
}

void Engine::Impl::decode(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
                          const std::vector<std::string>& stop,
                          const std::function<void(std::string_view)>& on_text,
                          const std::function<bool()>& cancelled, Answer& answer) {
  const auto decoder = make_decoder(prompt, sequence, options);
  StreamDecoder stream(tokenizer, tokenizer.find(kMaskToken).value_or(-1));
  StopStrings stops(stop);
  const auto publish = [&](const std::string& text) {
    answer.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  Stopwatch watch;
  while (answer.finish == FinishReason::none) {
    if (cancelled && cancelled()) {
      answer.finish = FinishReason::cancelled;
      break;
    }
    const bool prefill = decoder->stats().prefill_passes == 0;
    const auto emitted = decoder->take(model->forward(decoder->next()));
    if (prefill) answer.prefill_ms = watch.lap();
    answer.finish = decoder->finished();
    std::string text;
    for (size_t i = 0; i < emitted.size() && !stops.found(); ++i) {
      answer.tokens.push_back(emitted[i]);
      const bool end = answer.finish == FinishReason::stop && i + 1 == emitted.size();
      if (!end) text += stops.push(stream.push(emitted.subspan(i, 1)));  // a stop token has no text
    }
    if (stops.found()) answer.finish = FinishReason::stop;
    publish(text);
  }
  publish(stops.push(stream.finish()) + stops.finish());
  if (!answer.tokens.empty()) answer.decode_ms = watch.lap();
  answer.stats = decoder->stats();
}

Engine::Engine(const EngineOptions& options)
    : impl_(std::make_unique<Impl>(options, Checkpoint(options.model))) {}
Engine::~Engine() = default;

Answer Engine::generate(const Request& request, const std::function<void(std::string_view)>& on_text,
                        const std::function<bool()>& cancelled) {
  Impl& self = *impl_;
  const DecodeOptions options = self.completed(request.decode);
  self.check_template(request);
  Stopwatch watch;
  LoadedPrompt loaded =
      load_prompt(self.config(), self.tokenizer, request, &self.pictures, options.context_limit);
  self.check_length(loaded);

  Answer answer;
  PromptIdentity identity{loaded.tokens, pad_runs(loaded.tokens, self.config()), {}};
  for (const Picture& picture : loaded.pictures) {
    identity.keys.push_back(picture.key);
    answer.images.push_back(picture.info);
  }
  Prompt prompt;
  prompt.rope = self.positions_of(loaded);
  prompt.stop_tokens = self.stop_tokens();

  const int64_t wanted =
      int64_t{options.max_tokens} + options.block_size + static_cast<int>(loaded.tokens.size());
  const int capacity = static_cast<int>(std::min<int64_t>(wanted, options.context_limit));
  Held taken = self.take_sequence(identity, capacity, answer.reused_tokens);
  self.encode_pictures(loaded, identity.runs, answer.reused_tokens);
  prompt.features = self.features_behind(loaded, identity.runs, answer.reused_tokens);
  prompt.tokens = std::move(loaded.tokens);
  answer.prompt_tokens = static_cast<int>(prompt.tokens.size());
  answer.image_tokens = loaded.image_tokens;
  answer.encode_ms = watch.lap();

  self.decode(prompt, *taken.sequence, options, request.stop, on_text, cancelled, answer);

  // Kept only now: after an exception above it is gone, and the next answer starts anew.
  auto& tokens = taken.identity.tokens;
  tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
  const auto length = std::min(tokens.size(), static_cast<size_t>(taken.sequence->length()));
  tokens.resize(length);
  taken.sequence->truncate(
      static_cast<int>(length));  // a stop string may have dropped tokens of the last pass
  self.held = std::move(taken);
  return answer;
}

void Engine::score(const Request& request,
                   const std::function<void(size_t, std::span<const float>)>& on_row) {
  constexpr size_t kRows = 128;  // per pass: each row has logits
  Impl& self = *impl_;
  self.check_template(request);
  LoadedPrompt loaded =
      load_prompt(self.config(), self.tokenizer, request, &self.pictures, self.config().text.max_positions);
  self.check_length(loaded);
  const std::vector<PadRun> runs = pad_runs(loaded.tokens, self.config());
  const RopeIndex rope = self.positions_of(loaded);
  self.encode_pictures(loaded, runs, 0);
  const std::vector<float> features = self.features_behind(loaded, runs, 0);
  const auto sequence = self.new_sequence(static_cast<int>(loaded.tokens.size()));
  const auto hidden = static_cast<size_t>(self.config().text.hidden_size);
  const std::span tokens(loaded.tokens);
  size_t pads = 0;
  for (size_t first = 0; first < tokens.size(); first += kRows) {
    const size_t count = std::min(kRows, tokens.size() - first);
    const auto part = tokens.subspan(first, count);
    const auto pads_here = static_cast<size_t>(std::count_if(part.begin(), part.end(), [&](TokenId token) {
      return token == self.config().image_token || token == self.config().video_token;
    }));
    std::vector<int> rows(count);
    std::iota(rows.begin(), rows.end(), 0);
    const Segment segment{.sequence = sequence.get(),
                          .tokens = part,
                          .positions = std::span(rope.positions).subspan(first, count),
                          .features = std::span(features).subspan(pads * hidden, pads_here * hidden),
                          .context = static_cast<int>(first),
                          .keep = true,
                          .logit_rows = rows};
    const Logits logits = self.model->forward({&segment, 1});
    for (size_t i = 0; i < count; ++i) on_row(first + i, logits.row(static_cast<int>(i)));
    pads += pads_here;
  }
}

PreparedPrompt Engine::prepare(const Request& request) const {
  impl_->check_template(request);
  return prepare_prompt(impl_->config(), impl_->tokenizer, request);
}

void Engine::clear() {
  impl_->held = {};
  impl_->pictures = PictureCache(kPictureCacheBytes);
}

const ModelConfig& Engine::config() const {
  return impl_->config();
}
const Tokenizer& Engine::tokenizer() const {
  return impl_->tokenizer;
}
Model& Engine::model() {
  return *impl_->model;
}

double Answer::tokens_per_s() const {
  return decode_ms > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / (decode_ms / 1000) : 0;
}

std::string_view name_of(DecoderKind kind) {
  switch (kind) {
    case DecoderKind::autoregressive:
      return "ar";
    case DecoderKind::masked_diffusion:
      return "mdm";
    case DecoderKind::speculative:
      return "spec";
    case DecoderKind::fused:
      return "fused";
    case DecoderKind::automatic:
      return "auto";
  }
  return "?";
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "?";
}

}  // namespace dvlm
