// The speed of decoding at a shape for which there are no weights at hand: passes of a random model of that
// shape (real work, real time) in whose place another model chooses, whose answers were recorded. How many
// tokens a round gives is then what it was on that model's answers.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "evaluate/examples.h"

namespace dvlm {

// What drafts were worth in one answer.
struct RecordedAnswer {
  int tokens = 0;
  // By block size, for p = 1 .. tokens - 1: so many drafts for tokens p and on were right.
  using RightDrafts = std::map<int, std::vector<int>>;  // [p - 1]
  RightDrafts accepted = {};                            // of a block that began with token p - 1
  RightDrafts branched = {};  // of a branch, which saw the tokens before p - 1; empty: not recorded
  // How probable they seemed, by block size: of all block - 1 drafts at p = 1, then of those at p = 2, ...,
  // ten times the decimal logarithm of the odds p / (1 - p). Empty: not recorded.
  using Odds = std::map<int, std::vector<int8_t>>;
  Odds accepted_odds = {}, branched_odds = {};
};

// Greedy answers to `examples`, with drafts of every size in `blocks` tried at every token. Shows a progress
// bar. Throws Error when the model has no mask token.
std::vector<RecordedAnswer> record_acceptance(const EngineOptions& model,
                                              const std::vector<Example>& examples,
                                              const std::vector<int>& blocks, int max_tokens);

void write_acceptance(const std::filesystem::path& file, const std::vector<RecordedAnswer>& answers);
std::vector<RecordedAnswer> read_acceptance(
    const std::filesystem::path& file);  // throws Error naming the key

// Tokens outside what ReplayModel::token gives.
constexpr TokenId kReplayMask = 700, kReplayPromptToken = 701;
Prompt replay_prompt(int length);

// Wraps a model. Token 1 + n is the n-th of the answer's tokens; `prompt` tokens stand before the first.
// Drafts of a size that was not recorded are taken from the next larger one. Where odds were recorded, the
// probabilities of drafts have them.
class ReplayModel : public Model {
 public:
  ReplayModel(Model& inner, int prompt) : inner_(inner), prompt_(prompt) {}

  // What is said in `sequence`; to be told before its first pass.
  void assign(const Sequence* sequence, const RecordedAnswer& answer) { answers_[sequence] = &answer; }

  const ModelConfig& config() const override { return inner_.config(); }
  ImageFeatures encode_image(const Patches& patches) override { return inner_.encode_image(patches); }
  std::unique_ptr<Sequence> new_sequence(int capacity) override { return inner_.new_sequence(capacity); }
  std::span<const Chosen> forward(std::span<const Segment> segments) override;

  static TokenId token(int n) { return 1 + n % 512; }

 private:
  // So many drafts are right, and all seem so probable; without odds, certain.
  struct Drafts {
    int right = 0;
    std::span<const int8_t> odds = {};
  };
  // `next`: place in the answer of the first token that the draft may get right.
  static Drafts recorded(const RecordedAnswer& answer, const Segment& segment, int next);

  Model& inner_;
  std::vector<Chosen> chosen_;
  std::map<const Sequence*, const RecordedAnswer*> answers_;
  int prompt_;
};

}  // namespace dvlm
