// The processes of a run, which torchrun starts and c10d connects.
#pragma once
#include <torch/torch.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace dvlm {

// Every process must make the same calls in the same order. When another process is gone they throw Error.
class Ranks {
 public:
  // Alone where WORLD_SIZE is not set or 1; else of MASTER_ADDR and MASTER_PORT, which torchrun sets beside
  // RANK. Throws Error naming the variable that makes no sense, or when the others do not come.
  static Ranks of_environment();
  // How long one waits for the others: they may read data for long.
  static constexpr std::chrono::minutes kTimeout{30};
  static int size_in_environment();  // how many it will be, before anything connects; throws Error likewise
  // Of them, those that share this machine's cores and memory: torchrun's LOCAL_WORLD_SIZE, or 1.
  static int processes_here();
  Ranks() = default;  // alone
  // Process `rank` of `size`, which know one another by `store`.
  Ranks(int rank, int size, c10::intrusive_ptr<c10d::Store> store);

  // A backend of c10d for tensors on a card; throws where there can be none.
  using OpenBackend = std::function<c10::intrusive_ptr<c10d::Backend>(c10::intrusive_ptr<c10d::Store> store,
                                                                      int rank, int size)>;
  // From now on tensors on cards go from card to card, and no longer through the host's memory. Throws Error
  // in all processes when a backend opens in some of them alone, or sends nothing.
  void connect_cards(const OpenBackend& open, torch::Device card) const;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool first() const { return rank_ == 0; }

  std::vector<int64_t> sum(std::vector<int64_t> values) const;  // elementwise, of all processes
  // Part r of `all`, one of as many equal parts as there are processes, goes to process r. Returns what every
  // process has sent here, in their order.
  std::vector<torch::Tensor> exchange(const torch::Tensor& all) const;
  // All processes' parts, which are equally long, in their order as one flat tensor.
  torch::Tensor gather(const torch::Tensor& own) const;
  void wait() const { sum({}); }  // until all are here

 private:
  struct Group;
  int rank_ = 0, size_ = 1;
  std::shared_ptr<Group> group_;  // none: alone
};

}  // namespace dvlm
