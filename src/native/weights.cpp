#include "native/weights.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

namespace dvlm {

namespace {

// Lets the mapped pages behind a tensor go, so that the file and its packed copy are never both resident.
void release(const TensorView& tensor) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(tensor.data);
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + tensor.bytes()) / page * page;
  // A checkpoint's tensors are read-only file mappings: dropped pages come back from the file when touched.
  std::byte* first = const_cast<std::byte*>(tensor.data) + (begin - address);
  if (begin < end) ::madvise(first, end - begin, MADV_DONTNEED);
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const WeightFormats& formats, const Loading& loading,
         std::string prefix = "")
      : checkpoint_(checkpoint),
        shapes_(expected_tensors(checkpoint.config())),
        formats_(formats),
        loading_(loading),
        prefix_(std::move(prefix)) {}

  std::vector<float> vector(const std::string& name) const {
    const TensorView& view = tensor(name);
    std::vector<float> values(static_cast<size_t>(view.elements()));
    copy_to_float(view, 0, view.elements(), values.data());
    return values;
  }

  // The matrices `prefix + parts[i]` stacked, with their biases where the architecture has them.
  PackedMatrix linear(const std::string& prefix, std::initializer_list<const char*> parts) const {
    Stack stack;
    for (const char* part : parts) {
      checkpoint_.check_shared_input(prefix + part);
      add(prefix + part, stack);
    }
    if (!stack.packed.empty() && stack.packed.size() != parts.size())
      fail(
          "{}: {}{} and others share their inputs, but not all of them are packed in four bits; load the "
          "model with --precision bf16",
          checkpoint_.folder().string(), prefix, *parts.begin());
    const WeightFormat format =
        stack.packed.empty() ? formats_.of(stack.weights[0]) : WeightFormat::int4_panels;
    PackedMatrix matrix = pack(prefix + *parts.begin(), stack, format);
    for (const TensorView& source : stack.sources) release(source);
    return matrix;
  }

  // A matrix that no checkpoint stores as codes: embedding, head, patches.
  PackedMatrix wide(std::string_view name, const TensorView& weight, WeightFormat format) const {
    Stack stack;
    stack.weights.push_back(checked(name, weight));
    PackedMatrix matrix = pack(std::string(name), stack, format);
    release(weight);
    return matrix;
  }

  const TensorView& tensor(const std::string& name) const {
    return checked(name, checkpoint_.get(name, shapes_.at(name)));
  }

  const TensorView& checked(std::string_view name, const TensorView& view) const {
    if (!is_number(view.type))
      fail("{}: tensor {} is {}; expected F32, F16 or BF16", checkpoint_.folder().string(), name,
           name_of(view.type));
    return view;
  }

 private:
  // What becomes one matrix. Packed layers are views without data until they are unpacked.
  struct Stack {
    std::vector<TensorView> weights, biases, scales, zero_points, sources;
    std::vector<GroupedWeight> packed;                       // kept in four bits
    std::vector<std::pair<size_t, GroupedWeight>> unpacked;  // and their place among the weights
    std::vector<Buffer<std::byte>> memory;
  };

  void add(const std::string& name, Stack& stack) const {
    const auto& shape = shapes_.at(name + ".weight");
    if (shapes_.count(name + ".bias")) stack.biases.push_back(tensor(name + ".bias"));
    if (auto grouped = checkpoint_.grouped(name, shape[0], shape[1])) {
      stack.sources.insert(stack.sources.end(), grouped->tensors().begin(), grouped->tensors().end());
      if (formats_.four_bits)
        stack.packed.push_back(std::move(*grouped));
      else
        stack.unpacked.emplace_back(stack.weights.size(), std::move(*grouped));
      stack.weights.push_back({DType::f32, shape, nullptr});
      return;
    }
    const TensorView& weight = checkpoint_.get(name + ".weight", shape);
    if (is_quantized(weight))
      stack.scales.push_back(checkpoint_.scale(name));
    else
      checked(name + ".weight", weight);
    stack.weights.push_back(weight);
    stack.sources.push_back(weight);
  }

  static std::byte* room_for(TensorView& tensor, Stack& stack) {
    std::byte* data = stack.memory.emplace_back(tensor.bytes()).data();
    tensor.data = data;
    return data;
  }

  void unpack(Stack& stack) const {
    for (const auto& [at, weight] : stack.unpacked) {
      auto* values = reinterpret_cast<float*>(room_for(stack.weights[at], stack));
      each_outputs(weight, loading_.pool, [&weight = weight, values](int64_t first, int64_t count) {
        weight.dequantize(first, count, values + first * weight.inputs());
      });
    }
    for (size_t i = 0; i < stack.packed.size(); ++i) {
      const GroupedWeight& weight = stack.packed[i];
      const int64_t groups = int4_groups(static_cast<int>(weight.inputs()));
      stack.weights[i].type = DType::u8;
      stack.scales.push_back({DType::f32, {weight.outputs(), groups}, nullptr});
      stack.zero_points.push_back({DType::u8, {weight.outputs(), groups}, nullptr});
      auto* codes = reinterpret_cast<uint8_t*>(room_for(stack.weights[i], stack));
      auto* scale = reinterpret_cast<float*>(room_for(stack.scales.back(), stack));
      auto* zero_point = reinterpret_cast<uint8_t*>(room_for(stack.zero_points.back(), stack));
      each_outputs(weight, loading_.pool, [&](int64_t first, int64_t count) {
        weight.read_codes(first, count, kInt4Group, codes + first * weight.inputs(), scale + first * groups,
                          zero_point + first * groups);
      });
    }
  }

  PackedMatrix pack(std::string name, Stack& stack, WeightFormat format) const {
    PackedMatrix matrix;
    if (!from_file(name, stack.weights, !stack.biases.empty(), format, matrix)) {
      loading_.progress.check();
      unpack(stack);
      matrix =
          PackedMatrix(stack.weights, stack.biases, format, loading_.pool, stack.scales, stack.zero_points);
      if (loading_.packed && !loading_.packed->complete()) loading_.packed->write(prefix_ + name, matrix);
      loading_.progress.add(matrix.bytes());
    }
    matrix.set_name(std::move(name));
    if (!stack.packed.empty()) matrix.set_input_order(stack.packed[0].input_order());
    return matrix;
  }

  bool from_file(const std::string& name, std::span<const TensorView> weights, bool bias, WeightFormat format,
                 PackedMatrix& matrix) const {
    if (!loading_.packed || !loading_.packed->complete()) return false;
    int64_t outputs = 0, elements = 0;
    for (const TensorView& weight : weights) outputs += weight.shape[0], elements += weight.elements();
    matrix = PackedMatrix(static_cast<int>(outputs), static_cast<int>(elements / outputs), format, bias);
    return loading_.packed->read(prefix_ + name, matrix);
  }

  const Checkpoint& checkpoint_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  WeightFormats formats_;
  const Loading& loading_;
  std::string prefix_;  // of names in that file
};

}  // namespace

