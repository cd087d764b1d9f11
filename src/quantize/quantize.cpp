#include "quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoint/json.h"
#include "checkpoint/merge.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/plot.h"
#include "core/progress.h"
#include "kernels/linear.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

// A linear layer of a group, in f32: [outputs, inputs].
struct Layer {
  std::string name;
  int outputs = 0, inputs = 0;
  std::vector<float> weights;
};

Layer read_layer(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& tensor = checkpoint.tensors().at(name + ".weight");
  Layer layer{name, static_cast<int>(tensor.shape[0]), static_cast<int>(tensor.shape[1]),
              std::vector<float>(static_cast<size_t>(tensor.elements()))};
  copy_to_float(tensor, 0, tensor.elements(), layer.weights.data());
  return layer;
}

// max |w| of every input over all layers of the group.
std::vector<float> column_maxima(const std::vector<Layer>& layers) {
  const auto inputs = static_cast<size_t>(layers[0].inputs);
  std::vector<float> out(inputs);
  for (const Layer& layer : layers) {
    for (size_t i = 0; i < layer.weights.size(); ++i) {
      out[i % inputs] = std::max(out[i % inputs], std::abs(layer.weights[i]));
    }
  }
  return out;
}

PackedMatrix pack(const Layer& layer, WeightFormat format, ThreadPool& pool) {
  const TensorView view{
      DType::f32, {layer.outputs, layer.inputs}, reinterpret_cast<const std::byte*>(layer.weights.data())};
  return PackedMatrix({&view, 1}, {}, format, pool);
}

std::vector<float> outputs_of(const PackedMatrix& layer, const std::vector<float>& rows, ThreadPool& pool) {
  const auto inputs = static_cast<size_t>(layer.inputs()), outputs = static_cast<size_t>(layer.outputs());
  const int count = static_cast<int>(rows.size() / inputs);
  std::vector<float> x = rows, y(static_cast<size_t>(count) * outputs);
  LinearScratch scratch;
  linear(layer, {x.data(), inputs, count}, {y.data(), outputs, count}, LinearMode::store, scratch, pool);
  return y;
}

// Squared errors and squared sizes of each output over the rows.
struct Errors {
  std::vector<double> error, size;

  Errors(const std::vector<float>& found, const std::vector<float>& exact, size_t outputs)
      : error(outputs), size(outputs) {
    for (size_t i = 0; i < exact.size(); ++i) {
      error[i % outputs] += (double{found[i]} - exact[i]) * (double{found[i]} - exact[i]);
      size[i % outputs] += double{exact[i]} * exact[i];
    }
  }
  static double ratio(double error, double size) { return size > 0 ? std::sqrt(error / size) : 0; }
  double of(int output) const { return ratio(error[output], size[output]); }
  double total() const {
    return ratio(std::accumulate(error.begin(), error.end(), 0.0),
                 std::accumulate(size.begin(), size.end(), 0.0));
  }
};

// What is written, and what keeps its bytes alive.
class Output {
 public:
  explicit Output(const Checkpoint& checkpoint) {
    for (const auto& [name, tensor] : checkpoint.tensors()) tensors_[name] = tensor;
  }

  void replace(const std::string& name, DType type, std::vector<int64_t> shape,
               std::vector<std::byte> bytes) {
    held_.push_back(std::move(bytes));
    tensors_[name] = {type, std::move(shape), held_.back().data()};
  }

  void replace_wide(const std::string& name, DType type, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * size_of(type));
    for (size_t i = 0; i < values.size(); ++i) {
      const bf16 narrow = to_bf16(values[i]);
      std::memcpy(bytes.data() + i * size_of(type),
                  type == DType::bf16 ? static_cast<const void*>(&narrow) : &values[i], size_of(type));
    }
    replace(name, type, std::vector<int64_t>(tensors_.at(name).shape), std::move(bytes));
  }

  DType type(const std::string& name) const { return tensors_.at(name).type; }

  void replace_linear(const std::string& name, RoundedLayer& layer) {
    tensors_.erase(name + ".weight");
    for (RoundedLayer::Tensor& tensor : layer.tensors)
      replace(name + std::string(tensor.ending), tensor.type, std::move(tensor.shape),
              std::move(tensor.bytes));
  }

  void write(const fs::path& file) const {
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors_) named.push_back({published_name(name), tensor});
    write_safetensors(file, named);
  }

 private:
  std::map<std::string, TensorView> tensors_;
  std::vector<std::vector<std::byte>> held_;
};

void check_norm(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& tensor = checkpoint.tensors().at(name);
  if (tensor.type != DType::bf16 && tensor.type != DType::f32)
    fail("{}: tensor {} is {}; quantizing takes F32 and BF16 norms", checkpoint.folder().string(), name,
         name_of(tensor.type));
}

