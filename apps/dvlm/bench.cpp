// dvlm bench: the speed of passes on this machine, beside what the machine could do.
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "engine/request_json.h"
#include "evaluate/examples.h"
#include "kernels/targets.h"
#include "measure/answers.h"
#include "measure/decoding.h"
#include "measure/image.h"
#include "measure/loading.h"
#include "measure/passes.h"
#include "options.h"
#include "output.h"

namespace dvlm {

namespace {

struct PassBench {
  PassOptions passes;
  MachineFlags machine;
};

// What stands above the measurements.
nlohmann::json head(const std::string& shape, const Machine& machine) {
  nlohmann::json out = {{"shape", shape}, {"threads", machine.threads()}, {"isa", isa_name()}};
  if (!machine.card().empty()) out["card"] = machine.card();
  return out;
}

template <class Timing>
void print_timings(nlohmann::json out, const char* key, const std::vector<Timing>& timings,
                   nlohmann::json (*as_json)(const Timing&)) {
  for (const Timing& timing : timings) out[key].push_back(as_json(timing));
  print_json(out);
}

nlohmann::json to_json(const PassTiming& t) {
  return {{"precision", t.precision},
          {"rows", t.rows},
          {"context", t.context},
          {"ms", t.ms},
          {"bytes", t.bytes},
          {"flops", t.flops},
          {"probe_gb_per_s", t.probe_gb_per_s},
          {"probe_gflops", t.probe_gflops},
          {"roofline_ratio", t.roofline_ratio()}};
}

// What every measurement begins with.
Machine begin(const MachineFlags& flags) {
  install_interrupt_handler();
  apply_isa_variable();
  return {flags.device, flags.threads};
}

void bench_pass(const PassBench& options) {
  Machine machine = begin(options.machine);
  const std::vector<PassTiming> timings = time_passes(options.passes, machine);
  if (options.machine.json)
    return print_timings(head(options.passes.shape, machine), "passes", timings, to_json);
  std::printf(
      "shape %s, %s; roofline: the larger of bytes over read bandwidth and work over the multiply rate, both "
      "measured in turn with the passes\n\n",
      options.passes.shape.c_str(), machine.text().c_str());
  std::printf(
      "| precision | rows | context | ms | GB | GFLOP | GB/s probe | GFLOP/s probe | x roofline |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const PassTiming& t : timings)
    std::printf("| %s | %d | %d | %.2f | %.3f | %.2f | %.1f | %.0f | %.2f |\n", t.precision.c_str(), t.rows,
                t.context, t.ms, t.bytes / 1e9, t.flops / 1e9, t.probe_gb_per_s, t.probe_gflops,
                t.roofline_ratio());
}

// Decoders at work on recorded drafts: DecodeBenchOptions or BatchBenchOptions.
template <class Options>
struct Replay {
  Options bench;
  std::string acceptance, draft_precision = "same";
  MachineFlags flags;
  std::unique_ptr<Machine> machine;

  std::vector<RecordedAnswer> begin() {
    install_interrupt_handler();
    apply_isa_variable();
    machine = std::make_unique<Machine>(flags.device, flags.threads);
    bench.model = machine->options({.draft = parse_draft_precision(draft_precision)});
    return read_acceptance(acceptance);
  }
  nlohmann::json as_json() const {
    nlohmann::json out = head(bench.shape, *machine);
    out["draft_precision"] = draft_precision;
    return out;
  }
  void print() const {
    std::printf("shape %s, %s; draft weights: %s; drafts worth what they were in %s\n\n", bench.shape.c_str(),
                machine->text().c_str(), draft_precision.c_str(), acceptance.c_str());
  }
};

nlohmann::json to_json(const DecodeTiming& t) {
  nlohmann::json out = {{"precision", t.precision},
                        {"decoder", t.decoder},
                        {"block_size", t.block_size},
                        {"temperature", t.temperature},
                        {"tokens", t.tokens},
                        {"nfe", t.nfe},
                        {"ms", t.ms},
                        {"tokens_per_s", t.tokens_per_s()},
                        {"tokens_per_nfe", t.tokens_per_nfe()}};
  if (t.verified > 0) out["verified"] = t.verified;
  if (t.fused > 0) out["fused_rounds"] = t.fused;
  for (const auto& [block, rounds] : t.blocks) out["blocks"][std::to_string(block)] = rounds;
  return out;
}

void bench_decode(Replay<DecodeBenchOptions>& options) {
  const std::vector<RecordedAnswer> answers = options.begin();
  const std::vector<DecodeTiming> timings = time_decoders(options.bench, answers);
  if (options.flags.json) return print_timings(options.as_json(), "decode", timings, to_json);
  options.print();
  std::printf(
      "| precision | decoder | block | temperature | tokens | passes | tokens/pass | tokens/s | speed-up | "
      "rounds |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n");
  for (const DecodeTiming& t : timings) {
    std::string rounds =
        t.fused > 0 ? std::to_string(t.fused) + " of " + std::to_string(t.rounds) + " fused" : "";
    for (const auto& [block, count] : t.blocks)
      rounds += (rounds.empty() ? "" : ", ") + std::to_string(count) + " of " + std::to_string(block);
    if (t.verified > 0)
      rounds += fmt::format("{}{:.1f} verified", rounds.empty() ? "" : "; ", 1.0 * t.verified / t.rounds);
    std::printf("| %s | %s | %d | %g | %d | %d | %.2f | %.2f | %.2fx | %s |\n", t.precision.c_str(),
                t.decoder.c_str(), t.block_size, t.temperature, t.tokens, t.nfe, t.tokens_per_nfe(),
                t.tokens_per_s(),
                timings.front().tokens_per_s() > 0 ? t.tokens_per_s() / timings.front().tokens_per_s() : 0.0,
                rounds.c_str());
  }
}

// Tokens per second over those of one request with the same precision and decoder.
double gain(const BatchTiming& timing, const std::vector<BatchTiming>& all) {
  for (const BatchTiming& one : all) {
    if (one.precision == timing.precision && one.decoder == timing.decoder && one.tokens_per_s() > 0)
      return timing.tokens_per_s() / one.tokens_per_s();
  }
  return 0;
}

nlohmann::json to_json(const BatchTiming& t) {
  return {{"precision", t.precision},
          {"decoder", t.decoder},
          {"block_size", t.block_size},
          {"concurrent", t.concurrent},
          {"tokens", t.tokens},
          {"passes", t.passes},
          {"ms", t.ms},
          {"tokens_per_s", t.tokens_per_s()}};
}

void bench_batch(Replay<BatchBenchOptions>& options) {
  const std::vector<RecordedAnswer> answers = options.begin();
  const std::vector<BatchTiming> timings = time_batches(options.bench, answers);
  if (options.flags.json) return print_timings(options.as_json(), "batch", timings, to_json);
  options.print();
  std::printf(
      "| precision | decoder | block | requests | tokens | passes | tokens/s | x the first |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const BatchTiming& t : timings)
    std::printf("| %s | %s | %d | %zu | %d | %d | %.2f | %.2f |\n", t.precision.c_str(), t.decoder.c_str(),
                t.block_size, t.concurrent, t.tokens, t.passes, t.tokens_per_s(), gain(t, timings));
}

struct Recording {
  ModelFlags model;
  std::string data, output;
  std::vector<int> blocks = {2, 4, 8, 16, 32};
  size_t limit = 20;
  int max_tokens = 256;
};

void bench_record(const Recording& options) {
  install_interrupt_handler();
  std::vector<Example> examples;
  for (Example& example : read_examples(options.data)) {
    if (example.is_long && examples.size() < options.limit) examples.push_back(std::move(example));
  }
  if (examples.empty()) fail("{} holds no examples with long answers", options.data);
  const auto recorded =
      record_acceptance(engine_options(options.model, {}), examples, options.blocks, options.max_tokens);
  if (!interrupted()) write_acceptance(options.output, recorded);
}

struct AnswerBench {
  AnswerBenchOptions answers;
  GrammarFlags form;
  std::string model, data, draft_precision = "same";
  size_t limit = 4;
  MachineFlags machine;
};

nlohmann::json to_json(const AnswerTiming& t) {
  return {{"precision", t.precision},
          {"decoder", t.decoder},
          {"kind", name_of(t.kind)},
          {"answers", t.answers},
          {"tokens", t.tokens},
          {"forced", t.forced},
          {"nfe", t.nfe},
          {"ms", t.ms}};
}

void bench_answer(AnswerBench& options) {
  Machine machine = begin(options.machine);
  options.answers.model = machine.options({.draft = parse_draft_precision(options.draft_precision)});
  options.answers.form = grammar_source(options.form);
  const std::vector<Example> examples = read_examples(options.data, options.limit);
  if (examples.empty()) fail("{} holds no examples", options.data);
  ModelFlags model;
  model.model = options.model, model.device = "cpu";
  const std::vector<AnswerTiming> timings =
      time_answers(engine_options(model, {}), options.answers, examples);
  if (options.machine.json)
    return print_timings(head(options.answers.shape, machine), "answers", timings, to_json);
  std::printf(
      "shape %s, %s; draft weights: %s\n\n"
      "| precision | decoder | answers | tokens | no choice | passes | tokens/pass | ms an answer | x the "
      "first | ms a token |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
      options.answers.shape.c_str(), machine.text().c_str(), options.draft_precision.c_str());
  const auto each = [](const AnswerTiming& t) { return t.ms / std::max(1, t.answers); };
  for (const AnswerTiming& t : timings)
    std::printf("| %s | %s | %d, %s | %d | %d | %d | %.2f | %.0f | %.2f | %.1f |\n", t.precision.c_str(),
                t.decoder.c_str(), t.answers, name_of(t.kind).c_str(), t.tokens, t.forced, t.nfe,
                t.tokens_per_nfe(), each(t), each(timings[0]) > 0 ? each(t) / each(timings[0]) : 0,
                t.ms / std::max(1, t.tokens));
}

void add_bench_answer(Command bench) {
  auto options = std::make_shared<AnswerBench>();
  AnswerBenchOptions& answers = options->answers;
  Command command = bench.add(
      "answer",
      "Time a model's answers, free and in a form, at the pace of random weights of a published shape");
  command.text("-m,--model", options->model, "Folder of the model that answers (default: dvlm-tiny)");
  command.text("--data", options->data, "Test file with the questions (dvlm synth --split test)").required();
  command.number("--limit", options->limit, 1, 100'000, "Most answers");
  add_grammar_options(command, options->form);
  add_shape_options(command, answers.shape, answers.precisions, "Which precisions; the first is the base");
  command.choices("--decoders", answers.decoders, decoder_names(true),
                  "Which decoders; the first is the base");
  add_draft_option(command, options->draft_precision);
  command.number("--block-size", answers.block_size, 2, kMaxBlockSize, "Of drafts; auto takes any up to it");
  command.number("-n,--max-tokens", answers.max_tokens, 2, 4096, "Most tokens of each answer");
  add_machine_options(command, options->machine);
  command.runs(
      [options] { bench_answer(*options); },
      "Example:\n  dvlm bench answer --data data/boxes/data.jsonl --json-schema boxes.json --precision "
      "bf16,int8");
}

struct ImageBench {
  ImageBenchOptions image;
  std::string size = "644x476";
  MachineFlags machine;
};

nlohmann::json to_json(const ImageTiming& t) {
  return {{"precision", t.precision},
          {"width", t.width},
          {"height", t.height},
          {"image_tokens", t.image_tokens},
          {"tokens", t.tokens},
          {"preprocess_ms", t.preprocess_ms},
          {"vision_ms", t.vision_ms},
          {"prefill_ms", t.prefill_ms},
          {"first_token_ms", t.first_token_ms()},
          {"vision_flops", t.vision_flops},
          {"prefill_flops", t.prefill_flops},
          {"probe_gflops", t.probe_gflops},
          {"vision_roofline_ratio", t.vision_ratio()},
          {"prefill_roofline_ratio", t.prefill_ratio()}};
}

// "644x476", digits alone.
bool read_size(std::string_view text, int& width, int& height) {
  constexpr int kMost = 99'999;
  const char *at = text.data(), *const end = at + text.size();
  const auto side = [&](int& out) {
    const auto [behind, error] = std::from_chars(at, end, out);
    at = behind;
    return error == std::errc() && out >= 1 && out <= kMost;
  };
  return side(width) && at != end && *at++ == 'x' && side(height) && at == end;
}

void bench_image(ImageBench& options) {
  ImageBenchOptions& image = options.image;
  if (!read_size(options.size, image.width, image.height))
    fail("--size: expected WIDTHxHEIGHT, for example 644x476, but got '{}'", printable(options.size));
  Machine machine = begin(options.machine);
  const std::vector<ImageTiming> timings = time_images(image, machine);
  if (options.machine.json) return print_timings(head(image.shape, machine), "image", timings, to_json);
  std::printf("shape %s, %s; roofline: work over the multiply rate, measured in turn\n\n",
              image.shape.c_str(), machine.text().c_str());
  std::printf(
      "| precision | picture | prompt tokens | preprocess ms | vision ms | x roofline | prefill ms | x "
      "roofline | first token ms |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const ImageTiming& t : timings)
    std::printf("| %s | %dx%d | %d (%d of the picture) | %.1f | %.1f | %.2f | %.1f | %.2f | %.1f |\n",
                t.precision.c_str(), t.width, t.height, t.tokens, t.image_tokens, t.preprocess_ms,
                t.vision_ms, t.vision_ratio(), t.prefill_ms, t.prefill_ratio(), t.first_token_ms());
}

void add_bench_image(Command bench) {
  auto options = std::make_shared<ImageBench>();
  Command command =
      bench.add("image", "Time a picture's way to the first token with random weights of a published shape");
  command.text("--size", options->size, "Width x height of the picture");
  add_shape_options(command, options->image.shape, options->image.precisions);
  command.number("--text-tokens", options->image.text_tokens, 1, 8192, "Tokens of the question");
  command.number("--repeats", options->image.repeats, 1, 1000, "Rounds, of which the median is shown");
  add_machine_options(command, options->machine);
  command.runs([options] { bench_image(*options); },
               "Example:\n  dvlm bench image --size 644x476 --precision bf16");
}

struct LoadBench {
  LoadBenchOptions load;
  MachineFlags machine;
};

nlohmann::json to_json(const LoadTiming& t) {
  return {{"state", t.state},          {"file_bytes", t.file_bytes}, {"weight_bytes", t.weight_bytes},
          {"read_ms", t.read_ms},      {"load_ms", t.load_ms},       {"packed_ms", t.packed_ms},
          {"peak_bytes", t.peak_bytes}};
}

void bench_load(const LoadBench& options) {
  Machine machine = begin(options.machine);
  const std::vector<LoadTiming> timings = time_loading(options.load, machine);
  if (options.machine.json) {
    nlohmann::json out = head(options.load.shape, machine);
    out["precision"] = options.load.precision;
    return print_timings(out, "load", timings, to_json);
  }
  std::printf("shape %s, %s, %s\n\n", options.load.shape.c_str(), options.load.precision.c_str(),
              machine.text().c_str());
  std::printf(
      "| file | file GB | read ms | load ms | x read | from --packed ms | x read | peak GB | x weights |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const LoadTiming& t : timings) {
    const bool packs = t.packed_ms > 0;
    std::printf("| %s | %.2f | %.0f | %.0f | %.2f | %s | %s | %.2f | %.2f |\n", t.state.c_str(),
                t.file_bytes / 1e9, t.read_ms, t.load_ms, t.load_ms / t.read_ms,
                packs ? fmt::format("{:.0f}", t.packed_ms).c_str() : "-",
                packs ? fmt::format("{:.2f}", t.packed_ms / t.read_ms).c_str() : "-", t.peak_bytes / 1e9,
                t.peak_bytes / t.weight_bytes);
  }
}

void add_bench_load(Command bench) {
  auto options = std::make_shared<LoadBench>();
  Command command = bench.add("load", "Time loading a random checkpoint of a published shape");
  command.text("--folder", options->load.folder, "Where it is written, and found the next time (up to 13 GB)")
      .required();
  command.choice("--shape", options->load.shape, {"3b", "tiny"}, "Shape of the model");
  command.choice("--precision", options->load.precision, {"bf16", "fp8", "int8"}, "Which precision");
  add_machine_options(command, options->machine);
  command.runs([options] { bench_load(*options); }, "Example:\n  dvlm bench load --folder bench-load");
}

void add_bench_decode(Command bench) {
  auto options = std::make_shared<Replay<DecodeBenchOptions>>();
  DecodeBenchOptions& decode = options->bench;
  Command command = bench.add(
      "decode",
      "Time decoders with random weights of a published shape and drafts recorded from another model");
  add_acceptance_option(command, options->acceptance);
  add_shape_options(command, decode.shape, decode.precisions, "Which precisions; the first is the base");
  command.choices("--decoders", decode.decoders, decoder_names(true),
                  "Which decoders; the first is the base");
  add_draft_option(command, options->draft_precision);
  command.numbers("--blocks", decode.blocks, 2, kMaxBlockSize,
                  "Block sizes of spec and fused; auto takes any up to the largest");
  command.number("--branches", decode.branches, 1, kMaxBlockSize, "Outcomes that a pass of fused drafts for");
  add_p_min_option(command, decode.draft_p_min);
  command.numbers("--temperatures", decode.temperatures, 0, kAny<double>,
                  "Which temperatures; draws are made as always and then say what was recorded");
  command.number("--top-p", decode.top_p, 0, 1, "Of draws, see dvlm run");
  command.number("--prompt-tokens", decode.prompt, 1, 100'000, "Tokens before the answer");
  command.number("-n,--max-tokens", decode.max_tokens, 2, 4096, "Most tokens of each answer");
  command.number("--answers", decode.answers, 1, 100'000, "Most answers");
  add_machine_options(command, options->flags);
  command.runs([options] { bench_decode(*options); },
               "Example:\n  dvlm bench decode --acceptance bench/acceptance-tiny.json --precision bf16,fp8");
}

void add_bench_batch(Command bench) {
  auto options = std::make_shared<Replay<BatchBenchOptions>>();
  BatchBenchOptions& batch = options->bench;
  Command command =
      bench.add("batch", "Time requests that share passes, with random weights of a published shape");
  add_acceptance_option(command, options->acceptance);
  add_shape_options(command, batch.shape, batch.precisions);
  command.choices("--decoders", batch.decoders, decoder_names(true), "Which decoders");
  command.numbers("--concurrent", batch.concurrent, 1, 64, "Requests at once; the first is the base");
  add_draft_option(command, options->draft_precision);
  command.number("--block-size", batch.block_size, 2, kMaxBlockSize, "Of drafts; auto takes any up to it");
  command.number("--prompt-tokens", batch.prompt, 1, 100'000, "Tokens before each answer");
  command.number("-n,--max-tokens", batch.max_tokens, 2, 4096, "Most tokens of each answer");
  command.number("--rounds", batch.rounds, 1, 1000, "Times that every setting is measured, in turn");
  add_machine_options(command, options->flags);
  command.runs([options] { bench_batch(*options); },
               "Example:\n  dvlm bench batch --acceptance bench/acceptance-tiny.json --precision fp8");
}

void add_bench_record(Command bench) {
  auto options = std::make_shared<Recording>();
  Command command = bench.add("record",
                              "Record how many drafts are right at every token of a model's "
                              "long answers, and how probable they seem, for bench decode");
  add_model_options(command, options->model);
  command.text("--data", options->data, "Test file (dvlm synth --split test)").required();
  command.text("-o,--output", options->output, "File to write").required();
  command.numbers("--blocks", options->blocks, 2, kMaxBlockSize, "Block sizes");
  command.number("--limit", options->limit, 1, 100'000, "Most answers");
  command.number("-n,--max-tokens", options->max_tokens, 2, 4096, "Most tokens of each answer");
  command.runs(
      [options] { bench_record(*options); },
      "Example:\n  dvlm bench record --data data/tiny/test/data.jsonl -o bench/acceptance-tiny.json");
}

void add_bench_pass(Command bench) {
  auto options = std::make_shared<PassBench>();
  PassOptions& passes = options->passes;
  Command command = bench.add("pass", "Time single passes with random weights of a published shape");
  add_shape_options(command, passes.shape, passes.precisions);
  command.numbers("--rows", passes.rows, 1, 4096, "Tokens per pass");
  command.numbers("--context", passes.contexts, 0, 100'000, "Committed tokens before them");
  command.number("--repeats", passes.repeats, 1, 10'000, "Passes per line, of which the median is shown");
  add_machine_options(command, options->machine);
  command.runs([options] { bench_pass(*options); },
               "Example:\n  dvlm bench pass --shape 3b --precision bf16,fp8 --rows 1,8,32 --context 0,1024");
}

}  // namespace

void add_bench(Command app) {
  Command bench = app.add("bench", "Measure speed against the bounds of this machine");
  add_bench_pass(bench);
  add_bench_image(bench);
  add_bench_load(bench);
  add_bench_decode(bench);
  add_bench_batch(bench);
  add_bench_answer(bench);
  add_bench_record(bench);
}

}  // namespace dvlm
