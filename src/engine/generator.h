// Answers as objects that move on together, one pass at a time. Engine drives one of them, Scheduler many.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "decode/shared_pass.h"
#include "engine/cost_file.h"
#include "engine/cost_learner.h"
#include "engine/grammars.h"
#include "engine/prefix_search.h"
#include "engine/prompt_reader.h"

namespace dvlm {

struct GeneratorTotals {
  uint64_t passes = 0, rows = 0;  // over the model, of all answers together
  double pass_seconds = 0;
  KvMemory kv;          // now
  size_t prefixes = 0;  // now, kept for later prompts
  VisualTotals visuals;
};

// load() may be called from any thread; everything else from one thread at a time.
class Generator {
 public:
  // `options` say where the model is and what is kept.
  Generator(const EngineOptions& options, const Tokenizer& tokenizer, Model& model, PromptReader& reader);

  // Reads images and encodes text. Throws Error for a prompt that cannot be answered.
  std::unique_ptr<Generation> load(const Request& request);
  // Finds what of the prompt is held already and makes room for the rest. False: it must wait, for memory
  // that other answers hold or for a prefix that one of them is computing. Throws Error when it can never
  // begin.
  bool begin(Generation& generation);
  // Encodes one image or video of an answer in Phase::encoding, which does not change when the answer is
  // given up meanwhile.
  void encode_visual(Generation& generation);
  // One pass for all of them, which are in_passes(); of prompts it reads `prefill_rows` tokens in all. What
  // goes wrong for one of them is its failure. A pass that reads prompts ends early when all are given up.
  void step(std::span<Generation* const> together, int prefill_rows);
  // Ends an answer, early (FinishReason::cancelled) or not, and keeps what later prompts may share. To be
  // called once for whatever has begun.
  void end(Generation& generation);

  void clear() { prefixes_.clear(); }  // forgets earlier answers
  GeneratorTotals totals() const;

 private:
  DecodeContext context_of(const DecodeOptions& options, bool grammar);
  std::shared_ptr<BlockChooser> chooser(int largest, bool grammar);
  void keep_costs(const DecodeOptions& options, bool grammar);
  bool block_attention() const { return model_.config().clean_attention == CleanAttention::block; }
  void start_when_encoded(Generation& generation);
  void tell_of_prompts(int64_t layers, int64_t of);
  std::span<const Chosen> forward(std::span<const Segment> segments);
  void step_alone(size_t i);
  size_t masks_found() const;
  void learn_costs();
  void take(Generation& generation, std::span<const Chosen> chosen);

  const std::filesystem::path folder_;
  const Tokenizer& tokenizer_;
  Model& model_;
  PromptReader& reader_;
  PrefixSearch prefixes_;
  Grammars grammars_;
  const CostFile cost_file_;
  KeptCosts known_;                              // with which choosers begin
  bool keeps_ = true;                            // the file can be written
  std::optional<Clock::time_point> costs_kept_;  // when it was
  CostLearner learner_;
  // By the largest block, and whether a grammar is followed: drafts are worth more then.
  std::map<std::pair<int, bool>, std::shared_ptr<BlockChooser>> choosers_;
  SharedPass pass_;
  std::vector<Generation*> in_pass_;
  std::vector<int> reading_;  // tokens of each one's prompt that the pass reads
  uint64_t passes_ = 0, rows_ = 0;
  double pass_seconds_ = 0, last_pass_ms_ = 0;
};

}  // namespace dvlm
