// Where tensors live.
#pragma once
#include <torch/torch.h>

#include <string>

namespace dvlm {

// `name` is "cpu", "cuda" (the first card) or "cuda:N". Loads LibTorch's GPU half for a card, which is
// not linked since it needs gigabytes of CUDA's libraries. Call it before anything else of LibTorch, which
// looks for that half once. Throws Error when there is no such half, no such card or no such name.
torch::Device open_device(const std::string& name);

// Of memory that nothing holds; SIZE_MAX where that is not known.
size_t free_bytes(torch::Device device);

}  // namespace dvlm
