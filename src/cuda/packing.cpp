#include "cuda/packing.h"

#include <fmt/core.h>

#include <cstring>
#include <list>
#include <numeric>

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "cuda/pass.h"
#include "kernels/quantize_rows.h"

namespace dvlm::cuda {

namespace {

constexpr int kOutputs = 128;  // that kernels take at once

// Where each of a network's rows or columns stands among the stored ones.
struct Places {
  std::vector<int> to;
  int stored = 0;
};

Places in_order(int own, int stored) {
  Places out{std::vector<int>(static_cast<size_t>(own)), stored};
  std::iota(out.to.begin(), out.to.end(), 0);
  return out;
}

// Runs of `own` elements at the beginnings of runs of `stored`.
Places runs(int count, int own, int stored) {
  Places out{{}, count * stored};
  for (int run = 0; run < count; ++run)
    for (int i = 0; i < own; ++i) out.to.push_back(run * stored + i);
  return out;
}

Places head_places(int heads, int dim, int stored) {
  return runs(2 * heads, dim / 2, stored / 2);
}

// Gates, then ups: those of 8 values share a tile of 16 outputs.
Places swiglu_places(int width) {
  Places out{{}, 2 * stored_intermediate(width)};
  for (int up = 0; up < 2; ++up)
    for (int j = 0; j < width; ++j) out.to.push_back(j / 8 * 16 + up * 8 + j % 8);
  return out;
}

// What linear layers that a checkpoint holds wide are stored as.
enum class Wide : uint8_t { bf16, e4m3 };

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, std::shared_ptr<Device> device, int threads, LoadProgress& progress,
         Weights& out, Wide wide = Wide::bf16)
      : checkpoint_(checkpoint),
        shapes_(expected_tensors(checkpoint.config())),
        device_(std::move(device)),
        pool_(threads),
        progress_(progress),
        out_(out),
        wide_(wide) {}

  Global<const float> floats(const std::string& name, const Places& places) {
    const TensorView* one = &tensor(name);
    return placed({&one, 1}, places);
  }

  struct Layer {
    Matrix matrix;
    Global<const float> bias;  // empty where the network has none
  };
  // The matrices `prefix + parts[i]` stacked.
  Layer linear(const std::string& prefix, std::initializer_list<const char*> parts, const Places& outputs,
               const Places& inputs, bool whole = false) {
    std::vector<const TensorView*> weights, biases, scales;
    std::list<Unpacked> unpacked;
    for (const char* part : parts) {
      const std::string name = prefix + part;
      checkpoint_.check_shared_input(name);
      const TensorView& weight = linear_weight(name, unpacked);
      if (weight.type == DType::i8)
        fail("{}: {} is I8, which a card cannot run: use --device cpu", checkpoint_.folder().string(), name);
      if (weight.type == DType::f8_e4m3) scales.push_back(&checkpoint_.scale(name));
      weights.push_back(&weight);
      if (shapes_.count(name + ".bias")) biases.push_back(&tensor(name + ".bias"));
    }
    Layer out;
    if (scales.empty() && wide_ == Wide::e4m3) {
      std::vector<float> own(outputs.to.size());
      out.matrix = pack(weights, outputs, inputs, true, whole, own);
      out.matrix.scale = placed(own, padded(outputs));
    } else {
      out.matrix = pack(weights, outputs, inputs, !scales.empty(), whole);
      if (!scales.empty()) out.matrix.scale = placed(scales, padded(outputs));
    }
    if (!biases.empty()) out.bias = placed(biases, padded(outputs));
    return out;
  }

  Matrix wide(const TensorView& weight, const Places& outputs, const Places& inputs, bool whole) {
    const TensorView* one = &weight;
    return pack({&one, 1}, outputs, inputs, false, whole);
  }

  const TensorView& tensor(const std::string& name) const {
    const TensorView& view = checkpoint_.get(name, shapes_.at(name));
    if (!is_number(view.type))
      fail("{}: tensor {} is {}; expected F32, F16 or BF16", checkpoint_.folder().string(), name,
           name_of(view.type));
    return view;
  }