WeightFormat WeightFormats::of(const TensorView& linear_weight) const {
  if (rounds() || !is_quantized(linear_weight)) return linear;
  return linear_weight.type == DType::i8 ? WeightFormat::int8_panels : WeightFormat::fp8_panels;
}

bool keeps_four_bits(const Checkpoint& checkpoint) {
  bool some = false;
  const auto shapes = expected_tensors(checkpoint.config());
  const auto grouped = [&](const std::string& linear) {
    const auto& shape = shapes.at(linear + ".weight");
    return checkpoint.grouped(linear, shape[0], shape[1]);
  };
  for (const auto& [name, shape] : shapes) {
    if (!checkpoint.is_grouped(name)) continue;
    // They become one matrix, which has one order of inputs.
    const std::string linear = name.substr(0, name.rfind('.')), leading = first_of_input(linear);
    const auto weight = grouped(linear), first = grouped(leading);
    if (!weight->is_four_bits()) return false;
    some = true;
    std::string problem = weight->problem_of_groups(kInt4Group);
    if (first && !std::ranges::equal(weight->input_order(), first->input_order()))
      problem = fmt::format("its inputs have another order than those of {}", leading);
    if (!problem.empty()) {
      log_warning(
          "{}: the four-bit weights become numbers, which take the memory and time of --precision: "
          "{} does not go as it is into groups of {} inputs: {}",
          checkpoint.folder().string(), name, kInt4Group, problem);
      return false;
    }
  }
  return some;
}

