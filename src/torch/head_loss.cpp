#include "torch/head_loss.h"

#include <algorithm>

namespace dvlm {

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class HeadLossFunction : public torch::autograd::Function<HeadLossFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& hidden, const Tensor& head,
                               const Tensor& targets, const Tensor& weights, int64_t chunk, bool gradients) {
    const bool for_hidden = gradients && hidden.requires_grad(), for_head = gradients && head.requires_grad();
    const Tensor losses = torch::empty_like(weights), wide = head.to(torch::kFloat32);
    const Tensor hidden_gradient = for_hidden ? torch::empty_like(hidden) : Tensor(),
                 head_gradient = for_head ? torch::zeros_like(wide) : Tensor();
    for (int64_t at = 0; at < hidden.size(0); at += chunk) {
      const int64_t rows = std::min(chunk, hidden.size(0) - at);
      const Tensor x = hidden.narrow(0, at, rows), target = targets.narrow(0, at, rows).unsqueeze(1);
      const Tensor logits = x.matmul(wide.t()), mass = logits.logsumexp(1, /*keepdim=*/true);
      losses.narrow(0, at, rows).copy_((mass - logits.gather(1, target)).squeeze(1));
      if (!for_hidden && !for_head) continue;
      // The gradient of a row's cross entropy is its softmax less one at the target.
      const Tensor gradient = logits.sub_(mass).exp_();
      gradient.scatter_add_(1, target, torch::full_like(target, -1, gradient.options()));
      gradient.mul_(weights.narrow(0, at, rows).unsqueeze(1));
      if (for_hidden) hidden_gradient.narrow(0, at, rows).copy_(gradient.matmul(wide));
      if (for_head) head_gradient.addmm_(gradient.t(), x);
    }
    context->save_for_backward({hidden_gradient, head_gradient});
    context->mark_non_differentiable({losses});
    return {losses.dot(weights), losses};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto scaled = [&](const Tensor& gradient) {
      return gradient.defined() ? gradient * gradients[0] : Tensor();
    };
    return {scaled(saved[0]), scaled(saved[1]), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

HeadLoss head_loss(const Tensor& hidden, const Tensor& head, const Tensor& targets, const Tensor& weights,
                   int64_t chunk) {
  // Asked here: inside a function of autograd's it is always off.
  const variable_list out =
      HeadLossFunction::apply(hidden, head, targets, weights, chunk, torch::GradMode::is_enabled());
  return {out[0], out[1]};
}

}  // namespace dvlm
