#include "torch/head_loss.h"

#include <gtest/gtest.h>

namespace dvlm {
namespace {

TEST(HeadLoss, is_the_weighted_cross_entropy_whatever_the_chunks) {
  torch::manual_seed(4);
  const torch::Tensor hidden = torch::randn({11, 8}), head = torch::randn({13, 8}) * 2,
                      targets = torch::randint(13, {11}), weights = torch::rand({11}) - 0.2;
  const auto reference = [&] {
    const torch::Tensor h = hidden.to(torch::kFloat64).requires_grad_(),
                        w = head.to(torch::kFloat64).requires_grad_();
    const torch::Tensor rows = torch::cross_entropy_loss(h.matmul(w.t()), targets, {}, at::Reduction::None);
    const torch::Tensor total = rows.dot(weights.to(torch::kFloat64)) * 3;
    total.backward();
    return std::vector<torch::Tensor>{total.detach(), rows.detach(), h.grad(), w.grad()};
  }();
  for (const int64_t chunk : {1, 4, 11, 512}) {
    const torch::Tensor h = hidden.clone().requires_grad_(), w = head.clone().requires_grad_();
    const HeadLoss loss = head_loss(h, w, targets, weights, chunk);
    const torch::Tensor total = loss.total * 3;
    total.backward();
    EXPECT_FALSE(loss.rows.requires_grad());
    const std::vector<torch::Tensor> is = {total.detach(), loss.rows, h.grad(), w.grad()};
    for (size_t i = 0; i < is.size(); ++i)
      EXPECT_LT(((is[i] - reference[i]).norm() / reference[i].norm()).item<double>(), 1e-6)
          << chunk << ", " << i;
  }
}

TEST(HeadLoss, asks_for_no_more_gradients_than_are_wanted) {
  const torch::Tensor hidden = torch::randn({3, 4}).requires_grad_(), head = torch::randn({5, 4});
  const torch::Tensor targets = torch::zeros({3}, torch::kInt64), weights = torch::ones({3});
  head_loss(hidden, head, targets, weights).total.backward();
  EXPECT_TRUE(hidden.grad().defined());
  EXPECT_FALSE(head.grad().defined());
  EXPECT_FALSE(head_loss(hidden.detach(), head, targets, weights).total.requires_grad());
  const torch::Tensor none =
      head_loss(hidden.narrow(0, 0, 0), head, targets.narrow(0, 0, 0), weights.narrow(0, 0, 0)).total;
  EXPECT_EQ(none.item<float>(), 0);
}

}  // namespace
}  // namespace dvlm