std::vector<float> norm_weights(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& tensor = checkpoint.tensors().at(name);
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  copy_to_float(tensor, 0, tensor.elements(), values.data());
  return values;
}

LayerReport report_of(const Layer& layer, const Errors& plain, const Errors& smoothed) {
  constexpr int kWorst = 3;
  LayerReport report{layer.name, layer.outputs, layer.inputs, plain.total(), smoothed.total(), {}, {}};
  std::vector<int> order(static_cast<size_t>(layer.outputs));
  std::iota(order.begin(), order.end(), 0);
  const int count = std::min(kWorst, layer.outputs);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int a, int b) { return smoothed.of(a) > smoothed.of(b); });
  for (int i = 0; i < count; ++i) {
    report.worst.push_back(order[i]);
    report.worst_errors.push_back(smoothed.of(order[i]));
  }
  return report;
}

void quantize_group(const Checkpoint& checkpoint, const LayerGroup& group, const LayerInputs& inputs,
                    const QuantizeOptions& options, Output& output, std::vector<LayerReport>& reports,
                    ThreadPool& pool) {
  std::vector<Layer> layers;
  for (const std::string& name : group.linears) layers.push_back(read_layer(checkpoint, name));
  const auto width = static_cast<size_t>(layers[0].inputs);
  if (inputs.highest.size() != width) fail("the calibration of {} does not fit the layer", group.linears[0]);
  std::vector<float> factors(width, 1.0f), rows = inputs.rows, importance = inputs.mean_squares();
  if (!group.norm.empty()) {
    factors = smoothing_factors(inputs.highest, column_maxima(layers), options.alpha);
    std::vector<float> norm = norm_weights(checkpoint, group.norm + ".weight");
    for (size_t k = 0; k < width; ++k) norm[k] /= factors[k];
    const std::string name = group.norm + ".weight";
    output.replace_wide(name, options.round ? output.type(name) : DType::f32, norm);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] /= factors[i % width];
    for (size_t k = 0; k < width; ++k) importance[k] /= factors[k] * factors[k];
  }
  for (Layer& layer : layers) {
    const auto outputs = static_cast<size_t>(layer.outputs);
    const std::vector<float> exact =
        outputs_of(pack(layer, WeightFormat::f32_panels, pool), inputs.rows, pool);
    const Errors plain(outputs_of(pack(layer, kind_of(options.codes).format, pool), inputs.rows, pool), exact,
                       outputs);
    for (size_t i = 0; i < layer.weights.size(); ++i) layer.weights[i] *= factors[i % width];
    RoundedLayer rounded = round_layer(layer.weights, importance, options.codes, options.group, pool);
    const Errors smoothed(outputs_of(rounded.matrix, rows, pool), exact, outputs);
    if (options.round)
      output.replace_linear(layer.name, rounded);
    else
      output.replace_wide(layer.name + ".weight", DType::f32, layer.weights);
    reports.push_back(report_of(layer, plain, smoothed));
  }
}

// config.json with its new key last.
void write_companions(const Checkpoint& checkpoint, const QuantizeOptions& options, const fs::path& output) {
  copy_beside_weights(checkpoint.folder(), output);
  nlohmann::json config = read_json(checkpoint.folder() / "config.json");
  mend_config(config, checkpoint.config());
  if (options.round)
    config["quantization_config"] = quantization_config(options.codes, options.group, options.vision);
  write_file(output / "config.json", config.dump(2) + "\n");
}

}  // namespace

std::vector<LayerGroup> layer_groups(const ModelConfig& config, bool vision) {
  std::vector<LayerGroup> out;
  const auto add = [&](const std::string& prefix, const char* norm,
                       std::initializer_list<const char*> linears) {
    LayerGroup group{norm ? prefix + norm : "", {}};
    for (const char* linear : linears) group.linears.push_back(prefix + linear);
    out.push_back(std::move(group));
  };
  for (int i = 0; i < config.text.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer, "input_layernorm", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    add(layer, nullptr, {"self_attn.o_proj"});
    add(layer, "post_attention_layernorm", {"mlp.gate_proj", "mlp.up_proj"});
    add(layer, nullptr, {"mlp.down_proj"});
  }
  if (!vision) return out;
  for (int i = 0; i < config.vision.depth; ++i) {
    const std::string block = fmt::format("visual.blocks.{}.", i);
    add(block, "norm1", {"attn.qkv"});
    add(block, nullptr, {"attn.proj"});
    add(block, "norm2", {"mlp.gate_proj", "mlp.up_proj"});
    add(block, nullptr, {"mlp.down_proj"});
  }
  // The merger's norm has one weight for the four patches of a merged token: plain rounding.
  add("visual.merger.", nullptr, {"mlp.0"});
  add("visual.merger.", nullptr, {"mlp.2"});
  return out;
}

