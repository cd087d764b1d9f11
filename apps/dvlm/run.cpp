// dvlm run: an image and a question in, an answer out; without a question, a chat.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "chat.h"
#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "engine/request_json.h"
#include "options.h"
#include "output.h"
#include "work_bar.h"

namespace dvlm {

namespace {

struct RunOptions {
  ModelFlags model;
  PromptOptions prompt;
  GrammarFlags grammar;
  DecodingOptions decoding;
  std::vector<std::string> compare;
  bool stream = false, json = false, stats = false;
};

void print_delta(std::string_view text) {
  print_json({{"delta", text}});
}

// The same request with each further decoder, as a table. Half an answer is no comparison: after Ctrl-C the
// table ends with what was answered whole.
void run_compared(Engine& engine, Request& request, const RunOptions& options, const Answer& first,
                  WorkBar& bar) {
  std::vector<Comparison> rows = {{request.decode, first}};
  for (const std::string& name : options.compare) {
    request.decode.kind = decoder_kind(name);
    engine.clear();  // or it would reuse what the first has computed
    const std::string title = "answering with " + name + ", characters";
    Answer answer = engine.generate(
        request, [&](std::string_view text) { bar.write(title, text.size()); }, interrupted,
        [&](const WorkProgress& work) { bar.hear(work); });
    bar.end();
    if (interrupted()) break;
    rows.push_back({request.decode, std::move(answer)});
  }
  if (options.stats)
    for (const Comparison& row : rows)
      std::fprintf(stderr, "%s\n", stats_text(row.answer, row.decode).c_str());
  if (!options.json) {
    print("\n" + comparison_text(rows));
    return;
  }
  nlohmann::json out = answer_json(rows.front().answer, rows.front().decode);
  for (size_t i = 1; i < rows.size(); ++i)
    out["compare"].push_back(answer_json(rows[i].answer, rows[i].decode));
  print_json(out);
}

// Before the first answer, not after it.
void check_compared(const Request& request, const std::vector<std::string>& decoders) {
  for (const std::string& name : decoders) {
    DecodeOptions decode = request.decode;
    decode.kind = decoder_kind(name);
    if (const std::string problem = decode.problem(); !problem.empty()) fail("--compare: {}", problem);
    if (request.grammar && !info_of(decode.kind).lossless)
      fail("--compare: {} follows no grammar; choose {}", name, decoder_choice(true));
  }
}

void run(const RunOptions& options) {
  install_interrupt_handler();
  const bool chat =
      options.prompt.prompt.empty() && options.prompt.messages.empty() && options.prompt.input_ids.empty();
  if (chat && options.json) fail("--json needs a question: give --prompt, --messages or --input-ids");
  if (chat && !options.compare.empty())
    fail("--compare needs a question: give --prompt, --messages or --input-ids");
  Request request = make_request(options.prompt);
  request.grammar = grammar_source(options.grammar);
  std::vector<std::string> decoders = options.compare;
  decoders.push_back(options.decoding.decoder);
  Engine engine(engine_options(options.model, decoders));
  request.decode = decode_options(options.decoding, engine.config());
  check_compared(request, options.compare);
  if (chat)  // a wrong name is told now, not after the first question
    for (const std::string& image : options.prompt.images) read_image(image);
  if (chat) return run_chat(engine, request, options.stats);

  WorkBar bar(engine.config());
  std::function<void(std::string_view)> on_text = print;
  if (options.json) on_text = [&](std::string_view text) { bar.write("answering, characters", text.size()); };
  if (options.json && options.stream) on_text = print_delta;
  const Answer answer =
      engine.generate(request, on_text, interrupted, [&](const WorkProgress& work) { bar.hear(work); });
  bar.end();
  if (!options.json) print("\n");
  if (!options.compare.empty() && !interrupted()) return run_compared(engine, request, options, answer, bar);
  if (options.json) print_json(answer_json(answer, request.decode));
  if (options.stats) std::fprintf(stderr, "%s\n", stats_text(answer, request.decode).c_str());
}

}  // namespace

void add_run(Command app) {
  auto options = std::make_shared<RunOptions>();
  Command command =
      app.add("run", "Answer a question about pictures or a video; chat when there is no question");
  command.group("Question");
  add_prompt_options(command, options->prompt);
  add_model_options(command, options->model);
  command.group("Form of the answer");
  add_grammar_options(command, options->grammar);
  command.group("Decoding");
  add_decoder_option(command, options->decoding);
  add_decoding_options(command, options->decoding);
  add_penalty_options(command, options->decoding);
  command.group("Output");
  command.choices("--compare", options->compare, decoder_names(),
                  "Answer again with these decoders and show them side by side");
  command.flag("--stream", options->stream,
               "With --json: one {\"delta\": ...} line per piece of text, then the object");
  command.flag("--json", options->json, "Print one JSON object");
  command.needs("--stream", "--json");
  command.flag("--stats", options->stats, "Print speed and memory to standard error");
  command.runs(
      [options] { run(*options); },
      "Examples:\n"
      "  dvlm run --image desk.png --prompt \"Where is the hammer?\"\n"
      "  dvlm run --image desk.png --prompt \"Describe the picture.\" --decoder ar --compare spec,mdm\n"
      "  dvlm run --model ~/models/Fast_dVLM_3B --image photo.jpg --prompt \"Describe this image.\" --stats\n"
      "  dvlm run --image a.png                  (chat; /help lists its commands)\n"
      "  dvlm run --messages chat.json --json");
}

}  // namespace dvlm