 private:
  // A layer that other tools packed, as floats.
  struct Unpacked {
    Buffer<float> values;
    TensorView view;
  };
  const TensorView& linear_weight(const std::string& name, std::list<Unpacked>& unpacked) {
    const auto& shape = shapes_.at(name + ".weight");
    const auto grouped = checkpoint_.grouped(name, shape[0], shape[1]);
    if (!grouped) return checkpoint_.get(name + ".weight", shape);
    Unpacked& out = unpacked.emplace_back();
    out.values = Buffer<float>(static_cast<size_t>(shape[0] * shape[1]));
    each_outputs(*grouped, pool_, [&](int64_t first, int64_t count) {
      grouped->dequantize(first, count, out.values.data() + first * shape[1]);
    });
    out.view = {DType::f32, shape, reinterpret_cast<const std::byte*>(out.values.data())};
    return out.view;
  }

  static Places padded(Places outputs) {
    outputs.stored = round_up(outputs.stored, kOutputs);
    return outputs;
  }

  template <class T>
  Global<const T> upload(const std::vector<T>& values) {
    DeviceArray<std::byte>& array = out_.memory.emplace_back(device_);
    const Global<std::byte> bytes = array.hold(std::as_bytes(std::span(values)));
    out_.bytes += bytes.size;
    progress_.add(bytes.size);
    return as<const T>(Global<const std::byte>(bytes));
  }

  Global<const float> placed(std::span<const TensorView* const> parts, const Places& places) {
    std::vector<float> own;
    for (const TensorView* part : parts) {
      const size_t first = own.size();
      own.resize(first + static_cast<size_t>(part->elements()));
      copy_to_float(*part, 0, part->elements(), own.data() + first);
    }
    return placed(own, places);
  }
  Global<const float> placed(const std::vector<float>& own, const Places& places) {
    DVLM_ASSERT(own.size() == places.to.size());
    std::vector<float> values(static_cast<size_t>(places.stored), 0.0f);
    for (size_t i = 0; i < own.size(); ++i) values[static_cast<size_t>(places.to[i])] = own[i];
    return upload(values);
  }

  // `scales`: of wide weights' rows, which are rounded to e4m3; empty: weights are stored as they are.
  Matrix pack(std::span<const TensorView* const> weights, const Places& outputs, const Places& inputs,
              bool e4m3, bool whole, std::span<float> scales = {}) {
    progress_.check();
    Matrix out;
    out.outputs = round_up(outputs.stored, kOutputs), out.inputs = inputs.stored, out.e4m3 = e4m3;
    out.cut = cut_for(out.outputs, out.inputs, e4m3 ? 32 : 16, whole);
    std::vector<Word4> words(static_cast<size_t>(out.outputs) * static_cast<size_t>(out.inputs) /
                             (e4m3 ? 16 : 8));
    // An element's index is the sum of what its row and its column say.
    std::vector<size_t> columns;
    for (const int to : inputs.to)
      columns.push_back(e4m3 ? e4m3_index(0, to, out.inputs) : weight_index(0, to, out.inputs));
    size_t first_row = 0;
    for (const TensorView* weight : weights) {
      DVLM_ASSERT(weight->elements() % std::ssize(columns) == 0);
      const int64_t rows = weight->elements() / std::ssize(columns);
      pool_.parallel_for(rows, [&](int64_t begin, int64_t end) {
        std::vector<float> values(columns.size());
        std::vector<dvlm::e4m3> rounded(columns.size());
        for (int64_t r = begin; r < end; ++r) {
          const auto at = first_row + static_cast<size_t>(r);
          const int to = outputs.to[at];
          if (e4m3) {
            const auto* codes = reinterpret_cast<const uint8_t*>(weight->data) + r * std::ssize(columns);
            if (!scales.empty()) {
              copy_to_float(*weight, r * std::ssize(columns), std::ssize(columns), values.data());
              scales[at] = quantize_e4m3(values, rounded.data());
              codes = &rounded[0].bits;
            }
            uint8_t* const row = reinterpret_cast<uint8_t*>(words.data()) + e4m3_index(to, 0, out.inputs);
            for (size_t k = 0; k < columns.size(); ++k) row[columns[k]] = codes[k];
          } else {
            copy_to_float(*weight, r * std::ssize(columns), std::ssize(columns), values.data());
            uint16_t* const row = reinterpret_cast<uint16_t*>(words.data()) + weight_index(to, 0, out.inputs);
            for (size_t k = 0; k < columns.size(); ++k) row[columns[k]] = bf16_bits(values[k]);
          }
        }
      });
      first_row += static_cast<size_t>(rows);
    }
    DVLM_ASSERT(first_row == outputs.to.size());
    out.weights = upload(words);
    return out;
  }

  const Checkpoint& checkpoint_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::shared_ptr<Device> device_;
  ThreadPool pool_;
  LoadProgress& progress_;
  Weights& out_;
  Wide wide_;
};

