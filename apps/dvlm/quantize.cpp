// dvlm quantize: a checkpoint of eight or four bits from a wide one.
#include "quantize/quantize.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/merge.h"
#include "command.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "options.h"
#include "output.h"
#include "quantize/divergence.h"

namespace dvlm {

namespace fs = std::filesystem;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LayerReport, name, outputs, inputs, plain, smoothed, worst, worst_errors)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Divergence, tokens, original_perplexity, quantized_perplexity, mean_kl,
                                   median_kl, p99_kl, same_top)

namespace {

struct QuantizeCommand {
  ModelFlags model;
  std::string output, format = "fp8";
  std::vector<std::string> sources;
  CalibrationOptions calibration;
  QuantizeOptions quantize;
  bool keep_vision = false, json = false;
  int compare = 32, group = 0;
};

// What --format and --group ask for.
void choose_codes(const QuantizeCommand& command, QuantizeOptions& options) {
  static const std::map<std::string, Codes> kCodes = {
      {"fp8", Codes::fp8}, {"int8", Codes::int8}, {"int4", Codes::int4}};
  options.codes = kCodes.at(command.format);
  if (command.group != 0 && options.codes != Codes::int4)
    fail("--group is for --format int4: {} has one scale for an output", command.format);
  if (command.group != 0) options.group = command.group;
  if (options.group % kInt4Group != 0)
    fail("--group {}: groups are whole multiples of {} inputs", options.group, kInt4Group);
}

// Mean errors by what the layer does: the last part of its name.
void print_summary(const std::vector<LayerReport>& layers) {
  struct Sum {
    int count = 0;
    double plain = 0, smoothed = 0;
  };
  std::map<std::string, Sum> kinds;
  for (const LayerReport& layer : layers) {
    const std::string tower = layer.name.starts_with("visual.") ? "vision " : "text ";
    Sum& sum = kinds[tower + layer.name.substr(layer.name.rfind('.', layer.name.rfind('.') - 1) + 1)];
    ++sum.count;
    sum.plain += layer.plain;
    sum.smoothed += layer.smoothed;
  }
  std::printf("%-24s %7s %9s %9s\n", "mean error of", "layers", "plain", "smoothed");
  for (const auto& [kind, sum] : kinds)
    std::printf("%-24s %7d %7.2f %% %7.2f %%\n", kind.c_str(), sum.count, 100 * sum.plain / sum.count,
                100 * sum.smoothed / sum.count);
}

void print_divergence(const Divergence& d) {
  std::printf(
      "over %lld tokens: perplexity %.4f -> %.4f; KL divergence mean %.5f, median %.5f, 99 %% %.5f nats; the "
      "same likeliest token %.2f %%\n",
      static_cast<long long>(d.tokens), d.original_perplexity, d.quantized_perplexity, d.mean_kl, d.median_kl,
      d.p99_kl, 100 * d.same_top);
}

void quantize_command(QuantizeCommand command) {
  install_interrupt_handler();
  command.model.device = "cpu";
  const EngineOptions engine = engine_options(command.model, {});  // reads, and drafts nothing
  const fs::path output = command.output;
  // Before hours.
  choose_codes(command, command.quantize);
  if (fs::exists(output) && !fs::is_directory(output)) fail("{} is a file, not a folder", output.string());
  refuse_second_model(output);
  command.quantize.vision = !command.keep_vision;
  check_quantizable(Checkpoint(engine.model), command.quantize.vision);
  command.calibration.needs_pictures = command.quantize.vision;
  command.calibration.sources.assign(command.sources.begin(), command.sources.end());
  const CalibrationInputs inputs = calibrate(engine, command.calibration);
  std::vector<LayerReport> layers;
  {
    ThreadPool pool(engine.load.threads);
    layers = quantize(Checkpoint(engine.model), inputs, command.quantize, output, pool);
  }
  write_file(output / "quantization.md", report_table(layers));
  write_file(output / "quantization.svg", report_plot(layers, command.quantize.codes));
  nlohmann::json json = {{"output", output.string()}, {"layers", layers}};
  if (!command.json) print_summary(layers);
  if (command.compare > 0) {
    Engine original(engine);
    EngineOptions other = engine;
    other.model = output;
    Engine quantized(other);
    std::vector<CalibrationSample> samples = read_samples(command.calibration);
    samples.resize(std::min(samples.size(), static_cast<size_t>(command.compare)));
    const Divergence divergence = compare(original, quantized, samples, command.calibration.length);
    json["divergence"] = divergence;
    if (!command.json) print_divergence(divergence);
  }
  if (command.json)
    print_json(json);
  else
    std::printf("written to %s; every layer's error is in quantization.md and quantization.svg there\n",
                output.string().c_str());
}

}  // namespace

void add_quantize(Command app) {
  auto options = std::make_shared<QuantizeCommand>();
  Command command = app.add(
      "quantize",
      "Write a checkpoint with weights of eight or four bits: SmoothQuant calibration, inputs of eight bits "
      "with a scale for each token");
  add_model_option(command, options->model.model);
  command.text("-o,--output", options->output, "Folder to write").required();
  command
      .repeated("--calibration", options->sources,
                "Records with \"text\", conversations (docs/data.md), and folders of pictures; several may "
                "be given")
      .several()
      .existing()
      .required();
  command.choice(
      "--format", options->format, {"fp8", "int8", "int4"},
      "e4m3 numbers, as cards and the published checkpoint have them, or integers of eight or four "
      "bits");
  command.number("--group", options->group, 0, 1 << 20,
                 "Inputs that share a scale in int4, a multiple of 64; 0: 64");
  command.number("--alpha", options->quantize.alpha, 0, 1, "Share of the spread that moves into the weights");
  command.number("--samples", options->calibration.samples, 1, 1'000'000,
                 "Calibration samples, drawn at random");
  command.number("--length", options->calibration.length, 1, 1'000'000, "Tokens per sample");
  command.number("--seed", options->calibration.seed, 0, kMaxSeed, "Order of the samples");
  command.flag("--keep-vision", options->keep_vision, "Leave the vision tower as it is");
  command.number("--compare", options->compare, 0, 1'000'000, "Samples to compare both models on; 0: none");
  add_memory_options(command, options->model);
  command.flag("--json", options->json, "Print JSON");
  command.runs(
      [options] { quantize_command(*options); },
      "Examples:\n"
      "  dvlm quantize -m models/Fast_dVLM_3B -o models/Fast_dVLM_3B_W8A8_FP8 --calibration c4.jsonl "
      "photos/\n"
      "  dvlm quantize -m models/Fast_dVLM_3B -o models/Fast_dVLM_3B_W8A8_INT8 --format int8 --calibration "
      "c4.jsonl photos/\n"
      "  dvlm quantize -m models/Fast_dVLM_3B -o models/Fast_dVLM_3B_INT4 --format int4 --group 128 "
      "--calibration c4.jsonl photos/\n"
      "  dvlm quantize -o tiny-fp8 --calibration data/tiny/train/data.jsonl --samples 64");
}

}  // namespace dvlm
