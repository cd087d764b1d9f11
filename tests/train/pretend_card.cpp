#include "pretend_card.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"

// Stands before LibTorch's own, which a CPU build compiles without CUDA.
std::optional<c10::DeviceType> at::accelerator::getAccelerator(bool) {
  return c10::kCUDA;
}

namespace dvlm::test {
namespace {

using torch::Tensor;

const c10::Device kCard(c10::kCUDA, 0);
const c10::Stream kStream(c10::Stream::DEFAULT, kCard);
const c10::DispatchKeySet kCardKeys(c10::DispatchKey::CUDA);

// The card's addresses: no process can use one that has this bit.
constexpr uintptr_t kFarBit = uintptr_t{1} << 54;

void* far_address(void* near) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(near) | kFarBit);
}
void* near_address(const void* far) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(far) & ~kFarBit);
}

struct CardMemory : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* near = std::malloc(std::max<size_t>(bytes, 1));
    if (near == nullptr) throw std::bad_alloc();
    std::memset(near, 0xff, bytes);
    return {far_address(near), near, &std::free, kCard};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(near_address(to), near_address(from), bytes);
  }
};

CardMemory* memory() {
  static CardMemory allocator;
  return &allocator;
}

Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
             std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, memory(), kCardKeys, type.value_or(torch::kFloat32), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> type,
                     std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, memory(), kCardKeys, type.value_or(torch::kFloat32));
}

// The same numbers under an address that the CPU's operators can use.
Tensor near(const Tensor& x) {
  if (x.is_cpu()) return x;
  const auto options = x.options().device(torch::kCPU).requires_grad(false);
  if (x.numel() == 0) return torch::empty(x.sizes(), options);
  return torch::from_blob(near_address(x.const_data_ptr()), x.sizes(), x.strides(), options);
}

Tensor& copy(Tensor& to, const Tensor& from, bool) {
  near(to).copy_(near(from));
  return to;
}

// One operator's tensors, as it was given them and as the CPU's kernel sees them.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : name_(op.schema().name()) {}

  c10::IValue to_cpu(const c10::IValue& value) {
    if (value.isTensor()) return to_cpu(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& x : value.toTensorVector()) list.push_back(to_cpu(x));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& x : value.toOptionalTensorVector())
        list.push_back(x ? std::optional(to_cpu(*x)) : std::nullopt);
      return list;
    }
    return value;
  }

  c10::IValue to_card(const c10::IValue& value) const {
    if (value.isTensor()) return to_card(value.toTensor());
    if (!value.isTensorList()) return value;
    c10::List<Tensor> list;
    for (const Tensor& x : value.toTensorVector()) list.push_back(to_card(x));
    return list;
  }

 private:
  struct Pair {
    Tensor far, near;
  };

  Tensor to_cpu(const Tensor& x) {
    if (!x.defined() || (x.is_cpu() && x.dim() == 0)) return x;  // numbers may come from the CPU
    if (x.is_cpu())
      fail("{}: a tensor of shape {} is on the CPU, others are on the card", name_, to_string(x));
    given_.push_back({x, near(x)});
    return given_.back().near;
  }

  Tensor to_card(const Tensor& x) const {
    if (!x.defined()) return x;
    for (const Pair& pair : given_) {
      if (!x.is_same(pair.near)) {
        if (x.is_alias_of(pair.near)) fail("{}: the pretended card has no such view", name_);
        continue;
      }
      if (x.sizes() == pair.far.sizes()) return pair.far;
      // An empty result that the operator has given a size.
      pair.far.unsafeGetTensorImpl()->set_storage_keep_dtype(copied_to_card(x).storage());
      pair.far.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides());
      return pair.far;
    }
    return copied_to_card(x);
  }

  static Tensor copied_to_card(const Tensor& x) {
    Tensor out = torch::empty_strided(x.sizes(), x.strides(), x.options().device(kCard));
    near(out).copy_(x);
    return out;
  }

  static std::string to_string(const Tensor& x) { return c10::str(x.sizes()); }

  std::string name_;
  std::vector<Pair> given_;
};

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call(op);
  const auto convert_last = [&](size_t count, auto convert) {
    for (size_t i = stack->size() - count; i < stack->size(); ++i) (*stack)[i] = convert((*stack)[i]);
  };
  convert_last(op.schema().arguments().size(), [&](const c10::IValue& x) { return call.to_cpu(x); });
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  convert_last(op.schema().returns().size(), [&](const c10::IValue& x) { return call.to_card(x); });
}

struct Hooks : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return 1; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const at::Generator generator = at::detail::createCPUGenerator();
    return generator;
  }
};

struct Guard : c10::impl::NoOpDeviceGuardImpl<c10::kCUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return kCard; }
  c10::Device getDevice() const override { return kCard; }
  c10::Stream getStream(c10::Device) const noexcept override { return kStream; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return kStream; }
};

}  // namespace

void pretend_card() {
  at::CUDAHooksRegistry()->Register(
      "CUDAHooks", [](at::CUDAHooksArgs arguments) -> std::unique_ptr<at::CUDAHooksInterface> {
        return std::make_unique<Hooks>(arguments);
      });
  static const c10::impl::DeviceGuardImplRegistrar guard(c10::kCUDA, new Guard);
  static torch::Library all(torch::Library::IMPL, "_", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  all.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
  static torch::Library aten(torch::Library::IMPL, "aten", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  aten.impl("empty.memory_format", empty);
  aten.impl("empty_strided", empty_strided);
  aten.impl("copy_", copy);
  aten.impl("view", at::native::view);
  aten.impl("as_strided", at::native::as_strided_tensorimpl);
  aten.impl("_reshape_alias", at::native::_reshape_alias);
}

}  // namespace dvlm::test
