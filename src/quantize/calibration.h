// What the linear layers of a model see while it reads samples: the input of SmoothQuant.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// The inputs of one linear layer, or of several that share theirs.
struct LayerInputs {
  std::vector<float> highest;   // [inputs]: max |x| of each, over all tokens
  std::vector<float> rows;      // [kept, inputs]: a uniform sample of the tokens, to measure errors with
  std::vector<double> squares;  // [inputs]: the sum of x^2
  int64_t tokens = 0;

  std::vector<float> mean_squares() const;  // [inputs]
};

// By the name of the first layer of each stack, style B without ".weight": "model.layers.0.self_attn.q_proj".
using CalibrationInputs = std::map<std::string, LayerInputs>;

constexpr int kKeptRows = 64;

struct CalibrationOptions {
  std::vector<std::filesystem::path> sources;  // see read_samples
  int samples = 512;
  int length = 1024;  // tokens: longer texts are cut, longer conversations with pictures left out
  uint64_t seed = 42;
  bool needs_pictures = false;  // where the vision tower is to be calibrated
};

// One text, or one conversation with pictures.
struct CalibrationSample {
  std::string text;
  Conversation conversation;
};

// Records (data/record_file.h) that are a conversation or have a "text", and folders of pictures (each with a
// request to describe it), drawn without replacement in a seeded order. Throws Error naming file and record.
std::vector<CalibrationSample> read_samples(const CalibrationOptions& options);

// What the model is asked for a sample. Texts are cut to `length` tokens.
Request request_of(const CalibrationSample& sample, const Tokenizer& tokenizer, int length);

// Runs the samples through the checkpoint in its own precision; shows a progress bar. Throws Error when none
// of them could be used or the user interrupts.
CalibrationInputs calibrate(const EngineOptions& model, const CalibrationOptions& options);

}  // namespace dvlm
