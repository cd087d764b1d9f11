#include "measure/random_checkpoint.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "backends/load_model.h"
#include "core/error.h"

namespace dvlm {

namespace {

// A file in memory: what loads a checkpoint may drop mapped pages, which then come back from the file.
MappedFile make_file(size_t bytes, const std::function<void(std::byte*, size_t)>& fill) {
  const int file = ::memfd_create("dvlm-random-weights", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0)
    fail("there is no memory for random weights");
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) fail("there is no memory for random weights");
  fill(static_cast<std::byte*>(data), bytes);
  ::munmap(data, bytes);
  MappedFile mapped(fmt::format("/proc/self/fd/{}", file));
  ::close(file);
  return mapped;
}

uint32_t next(uint32_t& state) {
  return (state = state * 1664525u + 1013904223u) >> 8;  // Numerical Recipes' generator: cheap, not secret
}

int64_t largest_tensor(const ModelConfig& config) {
  int64_t largest = 0;
  for (const auto& [name, shape] : expected_tensors(config)) {
    largest = std::max(largest, TensorView{DType::bf16, shape, nullptr}.elements());
  }
  return largest;
}

MappedFile make_values(const ModelConfig& config) {
  return make_file(static_cast<size_t>(largest_tensor(config)) * 2, [](std::byte* data, size_t bytes) {
    uint32_t state = 1;
    for (size_t at = 0; at + 2 <= bytes; at += 2) {
      const bf16 value = to_bf16(static_cast<float>(next(state)) * 0x1p-29f - 0x1p-6f);  // +- 1/64
      std::memcpy(data + at, &value, 2);
    }
  });
}

MappedFile make_codes(const ModelConfig& config) {
  return make_file(static_cast<size_t>(largest_tensor(config)), [](std::byte* data, size_t bytes) {
    uint32_t state = 2;
    for (size_t at = 0; at < bytes; ++at) {
      const uint32_t code = next(state) & 0xFF;
      data[at] = static_cast<std::byte>((code & 0x7F) == 0x7F ? code ^ 1 : code);  // no NaN
    }
  });
}

std::map<std::string, TensorView> tensors_of(const ModelConfig& config, const MappedFile& values,
                                             const MappedFile& codes, DType linears) {
  std::map<std::string, TensorView> out;
  for (const auto& [name, shape] : expected_tensors(config)) {
    const bool linear = shape.size() == 2 && name != "model.embed_tokens.weight" && name != "lm_head.weight";
    if (linears != DType::bf16 && linear) {
      out[name] = {linears, shape, codes.bytes().data()};
      out[name + "_scale"] = {DType::bf16, {shape[0], 1}, values.bytes().data()};
    } else {
      out[name] = {DType::bf16, shape, values.bytes().data()};
    }
  }
  return out;
}

}  // namespace

ModelConfig shape_named(const std::string& name) {
  ModelConfig config;
  config.architecture = "Fast_dVLMForConditionalGeneration";
  if (name == "3b") {
    config.text = {.vocab_size = 151936,
                   .hidden_size = 2048,
                   .intermediate_size = 11008,
                   .layers = 36,
                   .heads = 16,
                   .kv_heads = 2,
                   .head_dim = 128,
                   .mrope_section = {16, 24, 24},
                   .max_positions = 128000};
    config.vision = {.depth = 32,
                     .hidden_size = 1280,
                     .intermediate_size = 3420,
                     .heads = 16,
                     .out_hidden_size = 2048,
                     .full_attention_blocks = {7, 15, 23, 31}};
    return config;
  }
  if (name == "tiny") {
    config.text = {.vocab_size = 1024,
                   .hidden_size = 256,
                   .intermediate_size = 704,
                   .layers = 6,
                   .heads = 4,
                   .kv_heads = 2,
                   .head_dim = 64,
                   .mrope_section = {8, 12, 12},
                   .max_positions = 4096};
    config.vision = {.depth = 4,
                     .hidden_size = 192,
                     .intermediate_size = 512,
                     .heads = 4,
                     .out_hidden_size = 256,
                     .full_attention_blocks = {1, 3}};
    config.image_token = 1000, config.video_token = 1001;
    config.vision_start_token = 1002, config.vision_end_token = 1003;
    return config;
  }
  fail("there is no shape \"{}\"; the shapes are 3b and tiny", printable(name));
}

ModelConfig text_shape_named(const std::string& name) {
  ModelConfig out = shape_named(name);
  out.vision.depth = 1;
  out.vision.full_attention_blocks = {0};
  return out;
}

std::vector<std::string> precision_names() {
  return {"bf16", "fp8", "int8", "int4"};
}

RandomCheckpoint::RandomCheckpoint(const ModelConfig& config, DType linears)
    : values_(make_values(config)),
      codes_(linears == DType::bf16 ? make_file(1, [](std::byte*, size_t) {}) : make_codes(config)),
      checkpoint_(config, tensors_of(config, values_, codes_, linears)) {}

DType linears_in(const std::string& precision) {
  return precision == "fp8" ? DType::f8_e4m3 : precision == "int8" ? DType::i8 : DType::bf16;
}

std::unique_ptr<Model> load_random(const ModelConfig& config, const std::string& precision,
                                   const ModelOptions& options) {
  ModelOptions own = options;
  // As --precision does: with the head in eight bits, which files of INT8 keep in BF16; and none holds int4.
  if (precision == "int8") own.precision = Precision::int8;
  if (precision == "int4") own.precision = Precision::int4;
  return load_model(RandomCheckpoint(config, linears_in(precision)).checkpoint(), own);
}

}  // namespace dvlm
