#include "engine/engine.h"

#include <algorithm>

#include "backends/load_model.h"
#include "checkpoint/lora.h"
#include "core/finally.h"
#include "engine/generator.h"
#include "text/mask_token.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

Checkpoint with_lora(const EngineOptions& options) {
  Checkpoint out(options.model);
  if (options.lora.empty()) return out;
  const Lora lora(options.lora);
  if (lora.drafts_only())
    fail("{} was trained to draft alone: use it with --draft-lora", options.lora.string());
  out.add(lora);
  return out;
}

std::shared_ptr<const Lora> draft_lora(const EngineOptions& options) {
  if (options.draft_lora.empty()) return nullptr;
  const auto out = std::make_shared<Lora>(options.draft_lora);
  out->use_for_drafts();
  return out;
}

// Where tokenizer and chat template are.
fs::path text_folder(const EngineOptions& options) {
  for (const fs::path& adapter : {options.draft_lora, options.lora})
    if (!adapter.empty() && fs::exists(adapter / "tokenizer_config.json")) return adapter;
  return options.model;
}

}  // namespace

// A checkpoint with its adapters. Throws Error as those do.
struct Engine::Weights {
  explicit Weights(const EngineOptions& options)
      : checkpoint(with_lora(options)), drafts(draft_lora(options)) {
    if (drafts) checkpoint.add(*drafts);
  }

  // Who cannot draft needs no weights for it.
  ModelOptions load(const ModelOptions& wanted, const Tokenizer& tokenizer) const {
    ModelOptions out = wanted;
    if (out.draft == DraftPrecision::automatic && !mask_token(tokenizer, checkpoint.config()))
      out.draft = DraftPrecision::same;
    out.draft_lora = drafts;
    return out;
  }

  Checkpoint checkpoint;
  std::shared_ptr<const Lora> drafts;
};

Engine::Engine(const EngineOptions& options) : Engine(options, Weights(options)) {}
Engine::Engine(const EngineOptions& options, const Weights& weights)
    : tokenizer_(text_folder(options)),
      model_(load_model(weights.checkpoint, weights.load(options.load, tokenizer_))),
      reader_(std::make_unique<PromptReader>(text_folder(options), tokenizer_, *model_, options.images)),
      generator_(std::make_unique<Generator>(options, tokenizer_, *model_, *reader_)) {}
Engine::~Engine() = default;

Answer Engine::generate(const Request& request, const std::function<void(std::string_view)>& on_text,
                        const std::function<bool()>& cancelled,
                        const std::function<void(const WorkProgress&)>& on_progress) {
  constexpr int kPrefillRows = 1024;  // in one pass: enough for full speed
  const auto generation = generator_->load(request);
  generation->listen({on_progress, cancelled});
  generator_->begin(*generation);  // nothing to wait for: it is alone
  const auto publish = [&] {
    const AnswerPart part = generation->take_update();
    if (on_text && !part.text.empty()) on_text(part.text);
  };
  {
    const Finally ending([&] { generator_->end(*generation); });
    const auto encoding = [&] { return generation->phase() == Generation::Phase::encoding; };
    const auto stop = [&] { return cancelled && cancelled(); };
    while (encoding()) {
      generator_->encode_visual(*generation);
      if (encoding() && stop()) break;
    }
    Generation* const alone[] = {generation.get()};
    while (generation->in_passes() && !stop()) {
      generator_->step(alone, kPrefillRows);
      publish();
    }
  }
  if (generation->failure()) std::rethrow_exception(generation->failure());
  publish();
  return generation->take_answer();
}

void Engine::score(const Request& request, const std::function<void(size_t, std::span<const float>)>& on_row,
                   const std::function<void(const WorkProgress&)>& on_progress) {
  constexpr int kRows = 128;  // per pass: each row has logits
  if (config().clean_attention == CleanAttention::block)
    fail(
        "the model was trained with block attention (clean_attention in its config.json): its rows see what "
        "they would be scored against");
  const WorkListener listener{on_progress};
  const Prompt prompt = reader_->read(request, listener);
  const int size = static_cast<int>(prompt.tokens.size());
  const auto sequence = model_->new_sequence(size);
  const std::vector<Wanted> rows = want_rows(0, kRows, {.choice = Choice::logits});
  for (int first = 0; first < size; first += kRows) {
    Segment segment = prompt_segment(prompt, *sequence, first, std::min(kRows, size - first));
    segment.wanted = std::span(rows).first(segment.tokens.size());
    size_t at = static_cast<size_t>(first);
    for (const Chosen& row : model_->forward({&segment, 1})) on_row(at++, row.logits);
    listener.hear({.stage = Stage::prompt, .done = static_cast<int64_t>(at), .total = size});
  }
}

PreparedPrompt Engine::prepare(const Request& request) const {
  reader_->check_template(request);
  return prepare_prompt(config(), tokenizer_, request);
}

void Engine::clear() {
  generator_->clear();
  reader_->visuals().clear();
}

std::vector<TokenLogprob> Answer::all_logprobs() const {
  std::vector<TokenLogprob> out = logprobs;
  if (stop_logprob) out.push_back(*stop_logprob);
  return out;
}

double Answer::tokens_per_s() const {
  return decode_ms > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / (decode_ms / 1000) : 0;
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
