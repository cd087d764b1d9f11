#include "torch/recompute.h"

namespace dvlm {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Part : torch::CustomClassHolder {
  Part(NetworkPart function, size_t own_inputs) : run(std::move(function)), inputs(own_inputs) {}
  NetworkPart run;
  size_t inputs;  // of the function; weights follow them
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  static variable_list forward(AutogradContext* context, const c10::intrusive_ptr<Part>& part,
                               at::TensorList inputs_and_weights) {
    context->saved_data["part"] = c10::IValue::make_capsule(part);
    context->save_for_backward(inputs_and_weights.vec());
    return part->run(
        {inputs_and_weights.begin(), inputs_and_weights.begin() + static_cast<std::ptrdiff_t>(part->inputs)});
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const torch::AutoGradMode with_gradients(true);
    const auto part = c10::static_intrusive_pointer_cast<Part>(context->saved_data["part"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    variable_list inputs, wanted, outputs, known;
    for (size_t i = 0; i < part->inputs; ++i)
      inputs.push_back(saved[i].detach().requires_grad_(saved[i].requires_grad()));
    for (size_t i = 0; i < saved.size(); ++i)
      if (saved[i].requires_grad()) wanted.push_back(i < part->inputs ? inputs[i] : saved[i]);
    const variable_list all = part->run(inputs);
    for (size_t i = 0; i < all.size(); ++i)
      if (gradients[i].defined() && all[i].requires_grad())
        outputs.push_back(all[i]), known.push_back(gradients[i]);
    const variable_list found =
        torch::autograd::grad(outputs, wanted, known, /*retain_graph=*/false, /*create_graph=*/false,
                              /*allow_unused=*/true);
    variable_list out = {torch::Tensor()};  // of the part
    size_t next = 0;
    for (const torch::Tensor& one : saved)
      out.push_back(one.requires_grad() ? found[next++] : torch::Tensor());
    return out;
  }
};

}  // namespace

std::vector<torch::Tensor> recompute(const NetworkPart& part, const std::vector<torch::Tensor>& inputs,
                                     const std::vector<torch::Tensor>& weights) {
  variable_list all = inputs;
  all.insert(all.end(), weights.begin(), weights.end());
  return Recompute::apply(c10::make_intrusive<Part>(part, inputs.size()), at::TensorList(all));
}

}  // namespace dvlm
