#include "train/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "checkpoint/checkpoint.h"
#include "torch/cpu_layers.h"
#include "torch/plain.h"
#include "train/weight_patterns.h"

namespace dvlm {

double RunPlan::bytes() const {
  return std::accumulate(memory.begin(), memory.end(), 0.0,
                         [](double sum, const MemoryPart& part) { return sum + part.bytes; });
}

namespace {

// Numbers of elements, by what becomes of them.
struct Weights {
  int64_t matrices = 0, vectors = 0;       // of the network
  int64_t text_cast = 0, vision_cast = 0;  // of matrices that layers multiply by in another type
  int64_t largest = 0;                     // of these
  int64_t trained_matrices = 0, trained_vectors = 0, adapters = 0;
  bool vision_trains = false;
  int64_t all() const { return matrices + vectors; }
  int64_t trained() const { return trained_matrices + trained_vectors + adapters; }
};

Weights count_weights(const ModelConfig& model, const TrainConfig& config) {
  Weights out;
  const bool lora = config.lora.rank > 0;
  for (const auto& [name, shape] : expected_tensors(model)) {
    const int64_t size = c10::multiply_integers(shape);
    const bool matrix = shape.size() >= 2, trains = !lora && !is_frozen(config, name),
               adapted = is_adapted(config, name, shape);
    (matrix ? out.matrices : out.vectors) += size;
    if (trains) (matrix ? out.trained_matrices : out.trained_vectors) += size;
    const bool vision = name.starts_with("visual.");
    if (matrix && (vision || name.starts_with("model.layers."))) {
      (vision ? out.vision_cast : out.text_cast) += size;
      out.largest = std::max(out.largest, size);
    }
    if (adapted) out.adapters += config.lora.rank * (shape[0] + shape[1]);
    if (vision && (trains || adapted)) out.vision_trains = true;
  }
  if (lora && config.stage == "convert") out.adapters += model.text.hidden_size;
  return out;
}

// Bytes that one layer keeps for the backward pass, of a row: `hidden` wide, `heads` the width of its query
// heads, `kv` of its keys, `inner` of its MLP; `size` of a number of the compute type; `by_tiles`: its
// attention runs again for its gradients. As src/torch/plain.cpp and src/torch/cpu_layers.cpp compute.
double layer_bytes(double hidden, double heads, double kv, double inner, double size, bool cpu_layers,
                   bool by_tiles) {
  const double qkv = heads + 2 * kv;
  if (cpu_layers) return 2 * (4 + 2) * hidden + 2 * (qkv + heads + 2 * inner + inner);
  const double norm = (4 + 4 + size) * hidden;
  return 2 * norm + size * (qkv + (by_tiles ? 1 : 2) * heads) + size * (2 * inner + inner + inner);
}

double number(int64_t value) {
  return static_cast<double>(value);
}

class Planner {
 public:
  Planner(const ModelConfig& model, const TrainConfig& config, const PassSize& pass, bool card)
      : model_(model),
        config_(config),
        pass_(pass),
        card_(card),
        weights_(count_weights(model, config)),
        wide_(config.weight_dtype == "bf16" ? 2 : 4),
        size_(config.bf16 ? 2 : 4),
        cpu_layers_(!card && config.bf16),
        tiled_(config.stage == "convert" && !cpu_layers_ && pass.length > plain::kTileRows),
        lora_(config.lora.rank > 0),
        head_(number(model.text.vocab_size) * model.text.hidden_size) {}

  RunPlan plan(int processes) {
    add_state(processes);
    add_activations();
    add_head();
    constexpr double kLibraries = 400e6, kContext = 700e6;  // LibTorch; a card's context and workspaces
    add(card_ ? "the card's context" : "libraries", card_ ? kContext : kLibraries);
    const double trained = number(weights_.trained());
    plan_.parameters = weights_.all(), plan_.trained = weights_.trained();
    plan_.state_bytes = (12 + (config_.ema_decay > 0 ? 4 : 0)) * trained;
    plan_.model_bytes =
        (config_.save_dtype == "bf16" ? 2 : 4) * number(lora_ ? weights_.adapters : weights_.all());
    return plan_;
  }

 private:
  void add(const char* name, double bytes) {
    if (bytes > 0) plan_.memory.push_back({name, bytes});
  }

