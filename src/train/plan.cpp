#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "checkpoint/checkpoint.h"
#include "core/memory.h"
#include "torch/fused.h"
#include "torch/lora.h"
#include "train/batch.h"
#include "train/dataset.h"
#include "train/training_row.h"

namespace dvlm {

double RunPlan::bytes() const {
  return std::accumulate(memory.begin(), memory.end(), 0.0,
                         [](double sum, const MemoryPart& part) { return sum + part.bytes; });
}

namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

bool matches_any(const std::vector<std::string>& patterns, const std::string& name, bool ends) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return matches(pattern, name) || (ends && name.ends_with("." + pattern));
  });
}

// Numbers of elements, by what becomes of them.
struct Weights {
  int64_t matrices = 0, vectors = 0;       // of the network
  int64_t text_cast = 0, vision_cast = 0;  // of matrices that layers multiply by in another type
  int64_t trained_matrices = 0, trained_vectors = 0, adapters = 0;
  int64_t all() const { return matrices + vectors; }
  int64_t trained() const { return trained_matrices + trained_vectors + adapters; }
};

Weights count_weights(const ModelConfig& model, const TrainConfig& config) {
  Weights out;
  const bool lora = config.lora.rank > 0;
  for (const auto& [name, shape] : expected_tensors(model)) {
    const int64_t size = elements(shape);
    const bool matrix = shape.size() >= 2, trains = !lora && !matches_any(config.freeze, name, false);
    (matrix ? out.matrices : out.vectors) += size;
    if (trains) (matrix ? out.trained_matrices : out.trained_vectors) += size;
    if (matrix && name.starts_with("visual."))
      out.vision_cast += size;
    else if (matrix && name.starts_with("model.layers."))
      out.text_cast += size;
    const std::string layer = name.substr(0, name.rfind('.'));
    if (lora && matrix && name.ends_with(".weight") && matches_any(config.lora.targets, layer, true))
      out.adapters += config.lora.rank * (shape[0] + size / shape[0]);
  }
  if (lora && config.stage == "convert") out.adapters += model.text.hidden_size;
  return out;
}

// Bytes that one layer keeps for the backward pass, of a row: `hidden` wide, `heads` the width of its query
// heads, `kv` of its keys, `inner` of its MLP; `size` of a number of the compute type. As src/torch/plain.cpp
// and src/torch/fused.cpp compute.
double layer_bytes(double hidden, double heads, double kv, double inner, double size, bool fused,
                   bool masked) {
  const double qkv = heads + 2 * kv;
  if (fused) return 2 * (4 + 2) * hidden + 2 * (qkv + heads + 2 * inner + inner);
  const double norm = (4 + 4 + size) * hidden, repeated = masked ? 2 * heads : 0;
  return 2 * norm + size * (qkv + repeated + 2 * heads) + size * (2 * inner + inner + inner);
}

}  // namespace