std::vector<float> smoothing_factors(std::span<const float> activations, std::span<const float> weights,
                                     double alpha) {
  DVLM_ASSERT(activations.size() == weights.size());
  constexpr double kFloor = 1e-5;
  std::vector<float> out;
  for (size_t k = 0; k < weights.size(); ++k) {
    const double a = std::max(double{activations[k]}, kFloor), w = std::max(double{weights[k]}, kFloor);
    out.push_back(static_cast<float>(std::max(std::pow(a, alpha) / std::pow(w, 1 - alpha), kFloor)));
  }
  return out;
}

void check_quantizable(const Checkpoint& checkpoint, bool vision) {
  if (const auto problems = checkpoint.problems(); !problems.empty())
    fail("{}: {}", checkpoint.folder().string(), problems.front());
  if (const auto unused = checkpoint.unused(); !unused.empty())
    fail("{}: tensor {} is not used by this architecture and would be lost", checkpoint.folder().string(),
         printable(unused.front()));
  for (const LayerGroup& group : layer_groups(checkpoint.config(), vision)) {
    if (!group.norm.empty()) check_norm(checkpoint, group.norm + ".weight");
    for (const std::string& linear : group.linears) {
      const std::string name = linear + ".weight";
      if (checkpoint.is_grouped(name))
        fail("{} is quantised already: {} has scales for groups of inputs", checkpoint.folder().string(),
             linear);
      if (const TensorView& tensor = checkpoint.tensors().at(name); is_quantized(tensor))
        fail("{} is quantised already: {} is {}", checkpoint.folder().string(), linear, name_of(tensor.type));
    }
  }
}

std::vector<LayerReport> quantize(const Checkpoint& checkpoint, const CalibrationInputs& inputs,
                                  const QuantizeOptions& options, const fs::path& output, ThreadPool& pool) {
  check_quantizable(checkpoint, options.vision);
  refuse_second_model(output);
  make_folder(output);
  write_companions(checkpoint, options, output);
  Output tensors(checkpoint);
  std::vector<LayerReport> reports;
  const std::vector<LayerGroup> groups = layer_groups(checkpoint.config(), options.vision);
  Progress progress("quantizing", std::ssize(groups));
  for (size_t i = 0; i < groups.size(); ++i) {
    if (interrupted()) fail("quantizing was interrupted; {} holds no model", output.string());
    const auto found = inputs.find(groups[i].linears[0]);
    if (found == inputs.end())
      fail(
          "the calibration data never reached {}: add samples with pictures, or keep the vision tower as it "
          "is",
          groups[i].linears[0]);
    quantize_group(checkpoint, groups[i], found->second, options, tensors, reports, pool);
    progress.update(static_cast<int64_t>(i) + 1);
  }
  tensors.write(output / "model.safetensors");  // last: a folder with weights is complete
  return reports;
}

std::string report_table(const std::vector<LayerReport>& layers) {
  std::string out =
      "| layer | shape | plain | smoothed | worst outputs |\n| --- | --- | ---: | ---: | --- |\n";
  for (const LayerReport& layer : layers) {
    std::string worst;
    for (size_t i = 0; i < layer.worst.size(); ++i)
      worst += fmt::format("{}{} ({:.1f} %)", i ? ", " : "", layer.worst[i], 100 * layer.worst_errors[i]);
    out += fmt::format("| {} | {} x {} | {:.2f} % | {:.2f} % | {} |\n", layer.name, layer.outputs,
                       layer.inputs, 100 * layer.plain, 100 * layer.smoothed, worst);
  }
  return out;
}

std::string report_plot(const std::vector<LayerReport>& layers, Codes codes) {
  std::vector<Plot::Point> plain, smoothed;
  double high = 0;
  for (const LayerReport& layer : layers) {
    const double x = static_cast<double>(plain.size() + 1);
    plain.push_back({x, 100 * layer.plain});
    smoothed.push_back({x, 100 * layer.smoothed});
    high = std::max({high, plain.back().y, smoothed.back().y});
  }
  Plot plot(fmt::format("Error of each linear layer in {}, % of its output", kind_of(codes).title),
            "layer, in the order of the table", static_cast<double>(std::max<size_t>(1, layers.size())),
            high > 0 ? high * 1.05 : 1);
  plot.line(plain, "#999999", 1.5);
  plot.line(smoothed, "#1f77b4", 2);
  plot.legend("rounded as it is", "#999999");
  plot.legend("as written", "#1f77b4");
  return plot.svg();
}

}  // namespace dvlm
