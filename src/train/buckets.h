// The weights that train, shared by the processes of a run: each has all of them, and a part of their
// gradients (ZeRO-2, Rajbhandari et al., SC 2020).
#pragma once
#include <torch/torch.h>

#include <string>
#include <vector>

#include "torch/network.h"
#include "train/config.h"
#include "train/ranks.h"

namespace dvlm {

// Elements whose squares are summed alone, and the least that a process has of a bucket: no kernel sums or
// rounds them otherwise for what stands beside them.
inline constexpr int64_t kBlock = 4096;

// Weights that stand in one tensor, of which every process owns an equal part.
struct Bucket {
  struct Parameter {
    std::string name;
    torch::Tensor value;  // a view of `weights`
    int64_t at = 0;       // its first element
  };
  std::vector<Parameter> parameters;
  bool decays = false;    // holds matrices; others hold norms and biases
  torch::Tensor weights;  // [elements], as the network has them
  torch::Tensor own;  // f32 [elements / processes]: of this process; part of `weights` where these are f32
  torch::Tensor gradient;  // as own; the sum over the passes of a step
};

// Gradients are added pass by pass, in the order of the passes, whichever processes have them: the sum's bits
// do not depend on how many there are. While a pass runs backwards, a bucket that is complete goes to those
// who own it, and is forgotten here.
class Buckets {
 public:
  // Weights whose checkpoint name matches a pattern of config.freeze stop requiring gradients; the others
  // move into buckets. Throws Error as check_freeze().
  Buckets(Network& network, const TrainConfig& config, Ranks ranks);
  ~Buckets();
  Buckets(const Buckets&) = delete;
  Buckets& operator=(const Buckets&) = delete;

  std::vector<Bucket>& all() { return buckets_; }
  const std::vector<Bucket>& all() const { return buckets_; }

  // After each backward pass, by every process, also by one that had nothing to learn in it.
  void end_pass();
  // The norm of the sum of all gradients.
  double gradient_norm() const;
  // Puts all processes' parts, such as their `own`, into the weights.
  void set_weights(Bucket& bucket, const torch::Tensor& part);

 private:
  class Hook;
  struct Pass {  // what has not been sent yet
    torch::Tensor gradient;
    size_t here = 0;  // parameters
  };
  void take(size_t bucket, const Bucket::Parameter& parameter);
  void send(bool all);

  Ranks ranks_;
  std::vector<Bucket> buckets_;
  std::vector<Pass> passing_;  // of each bucket
  size_t next_ = 0;            // the one to be sent next, by all processes
};

}  // namespace dvlm