// What both towers' layers are called.
struct LayerNames {
  std::string prefix;
  const char *attention_norm, *attention, *output, *mlp_norm;
  std::initializer_list<const char*> qkv;
};

LayerMatrices load_layer(Loader& load, const LayerNames& names, const TowerShape& shape, int intermediate) {
  const Places hidden = in_order(shape.norm_width, shape.hidden);
  const int heads = shape.heads.heads, kv_heads = shape.heads.kv_heads;
  LayerMatrices out;
  out.attention_norm = load.floats(names.prefix + names.attention_norm, hidden);
  out.mlp_norm = load.floats(names.prefix + names.mlp_norm, hidden);
  const Loader::Layer qkv = load.linear(names.prefix + names.attention, names.qkv,
                                        head_places(heads + 2 * kv_heads, shape.head_dim, shape.heads.dim),
                                        hidden),
                      output = load.linear(names.prefix + names.attention, {names.output}, hidden,
                                           head_places(heads, shape.head_dim, shape.heads.dim)),
                      gate_up = load.linear(names.prefix + "mlp.", {"gate_proj", "up_proj"},
                                            swiglu_places(intermediate), hidden, true),
                      down = load.linear(names.prefix + "mlp.", {"down_proj"}, hidden,
                                         in_order(intermediate, shape.intermediate));
  out.qkv = qkv.matrix, out.qkv_bias = qkv.bias, out.output = output.matrix, out.output_bias = output.bias;
  out.gate_up = gate_up.matrix, out.gate_up_bias = gate_up.bias, out.down = down.matrix,
  out.down_bias = down.bias;
  return out;
}

void check_alike(const std::vector<LayerMatrices>& layers, const char* tower, const Checkpoint& checkpoint) {
  for (const LayerMatrices& layer : layers)
    for (const Matrix* m : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down})
      if (m->e4m3 != layers[0].qkv.e4m3)
        fail(
            "{}: some linear layers of the {} are F8_E4M3 and others are not, which a card cannot run: use "
            "--device cpu",
            checkpoint.folder().string(), tower);
}

TowerShape shape_of(int heads, int kv_heads, int head_dim, int hidden, int intermediate, double eps) {
  return {{heads, kv_heads, stored_head_dim(head_dim, heads)},
          stored_hidden(hidden),
          stored_intermediate(intermediate),
          hidden,
          head_dim,
          static_cast<float>(eps)};
}

std::vector<LayerMatrices> load_text_layers(Loader& load, const TextConfig& text, const TowerShape& shape) {
  std::vector<LayerMatrices> out;
  out.reserve(static_cast<size_t>(text.layers));
  for (int i = 0; i < text.layers; ++i)
    out.push_back(load_layer(load,
                             {fmt::format("model.layers.{}.", i),
                              "input_layernorm.weight",
                              "self_attn.",
                              "o_proj",
                              "post_attention_layernorm.weight",
                              {"q_proj", "k_proj", "v_proj"}},
                             shape, text.intermediate_size));
  return out;
}

void load_text(Loader& load, const Checkpoint& checkpoint, TextTower& out) {
  const TextConfig& text = checkpoint.config().text;
  out.shape = shape_of(text.heads, text.kv_heads, text.head_dim, text.hidden_size, text.intermediate_size,
                       text.rms_norm_eps);
  out.vocab = text.vocab_size;
  const Places hidden = in_order(text.hidden_size, out.shape.hidden),
               ids = in_order(text.vocab_size, text.vocab_size);
  out.head = load.wide(checkpoint.head(), ids, hidden, true);
  out.table = as<const uint16_t>(out.head.weights);
  if (!text.tie_word_embeddings)
    out.table =
        as<const uint16_t>(load.wide(load.tensor("model.embed_tokens.weight"), ids, hidden, true).weights);
  out.layers = load_text_layers(load, text, out.shape);
  out.norm = load.floats("model.norm.weight", hidden);
  check_alike(out.layers, "language model", checkpoint);
}

