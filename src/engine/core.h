// The engine's inside: answers as objects that move on together, one pass at a time. Engine drives one of
// them, Scheduler many.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "decode/shared_pass.h"
#include "engine/generation.h"
#include "engine/prefix_cache.h"
#include "engine/visual.h"

namespace dvlm {

struct CoreTotals {
  uint64_t passes = 0, rows = 0;  // over the model, of all answers together
  double pass_seconds = 0;
  KvMemory keys;        // now
  size_t prefixes = 0;  // now, kept for later prompts
  VisualTotals pictures;
};

// load() may be called from any thread; everything else from one thread at a time.
class EngineCore {
 public:
  EngineCore(const EngineOptions& options, const Checkpoint& checkpoint);  // of options.model

  // Reads pictures and encodes text. Throws Error for a prompt that cannot be answered.
  std::unique_ptr<Generation> load(const Request& request);

  // Finds what of the prompt is held already and makes room for the rest. False: it must wait, for memory
  // that other answers hold or for a prefix that one of them is computing. Throws Error when it can never
  // begin.
  bool begin(Generation& generation);
  // Encodes one picture that it still needs; without any left, Generation::ready().
  void encode_visual(Generation& generation);
  // One pass for all of them, which are ready and have not ended; of prompts it reads `prefill_rows` tokens
  // in all. What goes wrong for one of them is its `failure`.
  void step(std::span<Generation* const> together, int prefill_rows);
  // Ends an answer, early (FinishReason::cancelled) or not, and keeps what later prompts may share. To be
  // called once for whatever has begun.
  void end(Generation& generation);

  // See Engine.
  void score(const Request& request, const std::function<void(size_t, std::span<const float>)>& on_row);
  PreparedPrompt prepare(const Request& request);
  void clear();
  CoreTotals totals() const;
  const ModelConfig& config() const { return model_->config(); }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  Model& model() { return *model_; }

 private:
  void check_template(const Request& request);
  LoadedPrompt load_checked(const Request& request);
  DecodeContext context_of(const DecodeOptions& options);
  std::shared_ptr<BlockChooser> chooser(int largest);
  std::vector<TokenId> stop_tokens() const;
  RopeIndex positions_of(const LoadedPrompt& prompt) const;
  PrefixMatch longest_prefix(const PromptIdentity& identity);
  bool worth_waiting(const Generation& generation, int held) const;
  std::unique_ptr<Sequence> sequence_for(const PromptIdentity& identity, int capacity);
  void encode(Visual& picture, size_t number);
  void add_features(Prompt& prompt, const LoadedPrompt& loaded, std::span<const PadRun> runs, int held) const;
  void start_when_encoded(Generation& generation);
  void start(Generation& generation);
  std::span<const Chosen> forward(std::span<const Segment> segments);
  void step_alone(size_t i);
  void take(Generation& generation, std::span<const Chosen> chosen);

  const Tokenizer tokenizer_;
  const std::filesystem::path folder_;
  std::unique_ptr<Model> model_;
  VisualCache pictures_;
  PrefixCache prefixes_;
  std::vector<Generation*> live_;                          // begun and not ended
  std::map<int, std::shared_ptr<BlockChooser>> choosers_;  // by the largest block
  std::atomic<bool> template_checked_{false};
  SharedPass pass_;
  std::vector<Generation*> in_pass_;
  uint64_t passes_ = 0, rows_ = 0;
  double pass_seconds_ = 0;
};

}  // namespace dvlm