size_t packed_bytes(const Checkpoint& checkpoint, const WeightFormats& formats) {
  size_t bytes = 0;
  for (const auto& [name, shape] : expected_tensors(checkpoint.config())) {
    if (shape.size() == 1) {
      bytes += static_cast<size_t>(shape[0]) * sizeof(float);
      continue;
    }
    const auto found = checkpoint.tensors().find(name);
    const bool head = name == "model.embed_tokens.weight" || name == "lm_head.weight",
               wide = name == "visual.patch_embed.proj.weight";
    const bool packed = checkpoint.is_grouped(name),
               as_floats = packed || found == checkpoint.tensors().end();
    int64_t inputs = 1;
    for (size_t i = 1; i < shape.size(); ++i) inputs *= shape[i];
    bytes += PackedMatrix::packed_bytes(shape[0], inputs,
                                        head                          ? formats.head
                                        : wide                        ? formats.wide
                                        : packed && formats.four_bits ? WeightFormat::int4_panels
                                        : as_floats                   ? formats.linear
                                                                      : formats.of(found->second));
  }
  return bytes;
}

namespace {

// All but the embedding.
TextWeights load_layers(const Checkpoint& checkpoint, const Loader& load, WeightFormat head) {
  TextWeights text;
  text.head = load.wide("lm_head.weight", checkpoint.head(), head);
  for (int i = 0; i < checkpoint.config().text.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    text.layers.push_back({
        .attention_norm = load.vector(layer + "input_layernorm.weight"),
        .qkv = load.linear(layer + "self_attn.", {"q_proj", "k_proj", "v_proj"}),
        .output = load.linear(layer + "self_attn.", {"o_proj"}),
        .mlp_norm = load.vector(layer + "post_attention_layernorm.weight"),
        .gate_up = load.linear(layer + "mlp.", {"gate_proj", "up_proj"}),
        .down = load.linear(layer + "mlp.", {"down_proj"}),
    });
  }
  text.norm = load.vector("model.norm.weight");
  return text;
}

}  // namespace

TextWeights load_text(const Checkpoint& checkpoint, const WeightFormats& formats, const Loading& loading) {
  const Loader load(checkpoint, formats, loading);
  TextWeights text = load_layers(checkpoint, load, formats.head);
  if (!checkpoint.config().text.tie_word_embeddings) {
    const std::string name = "model.embed_tokens.weight";
    text.embedding = load.wide(name, load.tensor(name), formats.head);
  }
  return text;
}

TextWeights load_draft(const Checkpoint& checkpoint, WeightFormat format, const Loading& loading) {
  return load_layers(checkpoint, Loader(checkpoint, {.linear = format}, loading, "draft."), format);
}

size_t draft_bytes(const Checkpoint& checkpoint, WeightFormat format) {
  size_t bytes = 0;
  for (const auto& [name, shape] : expected_tensors(checkpoint.config())) {
    const bool text = name.starts_with("model.layers.") || name == "model.embed_tokens.weight";
    if (text && shape.size() == 2) bytes += PackedMatrix::packed_bytes(shape[0], shape[1], format);
  }
  return bytes;
}

VisionWeights load_vision(const Checkpoint& checkpoint, const WeightFormats& formats,
                          const Loading& loading) {
  const Loader load(checkpoint, formats, loading);
  VisionWeights vision;
  const std::string patches = "visual.patch_embed.proj.weight";
  vision.patches = load.wide(patches, load.tensor(patches), formats.wide);
  for (int i = 0; i < checkpoint.config().vision.depth; ++i) {
    const std::string block = fmt::format("visual.blocks.{}.", i);
    vision.blocks.push_back({
        .attention_norm = load.vector(block + "norm1.weight"),
        .qkv = load.linear(block + "attn.", {"qkv"}),
        .output = load.linear(block + "attn.", {"proj"}),
        .mlp_norm = load.vector(block + "norm2.weight"),
        .gate_up = load.linear(block + "mlp.", {"gate_proj", "up_proj"}),
        .down = load.linear(block + "mlp.", {"down_proj"}),
    });
  }
  vision.merger_norm = load.vector("visual.merger.ln_q.weight");
  vision.merger_in = load.linear("visual.merger.mlp.", {"0"});
  vision.merger_out = load.linear("visual.merger.mlp.", {"2"});
  return vision;
}

}  // namespace dvlm
