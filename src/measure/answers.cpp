#include "measure/answers.h"

#include "core/interrupt.h"
#include "core/progress.h"
#include "core/stopwatch.h"
#include "engine/cost_learner.h"
#include "engine/grammars.h"
#include "engine/prompt_reader.h"
#include "measure/dictated_model.h"
#include "measure/paced_model.h"
#include "measure/random_checkpoint.h"
#include "text/mask_token.h"

namespace dvlm {

namespace {

// A decoder of one precision, and what it writes.
struct Answerer {
  std::shared_ptr<PacedModel> model;
  CostLearner learner;
  DecodeOptions options;
  DecodeContext context;
  AnswerTiming timing;
};

// Returns its tokens; none when the user interrupts. `text`: to be written, of AnswerKind::same_text.
std::vector<TokenId> write_answer(Answerer& answerer, const Prompt& prompt, std::vector<TokenId> text) {
  const auto prompt_tokens = static_cast<int>(prompt.tokens.size());
  DecodeOptions options = answerer.options;
  if (!text.empty()) options.max_tokens = static_cast<int>(text.size());
  DictatedModel model(*answerer.model, prompt_tokens, std::move(text));
  const auto sequence = model.new_sequence(prompt_tokens + options.max_tokens + options.block_size);
  const auto decoder = make_decoder(prompt, *sequence, options, answerer.context);
  std::vector<TokenId> tokens;
  BlockChooser* const chooser = answerer.context.chooser.get();
  const auto pass = [&] {
    const bool writes = decoder->prefilled();
    const std::span<const Segment> segments = decoder->next();
    const auto masks = [&] {
      return answerer.context.grammar ? answerer.context.grammar->masks_found() : size_t{0};
    };
    const size_t masks_before = masks();
    std::span<const Chosen> chosen;
    const double ms = milliseconds_of([&] { chosen = model.forward(segments); });
    if (!writes)
      answerer.learner.read(segments, ms);
    else if (masks() == masks_before)
      answerer.learner.wrote(segments, ms, {&chooser, 1}, options.block_size);
    const auto emitted = decoder->take(chosen);
    tokens.insert(tokens.end(), emitted.begin(), emitted.end());
  };
  while (!decoder->prefilled()) pass();
  const double ms = milliseconds_of([&] {
    while (decoder->finished() == FinishReason::none && !interrupted()) pass();
  });
  if (decoder->finished() == FinishReason::none) return {};
  AnswerTiming& timing = answerer.timing;
  timing.ms += ms;
  ++timing.answers;
  timing.tokens += decoder->stats().tokens - 1;
  timing.forced += decoder->stats().forced;
  timing.nfe += decoder->stats().nfe;
  return tokens;
}

Prompt read(Engine& engine, const Example& example) {
  Request request;
  request.conversation = example.conversation;
  return engine.reader().read(request);
}

// Those of one precision; grammars remember nothing that another one's answers left behind.
void add_answerers(const AnswerBenchOptions& options, Engine& engine, Grammars& grammars,
                   const std::string& precision, const std::shared_ptr<PacedModel>& model,
                   std::vector<Answerer>& out) {
  for (const std::string& decoder : options.decoders) {
    for (const AnswerKind kind : {AnswerKind::free, AnswerKind::in_form, AnswerKind::same_text}) {
      if (kind != AnswerKind::free && !options.form) continue;
      const DecodeContext context{
          .mask_token = mask_token(engine.tokenizer(), engine.config()).value_or(-1),
          .valid_tokens = std::min(engine.tokenizer().size(), engine.config().text.vocab_size),
          .chooser = new_chooser(*model, options.block_size),
          .grammar = kind == AnswerKind::in_form ? grammars.find(*options.form) : nullptr};
      out.push_back({model,
                     CostLearner(model->weight_memory()),
                     {.kind = decoder_kind(decoder),
                      .block_size = options.block_size,
                      .max_tokens = options.max_tokens},
                     context,
                     {.precision = precision, .decoder = decoder, .kind = kind}});
    }
  }
}

}  // namespace

std::string name_of(AnswerKind kind) {
  switch (kind) {
    case AnswerKind::free:
      return "free";
    case AnswerKind::in_form:
      return "in the form";
    default:
      return "that text, free";
  }
}

std::vector<AnswerTiming> time_answers(const EngineOptions& model, const AnswerBenchOptions& options,
                                       const std::vector<Example>& examples) {
  Engine engine(model);
  const auto mask = mask_token(engine.tokenizer(), engine.config());
  if (!mask) fail("the model has no mask token: it was not converted to block diffusion");
  const ModelConfig config = text_shape_named(options.shape);
  std::vector<std::unique_ptr<Model>> paces;
  std::vector<Answerer> answerers;
  const Prompt first = read(engine, examples.at(0));
  Grammars grammars(engine.tokenizer(), engine.config().text.vocab_size, mask, first.stop_tokens);
  for (const std::string& precision : options.precisions) {
    paces.push_back(load_random(config, precision, options.model));
    add_answerers(options, engine, grammars, precision,
                  std::make_shared<PacedModel>(engine.model(), *paces.back()), answerers);
  }
  Progress progress("answers", std::ssize(examples) * std::ssize(answerers));
  int64_t done = 0;
  for (const Example& example : examples) {
    if (interrupted()) break;
    const Prompt prompt = read(engine, example);
    std::vector<TokenId> text;  // the last in the form
    for (Answerer& answerer : answerers) {
      if (interrupted()) break;
      const AnswerKind kind = answerer.timing.kind;
      std::vector<TokenId> own =
          write_answer(answerer, prompt, kind == AnswerKind::same_text ? text : std::vector<TokenId>());
      if (kind == AnswerKind::in_form) text = std::move(own);
      progress.update(++done);
    }
  }
  std::vector<AnswerTiming> out;
  out.reserve(answerers.size());
  for (const Answerer& answerer : answerers) out.push_back(answerer.timing);
  return out;
}

}  // namespace dvlm
