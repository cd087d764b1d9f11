#include "torch/cpu_layers.h"

#include <ATen/Parallel.h>

#include "torch/cpu_attention.h"
#include "torch/cpu_matrix.h"
#include "torch/cpu_rows.h"

namespace dvlm::cpu {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 64;  // rows that are worth a thread

const bf16* half_data(const Tensor& x) {
  return reinterpret_cast<const bf16*>(x.const_data_ptr<at::BFloat16>());
}
bf16* mutable_half_data(Tensor& x) {
  return reinterpret_cast<bf16*>(x.mutable_data_ptr<at::BFloat16>());
}

Tensor like_bf16(const Tensor& x) {
  return torch::empty(x.sizes(), torch::kBFloat16);
}

struct AddNorm : torch::autograd::Function<AddNorm> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const std::optional<Tensor>& delta,
                               const Tensor& weight, double eps) {
    const Tensor in = x.contiguous();
    const Tensor add = delta ? delta->contiguous() : Tensor();
    Tensor sum = delta.has_value() ? torch::empty_like(in) : Tensor();
    Tensor y = like_bf16(in), factors = torch::empty({in.size(0)}, torch::kFloat32);
    const int64_t n = in.size(1);
    const float* source = in.const_data_ptr<float>();
    const bf16* addend = add.defined() ? half_data(add) : nullptr;
    const float* scale = weight.const_data_ptr<float>();
    float* sums = sum.defined() ? sum.mutable_data_ptr<float>() : nullptr;
    bf16* out = mutable_half_data(y);
    float* factor = factors.mutable_data_ptr<float>();
    at::parallel_for(0, in.size(0), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        factor[r] = rows::kernels().add_norm(source + r * n, addend ? addend + r * n : nullptr, scale,
                                             static_cast<int>(n), static_cast<float>(eps),
                                             sums ? sums + r * n : nullptr, out + r * n);
    });
    context->set_materialize_grads(false);
    context->saved_data["add"] = delta.has_value();
    context->save_for_backward({delta.has_value() ? sum : in, weight, factors});
    if (delta.has_value()) return {sum, y};
    return {y};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const bool add = context->saved_data["add"].toBool();
    const Tensor &x = saved[0], &weight = saved[1], &factors = saved[2];
    const Tensor d_y =
        gradients.back().defined() ? gradients.back().contiguous() : torch::zeros_like(x, torch::kBFloat16);
    const Tensor d_sum = add && gradients[0].defined() ? gradients[0].contiguous() : Tensor();
    Tensor d_x = torch::empty_like(x), d_delta = add ? like_bf16(x) : Tensor();
    const int64_t n = x.size(1);
    Tensor d_weight = torch::zeros({n}, torch::kFloat32);
    const float* from_sum = d_sum.defined() ? d_sum.const_data_ptr<float>() : nullptr;
    const float *source = x.const_data_ptr<float>(), *scale = weight.const_data_ptr<float>();
    const float* factor = factors.const_data_ptr<float>();
    const bf16* from_y = half_data(d_y);
    float *to_x = d_x.mutable_data_ptr<float>(), *to_weight = d_weight.mutable_data_ptr<float>();
    bf16* to_delta = add ? mutable_half_data(d_delta) : nullptr;
    // Fixed chunks summed in order: the weight's gradient does not depend on the number of threads.
    constexpr int64_t kChunk = 512;
    const int64_t chunks = (x.size(0) + kChunk - 1) / kChunk;
    std::vector<float> partial(static_cast<size_t>(chunks * n));
    at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin * kChunk; r < std::min(end * kChunk, x.size(0)); ++r)
        rows::kernels().add_norm_backward(from_y + r * n, source + r * n, scale, factor[r],
                                          from_sum ? from_sum + r * n : nullptr, static_cast<int>(n),
                                          to_x + r * n, to_delta ? to_delta + r * n : nullptr,
                                          partial.data() + r / kChunk * n);
    });
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t i = 0; i < n; ++i) to_weight[i] += partial[static_cast<size_t>(c * n + i)];
    return {d_x, d_delta, d_weight, Tensor()};
  }
};