void load_vision(Loader& load, const Checkpoint& checkpoint, VisionTower& out) {
  constexpr double kNormEps = 1e-6;  // a constant of the architecture
  const VisionConfig& vision = checkpoint.config().vision;
  out.shape = shape_of(vision.heads, vision.heads, vision.head_dim(), vision.hidden_size,
                       vision.intermediate_size, kNormEps);
  out.patches_per_token = vision.patches_per_token();
  const Places hidden = in_order(vision.hidden_size, out.shape.hidden);
  out.patches = load.wide(load.tensor("visual.patch_embed.proj.weight"), hidden,
                          in_order(vision.patch_elements(), stored_hidden(vision.patch_elements())), false);
  for (int i = 0; i < vision.depth; ++i) {
    out.whole.push_back(vision.sees_all(i));
    out.layers.push_back(load_layer(
        load, {fmt::format("visual.blocks.{}.", i), "norm1.weight", "attn.", "proj", "norm2.weight", {"qkv"}},
        out.shape, vision.intermediate_size));
  }
  out.merger_norm = load.floats("visual.merger.ln_q.weight", hidden);
  const int inner = vision.hidden_size * out.patches_per_token;
  const Loader::Layer in = load.linear("visual.merger.mlp.", {"0"}, in_order(inner, stored_hidden(inner)),
                                       runs(out.patches_per_token, vision.hidden_size, out.shape.hidden)),
                      last = load.linear("visual.merger.mlp.", {"2"},
                                         in_order(vision.out_hidden_size, vision.out_hidden_size),
                                         in_order(inner, in.matrix.outputs));
  if (in.matrix.e4m3 != last.matrix.e4m3)
    fail(
        "{}: one linear layer of the merger is F8_E4M3 and the other is not, which a card cannot run: use "
        "--device cpu",
        checkpoint.folder().string());
  out.merger_in = in.matrix, out.merger_in_bias = in.bias;
  out.merger_out = last.matrix, out.merger_out_bias = last.bias;
  check_alike(out.layers, "vision tower", checkpoint);
}

bool is_e4m3(const Checkpoint& checkpoint, const std::string& name) {
  if (checkpoint.is_grouped(name)) return false;  // blocks become bf16
  const auto found = checkpoint.tensors().find(name);
  return found != checkpoint.tensors().end() && found->second.type == DType::f8_e4m3;
}

// Of a tensor as it is stored, at most.
size_t tensor_bytes(const std::vector<int64_t>& shape, bool e4m3) {
  size_t inputs = 1;
  for (size_t i = 1; i < shape.size(); ++i) inputs *= static_cast<size_t>(shape[i]);
  const auto outputs = static_cast<size_t>(shape[0]);
  return shape.size() == 1
             ? outputs * sizeof(float)
             : (outputs + kOutputs) * static_cast<size_t>(stored_hidden(static_cast<int>(inputs))) *
                   (e4m3 ? 1 : 2);
}

}  // namespace

int stored_hidden(int width) {
  return round_up(width, 32);
}
int stored_intermediate(int width) {
  return round_up(width, kOutputs / 2);
}
int stored_head_dim(int dim, int heads) {
  for (const int known : {32, 64, 80, 128})
    if (dim <= known && dim % 2 == 0 && heads * known % 32 == 0) return known;
  fail("a card cannot run heads of {} dimensions: even numbers up to 128 are known", dim);
}

size_t weight_bytes(const Checkpoint& checkpoint) {
  size_t bytes = 0;
  for (const auto& [name, shape] : expected_tensors(checkpoint.config()))
    bytes += tensor_bytes(shape, is_e4m3(checkpoint, name));
  return bytes;
}

size_t draft_bytes(const Checkpoint& checkpoint) {
  size_t bytes = 0;
  for (const auto& [name, shape] : expected_tensors(checkpoint.config()))
    if (is_e4m3(checkpoint, name))
      return 0;
    else if (name.starts_with("model.layers."))
      bytes += tensor_bytes(shape, true) + static_cast<size_t>(shape[0]) * sizeof(float);
  return bytes;
}

Weights load_weights(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device, int threads,
                     LoadProgress& progress) {
  for (const auto& [name, shape] : expected_tensors(checkpoint.config())) {
    if (!checkpoint.is_grouped(name)) continue;
    log_warning("{}: {} and others are packed in groups, and become bf16 on a card: they take its memory",
                checkpoint.folder().string(), name);
    break;
  }
  Weights out;
  Loader load(checkpoint, device, threads, progress, out);
  load_text(load, checkpoint, out.text);
  load_vision(load, checkpoint, out.vision);
  return out;
}

void load_draft(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device, int threads,
                LoadProgress& progress, Weights& out) {
  Loader load(checkpoint, device, threads, progress, out, Wide::e4m3);
  out.draft = out.text;
  out.draft->layers = load_text_layers(load, checkpoint.config().text, out.text.shape);
}

}  // namespace dvlm::cuda