  void add_state(int processes) {
    const double share = 1.0 / processes, trained = number(weights_.trained());
    add("weights", wide_ * number(weights_.matrices) + 4 * number(weights_.vectors + weights_.adapters));
    if (wide_ == 2) add("weights in float, for the optimiser", 4 * share * number(weights_.trained_matrices));
    add("gradients", 4 * share * trained);
    add("moments", 8 * share * trained);
    if (config_.ema_decay > 0) add("average", 4 * share * trained);
    // A bucket on its way: the embedding is the largest.
    const double most = std::min(trained / 16, 0x1p24), bucket = lora_ ? most : std::max(head_, most);
    if (processes > 1) add("gradients on their way to their owners", 3 * (lora_ ? 4 : wide_) * bucket);
  }

  // Where layers run again for their gradients, one has them at a time, and the others their inputs.
  void add_activations() {
    const TextConfig& text = model_.text;
    const VisionConfig& vision = model_.vision;
    const double rows = number(pass_.rows), patches = weights_.vision_trains ? number(pass_.patches) : 0;
    const double hidden = text.hidden_size, inner = text.intermediate_size, width = vision.hidden_size;
    const bool masked = config_.stage == "convert";
    const double layers = config_.recompute ? 1 : text.layers, blocks = config_.recompute ? 1 : vision.depth;
    const double cast =
        number(weights_.text_cast) + (weights_.vision_trains ? number(weights_.vision_cast) : 0);
    const double casts = config_.recompute ? cast / (text.layers + vision.depth) : cast;
    add("weights in the type of the products", wide_ == size_ ? 0 : size_ * casts);
    const double heads = number(text.heads) * text.head_dim, keys = number(text.kv_heads) * text.head_dim;
    const double repeated = masked && !cpu_layers_ && !tiled_ ? 2 * heads * size_ : 0;
    double kept =
        layers * rows * (layer_bytes(hidden, heads, keys, inner, size_, cpu_layers_, tiled_) + repeated) +
        blocks * patches *
            layer_bytes(width, width, width, vision.intermediate_size, size_, cpu_layers_, false);
    if (config_.recompute)
      kept += (text.layers * rows * hidden + vision.depth * patches * width) * (4 + size_);
    kept += rows * 4 * (3 * hidden + text.head_dim) + number(pass_.patches) * 4 * vision.patch_elements();
    add("activations", kept);
    // What the backward pass of one layer has beside them.
    add("gradients of one layer's activations", rows * (3 * 4 * hidden + 3 * size_ * inner));
    if (tiled_) add("keys and values of a tile, and their gradients", rows * 4 * size_ * heads);
    // A matrix and its gradient; gate and up are one product.
    if (cpu_layers_ && cpu::multiplies_in_float())
      add("a layer's matrices in float", 2 * 4 * 2 * number(weights_.largest));
    const double added =
        cpu_layers_ ? 0 : size_ * number(std::min(plain::kTileRows, pass_.length));  // to scores
    if (masked) add("who sees whom", rows * (number(pass_.length) + added));
  }

  // Logits a chunk at a time; gradients of the head and, where it is the embedding, of that.
  void add_head() {
    constexpr double kChunk = 512;
    const double scored = number(pass_.scored);
    const char* name = model_.text.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const bool trains = !lora_ && !is_frozen(config_, name);
    add("head and loss", std::min(kChunk, scored) * model_.text.vocab_size * 4 +
                             scored * model_.text.hidden_size * 8 + (wide_ == 2 ? 4 * head_ : 0) +
                             (trains ? 2 * 4 * head_ : 0));
  }

  const ModelConfig& model_;
  const TrainConfig& config_;
  const PassSize& pass_;
  const bool card_;
  const Weights weights_;
  const double wide_, size_;  // bytes of a number of the network's matrices, and of what products take
  const bool cpu_layers_, tiled_, lora_;
  const double head_;  // elements
  RunPlan plan_;
};

}  // namespace

RunPlan plan_run(const ModelConfig& model, const TrainConfig& config, const PassSize& pass, int processes,
                 bool card) {
  return Planner(model, config, pass, card).plan(processes);
}

}  // namespace dvlm