struct LinearInFloat : torch::autograd::Function<LinearInFloat> {
  static HalfMatrix matrix(const Tensor& x) { return {half_data(x), x.size(1), 1}; }

  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    const Tensor in = x.contiguous(), w = weight.contiguous();
    const Tensor b = bias ? bias->to(torch::kFloat32).contiguous() : Tensor();
    Tensor y = torch::empty({in.size(0), w.size(0)}, torch::kBFloat16);
    multiply_in_float(y.size(0), y.size(1), in.size(1), matrix(in), matrix(w).transposed(),
                      bias ? b.const_data_ptr<float>() : nullptr, mutable_half_data(y));
    context->save_for_backward({in, w});
    context->saved_data["bias"] = bias.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], d_y = gradients[0].contiguous();
    const int64_t rows = x.size(0), inputs = x.size(1), outputs = weight.size(0);
    Tensor d_x, d_weight, d_bias;
    if (context->needs_input_grad(0)) {
      d_x = like_bf16(x);
      multiply_in_float(rows, inputs, outputs, matrix(d_y), matrix(weight), nullptr, mutable_half_data(d_x));
    }
    if (context->needs_input_grad(1)) {
      Tensor sums = torch::zeros(weight.sizes());
      add_product_in_float(outputs, inputs, rows, matrix(d_y).transposed(), matrix(x),
                           sums.mutable_data_ptr<float>());
      d_weight = sums.to(torch::kBFloat16);
    }
    if (context->saved_data["bias"].toBool())
      d_bias = d_y.sum(0, false, torch::kFloat32).to(torch::kBFloat16);
    return {d_x, d_weight, d_bias};
  }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static Tensor forward(AutogradContext* context, const Tensor& gate_up) {
    const Tensor in = gate_up.contiguous();
    const int64_t n = in.size(1) / 2;
    Tensor y = torch::empty({in.size(0), n}, torch::kBFloat16);
    const bf16* source = half_data(in);
    bf16* out = mutable_half_data(y);
    at::parallel_for(0, in.size(0), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        rows::kernels().swiglu(source + 2 * r * n, static_cast<int>(n), out + r * n);
    });
    context->save_for_backward({in});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor in = context->get_saved_variables()[0], d_y = gradients[0].contiguous();
    const int64_t n = in.size(1) / 2;
    Tensor d_in = torch::empty_like(in);
    const bf16 *source = half_data(in), *from_y = half_data(d_y);
    bf16* out = mutable_half_data(d_in);
    at::parallel_for(0, in.size(0), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        rows::kernels().swiglu_backward(source + 2 * r * n, from_y + r * n, static_cast<int>(n),
                                        out + 2 * r * n);
    });
    return {d_in};
  }
};

struct SavedShape : torch::CustomClassHolder {
  explicit SavedShape(const layers::AttentionShape& s) : shape(s) {}
  layers::AttentionShape shape;
};

CpuAttention attention_of(const layers::AttentionShape& shape, const Tensor& qkv, const Tensor& cosine,
                          const Tensor& sine) {
  return {shape.heads,
          shape.kv_heads,
          shape.head_dim,
          shape.cumulative,
          shape.causal,
          shape.mask.defined() ? shape.mask.const_data_ptr<bool>() : nullptr,
          half_data(qkv),
          cosine.const_data_ptr<float>(),
          sine.const_data_ptr<float>()};
}

struct Attention : torch::autograd::Function<Attention> {
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const Tensor& cosine, const Tensor& sine,
                        const layers::AttentionShape& shape) {
    const Tensor in = qkv.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
    Tensor out = torch::empty({in.size(0), int64_t{shape.heads} * shape.head_dim}, torch::kBFloat16);
    Tensor log_sums = torch::empty({in.size(0), shape.heads}, torch::kFloat32);
    attention_of(shape, in, c, s).forward(mutable_half_data(out), log_sums.mutable_data_ptr<float>());
    context->save_for_backward({in, c, s, out, log_sums});
    context->saved_data["shape"] = c10::IValue::make_capsule(c10::make_intrusive<SavedShape>(shape));
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto capsule = context->saved_data["shape"].toCapsule();
    const auto& shape = static_cast<const SavedShape&>(*capsule).shape;
    const Tensor d_out = gradients[0].contiguous();
    Tensor d_qkv = torch::empty_like(saved[0]);
    attention_of(shape, saved[0], saved[1], saved[2])
        .backward(half_data(saved[3]), saved[4].const_data_ptr<float>(), half_data(d_out),
                  mutable_half_data(d_qkv));
    return {d_qkv, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

bool multiplies_in_float() {
#if defined(__x86_64__)
  static const bool vectors = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                              __builtin_cpu_supports("avx512dq");
  return !vectors;
#else
  return false;
#endif
}

bool available(const Tensor& like, torch::Dtype type) {
  return type == torch::kBFloat16 && like.device().is_cpu();
}

std::pair<Tensor, Tensor> add_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps) {
  const variable_list out =
      AddNorm::apply(x, delta.defined() ? std::optional(delta) : std::nullopt, weight, eps);
  return {delta.defined() ? out[0] : x, out.back()};
}

Tensor linear_in_float(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto rows = x.sizes().slice(0, static_cast<size_t>(x.dim() - 1));
  return LinearInFloat::apply(x.flatten(0, -2), weight, bias.defined() ? std::optional(bias) : std::nullopt)
      .unflatten(0, rows);
}

Tensor swiglu(const Tensor& gate_up) {
  return SwiGlu::apply(gate_up);
}

Tensor rotary_attention(const Tensor& qkv, const Tensor& cosine, const Tensor& sine,
                        const layers::AttentionShape& shape) {
  layers::AttentionShape checked = shape;
  if (shape.mask.defined()) checked.mask = shape.mask.contiguous();
  return Attention::apply(qkv, cosine, sine, checked);
}

}  // namespace dvlm::cpu
