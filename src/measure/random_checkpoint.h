// Checkpoints without knowledge, for measuring speed: published shapes, random weights, nothing on the disk.
#pragma once
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "model/options.h"

namespace dvlm {

// "3b" is the shape of Fast_dVLM_3B (docs/reference.md, Configuration), "tiny" that of dvlm-tiny. Throws
// Error for other names.
ModelConfig shape_named(const std::string& name);
ModelConfig text_shape_named(const std::string& name);  // with one block of vision: nobody looks at pictures

// "bf16", "fp8", "int8", "int4".
std::vector<std::string> precision_names();

// Every weight of a configuration in BF16, or with linear layers in F8_E4M3 or I8. All tensors of a type view
// the same small values, so the checkpoint itself takes the memory of its largest tensor.
DType linears_in(const std::string& precision);  // as a checkpoint holds them

class RandomCheckpoint {
 public:
  RandomCheckpoint(const ModelConfig& config, DType linears);
  const Checkpoint& checkpoint() const { return checkpoint_; }

 private:
  MappedFile values_, codes_;
  Checkpoint checkpoint_;
};

// A model of such weights; `precision`: one of precision_names().
std::unique_ptr<Model> load_random(const ModelConfig& config, const std::string& precision,
                                   const ModelOptions& options);

}  // namespace dvlm
