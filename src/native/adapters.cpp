#include "native/adapters.h"

#include <fmt/core.h>

#include "core/error.h"

namespace dvlm {

namespace {

// The parts of a layer that are multiplied together, by the ends of their names.
struct Group {
  LowRank LayerAdapters::*matrices;
  const char* prefix;
  std::initializer_list<const char*> parts;
};
const Group kGroups[] = {{&LayerAdapters::qkv, "self_attn.", {"q_proj", "k_proj", "v_proj"}},
                         {&LayerAdapters::output, "self_attn.", {"o_proj"}},
                         {&LayerAdapters::gate_up, "mlp.", {"gate_proj", "up_proj"}},
                         {&LayerAdapters::down, "mlp.", {"down_proj"}}};

std::vector<std::string> names(const Group& group, int layer) {
  std::vector<std::string> out;
  for (const char* part : group.parts)
    out.push_back(fmt::format("model.layers.{}.{}{}", layer, group.prefix, part));
  return out;
}

TensorView view_of(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return {DType::f32, {rows, columns}, reinterpret_cast<const std::byte*>(values.data())};
}

LowRank load(const Lora& lora, const std::vector<std::string>& parts,
             const std::map<std::string, std::vector<int64_t>>& shapes, WeightFormat format,
             ThreadPool& pool) {
  std::vector<TensorView> a;
  int64_t ranks = 0, outputs = 0;
  for (const std::string& part : parts) {
    outputs += shapes.at(part + ".weight")[0];
    const auto found = lora.linears().find(part);
    if (found == lora.linears().end()) continue;
    a.push_back(found->second.a);
    ranks += found->second.a.shape[0];
  }
  if (ranks == 0) return {};
  std::vector<float> b(static_cast<size_t>(outputs * ranks));
  int64_t row = 0, column = 0;
  for (const std::string& part : parts) {
    const int64_t rows = shapes.at(part + ".weight")[0];
    if (const auto found = lora.linears().find(part); found != lora.linears().end()) {
      const Lora::Linear& linear = found->second;
      const int64_t rank = linear.a.shape[0];
      for (int64_t i = 0; i < rows; ++i) {
        float* to = b.data() + (row + i) * ranks + column;
        copy_to_float(linear.b, i * rank, rank, to);
        for (int64_t k = 0; k < rank; ++k) to[k] *= static_cast<float>(linear.scale);
      }
      column += rank;
    }
    row += rows;
  }
  const TensorView whole = view_of(b, outputs, ranks);
  return {PackedMatrix(a, {}, format, pool), PackedMatrix({&whole, 1}, {}, format, pool)};
}

}  // namespace

DraftAdapters load_adapters(const Lora& lora, const ModelConfig& config, WeightFormat format,
                            ThreadPool& pool) {
  lora.check(config);
  const auto shapes = expected_tensors(config);
  for (const auto& [name, linear] : lora.linears())
    if (!name.starts_with("model.layers."))
      fail("{} changes {}: an adapter for drafts changes layers of the language model alone",
           lora.folder().string(), name);
  DraftAdapters out{std::vector<LayerAdapters>(static_cast<size_t>(config.text.layers))};
  for (int i = 0; i < config.text.layers; ++i)
    for (const Group& group : kGroups)
      out.layers[static_cast<size_t>(i)].*group.matrices = load(lora, names(group, i), shapes, format, pool);
  for (const LayerAdapters& layer : out.layers) out.rank = std::max(out.rank, layer.rank());
  const int64_t width = config.text.hidden_size;
  for (size_t i = 0; i < lora.tokens().size(); ++i) {
    std::vector<float>& row = out.rows[static_cast<TokenId>(lora.tokens()[i])];
    row.resize(static_cast<size_t>(width));
    copy_to_float(lora.token_rows(), static_cast<int64_t>(i) * width, width, row.data());
  }
  return out;
}

size_t adapter_bytes(const Lora& lora, const ModelConfig& config, WeightFormat format) {
  const auto shapes = expected_tensors(config);
  size_t bytes = 0;
  for (int i = 0; i < config.text.layers; ++i)
    for (const Group& group : kGroups) {
      int64_t ranks = 0, outputs = 0, inputs = 0;
      for (const std::string& part : names(group, i)) {
        const auto& shape = shapes.at(part + ".weight");
        outputs += shape[0], inputs = shape[1];
        if (const auto found = lora.linears().find(part); found != lora.linears().end())
          ranks += found->second.a.shape[0];
      }
      if (ranks > 0)
        bytes += PackedMatrix::packed_bytes(ranks, inputs, format) +
                 PackedMatrix::packed_bytes(outputs, ranks, format);
    }
  return bytes;
}

}  // namespace dvlm