RunPlan plan_run(const ModelConfig& model, const TrainConfig& config, const PassSize& pass, int processes,
                 bool card) {
  const Weights weights = count_weights(model, config);
  const TextConfig& text = model.text;
  const VisionConfig& vision = model.vision;
  const bool half = config.weight_dtype == "bf16", lora = config.lora.rank > 0;
  const double wide = half ? 2 : 4, size = config.bf16 ? 2 : 4, share = 1.0 / processes;
  const auto number = [](auto value) { return static_cast<double>(value); };
  const bool fused = !card && config.bf16 && fused::available(torch::empty({0}), torch::kBFloat16);
  const double rows = number(pass.rows), patches = number(pass.patches);
  const double hidden = number(text.hidden_size), inner = number(text.intermediate_size),
               heads = number(text.heads) * text.head_dim, kv = number(text.kv_heads) * text.head_dim;
  const double vision_hidden = number(vision.hidden_size), vision_inner = number(vision.intermediate_size);
  const double head = number(text.vocab_size) * hidden;
  RunPlan plan;
  plan.parameters = weights.all(), plan.trained = weights.trained();
  const auto add = [&](const char* name, double bytes) {
    if (bytes > 0) plan.memory.push_back({name, bytes});
  };

  add("weights", wide * number(weights.matrices) + 4 * number(weights.vectors + weights.adapters));
  const double trained = number(weights.trained());
  if (half) add("weights in float, for the optimiser", 4 * share * number(weights.trained_matrices));
  add("gradients", 4 * share * trained);
  add("moments", 8 * share * trained);
  if (config.ema_decay > 0) add("average", 4 * share * trained);
  // A bucket on its way: the embedding is the largest.
  const double bucket = lora ? std::min(trained, 0x1p24) : std::max(head, std::min(trained / 16, 0x1p24));
  if (processes > 1) add("gradients on their way to their owners", 3 * (lora ? 4 : wide) * bucket);

  // One layer after the other where layers run again for their gradients.
  const bool vision_trains = lora ? matches_any(config.lora.targets, "visual.blocks.0.attn.qkv", true)
                                  : !matches_any(config.freeze, "visual.blocks.0.attn.qkv.weight", false);
  const double kept_layers = config.recompute ? 1 : number(text.layers);
  const double kept_blocks = !vision_trains ? 0 : config.recompute ? 1 : number(vision.depth);
  const double cast = number(weights.text_cast) + (vision_trains ? number(weights.vision_cast) : 0);
  const double casts = wide == size ? 0 : config.recompute ? cast / (text.layers + vision.depth) : cast;
  add("weights in the type of the products", size * casts);
  const bool masked = config.stage == "convert";
  double kept =
      kept_layers * rows * layer_bytes(hidden, heads, kv, inner, size, fused, masked) +
      kept_blocks * patches *
          layer_bytes(vision_hidden, vision_hidden, vision_hidden, vision_inner, size, fused, false);
  if (config.recompute)
    kept += text.layers * rows * (4 + size) * hidden +
            (vision_trains ? vision.depth * patches * (4 + size) * vision_hidden : 0);
  kept += rows * (3 * 4 * hidden + 4 * number(text.head_dim)) + patches * 4 * number(vision.patch_elements());
  add("activations", kept);
  // What the backward pass of one layer has beside them.
  add("gradients of one layer's activations", rows * (3 * 4 * hidden + 3 * size * inner));
  const double mask = masked ? number(pass.rows / std::max<int64_t>(pass.length, 1)) * number(pass.length) *
                                   number(pass.length)
                             : 0;
  add("who sees whom", mask * (card || !fused ? 1 + size : 1));
  // Logits a chunk at a time; gradients of the head and, where it is the embedding, of that.
  constexpr double kChunk = 512;
  const bool head_trains =
      !lora && !matches_any(config.freeze,
                            text.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", false);
  add("head and loss", std::min(kChunk, number(pass.scored)) * number(text.vocab_size) * 4 +
                           number(pass.scored) * hidden * 8 + (half ? 4 * head : 0) +
                           (head_trains ? 2 * 4 * head : 0));
  constexpr double kLibraries = 400e6, kContext = 700e6;  // LibTorch; a card's context and library workspaces
  add(card ? "the card's context" : "libraries", card ? kContext : kLibraries);
  plan.state_bytes = (12 + (config.ema_decay > 0 ? 4 : 0)) * trained;
  plan.model_bytes =
      (config.save_dtype == "bf16" ? 2 : 4) * (lora ? number(weights.adapters) : number(weights.all()));
  return plan;
}

namespace {

// Some records of the data, read as training reads them.
struct Survey {
  int64_t records = 0, read = 0, bad = 0, dropped = 0, shrunk = 0;
  std::string first_bad;
  std::vector<int64_t> tokens;
  PassSize largest;
};

PassSize size_of(const Sample& sample, const TrainConfig& config, const StreamTokens& tokens) {
  const Row row = training_row(sample, config, tokens, config.block_size);
  PassSize out;
  out.length = std::ssize(row.tokens), out.scored = std::ssize(row.noisy) + std::ssize(row.clean);
  for (const Patches& visual : sample.visuals) out.patches += visual.grid.patches();
  return out;
}

Survey survey(const TrainConfig& config, const ModelConfig& model, const Tokenizer& tokenizer) {
  constexpr int64_t kRead = 256;
  const Dataset dataset(config.data);
  const SampleContext context{
      tokenizer, model, answer_markers(tokenizer), config.max_length, config.min_pixels, config.max_pixels};
  const StreamTokens tokens = stream_tokens(tokenizer, model);
  Survey out;
  out.records = dataset.size();
  const int64_t step = std::max<int64_t>(1, dataset.size() / kRead);
  for (int64_t i = 0; i < dataset.size() && out.read < kRead; i += step, ++out.read) {
    try {
      const Sample sample = dataset.load(i, context);
      out.shrunk += sample.shrunk;
      if (sample.ids.empty()) {
        ++out.dropped;
        continue;
      }
      const PassSize size = size_of(sample, config, tokens);
      out.tokens.push_back(std::ssize(sample.ids));
      out.largest.length = std::max(out.largest.length, (size.length + 63) / 64 * 64);
      out.largest.patches = std::max(out.largest.patches, size.patches * config.batch_size);
      out.largest.scored = std::max(out.largest.scored, size.scored * config.batch_size);
    } catch (const Error& error) {
      if (++out.bad == 1) out.first_bad = error.what();
    }
  }
  out.largest.rows = out.largest.length * config.batch_size;
  std::ranges::sort(out.tokens);
  return out;
}

std::string count_text(int64_t count) {
  return count >= 1'000'000'000 ? fmt::format("{:.2f} billion", static_cast<double>(count) / 1e9)
                                : fmt::format("{:.2f} million", static_cast<double>(count) / 1e6);
}

std::string size_text(double bytes) {
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

}  // namespace

bool print_plan(const TrainConfig& config, int processes, double memory) {
  const ModelConfig model = read_config(config.model);
  const Tokenizer tokenizer(config.model);
  const Survey data = survey(config, model, tokenizer);
  const bool card = config.device != "cpu";
  const RunPlan plan = plan_run(model, config, data.largest, processes, card);
  const int64_t passes = config.global_batch_size > 0 ? config.global_batch_size / config.batch_size
                                                      : int64_t{config.accumulation} * processes;
  fmt::print("parameters  {}, of which {} train\n", count_text(plan.parameters), count_text(plan.trained));
  fmt::print("data        {} records; {} of them were read", data.records, data.read);
  if (!data.tokens.empty())
    fmt::print(": {} to {} tokens, half have {} or fewer", data.tokens.front(), data.tokens.back(),
               data.tokens[data.tokens.size() / 2]);
  fmt::print(
      "\n            left out: {} bad, {} whose pictures do not fit max_length {}; pictures made smaller: "
      "{}\n",
      data.bad, data.dropped, config.max_length, data.shrunk);
  if (data.bad > 0) fmt::print("            the first bad one: {}\n", data.first_bad);
  fmt::print("step        {} samples: {} passes of {} by {} process{}\n", passes * config.batch_size, passes,
             config.batch_size, processes, processes == 1 ? "" : "es");
  fmt::print("pass        up to {} tokens in all streams, {} patches\n", data.largest.rows,
             data.largest.patches);
  fmt::print("memory      of each {}\n", card ? "card" : "process");
  for (const MemoryPart& part : plan.memory) fmt::print("  {:<42}{:>12}\n", part.name, size_text(part.bytes));
  fmt::print("  {:<42}{:>12}\n", "all", size_text(plan.bytes()));
  fmt::print("files       {} of state, {} of {}\n", size_text(plan.state_bytes), size_text(plan.model_bytes),
             config.lora.rank > 0 ? "adapter" : "model");
  if (memory == 0) return true;
  const bool fits = plan.bytes() <= memory;
  fmt::print("{} in {}\n", fits ? "fits" : "does not fit", size_text(memory));
  return fits;
}

}  // namespace dvlm
