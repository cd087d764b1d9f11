// dvlm eval: a test file through one or several decoders, as a table.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "command.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "evaluate/report.h"
#include "options.h"

namespace dvlm {

namespace {

struct EvalOptions {
  ModelFlags model;
  DecodingOptions decoding;
  std::string data, card;
  std::vector<std::string> decoders = {"ar", "mdm", "spec"};
  size_t limit = 0;
  int parallel = 1;
  bool json = false;
};

void eval(const EvalOptions& options) {
  install_interrupt_handler();
  if (!options.card.empty()) insert_report(read_file(options.card), "");  // before hours of work
  const std::vector<Example> examples = read_examples(options.data, options.limit);
  Engine engine(engine_options(options.model, options.decoders));
  std::vector<DecodeOptions> decoders;
  for (const std::string& name : options.decoders) {
    DecodingOptions decoding = options.decoding;
    decoding.decoder = name;
    decoders.push_back(decode_options(decoding, engine.config()));
  }
  const auto results = evaluate(engine, examples, decoders, options.parallel);
  const int64_t done = results.front().total([](const std::string&) { return true; }).examples;
  if (interrupted())
    std::fprintf(stderr, "interrupted after %lld of %zu examples\n", static_cast<long long>(done),
                 examples.size());
  if (options.json)
    std::printf("%s\n", report_json(results).dump().c_str());
  else
    std::printf("%s", report_markdown(results).c_str());
  if (!options.card.empty() && !interrupted())
    write_file(options.card, insert_report(read_file(options.card), report_markdown(results)));
}

}  // namespace

void add_eval(Command app) {
  auto options = std::make_shared<EvalOptions>();
  Command command =
      app.add("eval", "Answer a test file with several decoders; print accuracy and speed per question type");
  command
      .text("--data", options->data,
            "Conversations with answer and type, in any layout of docs/data.md (dvlm synth --split test "
            "makes some)")
      .required();
  command.choices("--decoders", options->decoders, decoder_names(),
                  "Which decoders, in this order; the first is the base of comparison");
  command.number("--limit", options->limit, 1, kAny<size_t>, "Use only the first N examples (default: all)");
  command.number("--parallel", options->parallel, 1, 64,
                 "How many answers share passes; texts stay the same, tokens per second are those of answers "
                 "beside others");
  add_model_options(command, options->model);
  add_decoding_options(command, options->decoding);
  command.text("--card", options->card,
               "Also put the table into this file, between <!-- dvlm eval --> and <!-- end -->");
  command.flag("--json", options->json, "Print JSON");
  command.runs([options] { eval(*options); },
               "Example:\n  dvlm eval --data data/tiny/test/data.jsonl --decoders ar,mdm,spec");
}

}  // namespace dvlm
