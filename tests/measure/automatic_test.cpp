// What choosing costs: `auto` beside every fixed setting of its menu, with drafts worth what they were in
// answers of dvlm-tiny and passes that take what they took on machines, in pretended time.
#include <gtest/gtest.h>

#include <cstdio>
#include <limits>
#include <map>

#include "decode/block_chooser.h"
#include "decode/fake_model.h"
#include "engine/cost_learner.h"
#include "measure/replay.h"

namespace dvlm {
namespace {

// Says nothing, and takes the time of a curve by the rows of each pass behind the prompt.
class TimedModel : public Model {
 public:
  explicit TimedModel(PassCosts costs) : costs_(std::move(costs)) {}
  const ModelConfig& config() const override { return config_; }
  ImageFeatures encode_image(const Patches&) override { return {}; }
  std::unique_ptr<Sequence> new_sequence(int) override { return std::make_unique<FakeModel::Kv>(); }
  // As at the 3B layout in BF16, drafts in four bits.
  WeightMemory weight_memory() const override {
    return {6'170'000'000, 1'900'000'000,
            costs_.draft.points.empty() ? DraftPrecision::same : DraftPrecision::int4};
  }
  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    int rows = 0;
    size_t wanted = 0;
    bool approximate = !costs_.draft.points.empty();
    for (const Segment& segment : segments) {
      rows += static_cast<int>(segment.tokens.size());
      approximate &= segment.approximate;
      wanted += segment.wanted.size();
      auto& kept = dynamic_cast<FakeModel::Kv&>(*segment.sequence).tokens;
      if (segment.keep) kept.insert(kept.end(), segment.tokens.begin(), segment.tokens.end());
    }
    last = (approximate ? costs_.draft : costs_.exact).of(rows);
    if (segments[0].context > 0) time += last;
    chosen_.resize(wanted);
    return chosen_;
  }
  double time = 0, last = 0;  // of all passes behind the prompt, of the last one

 private:
  PassCosts costs_;
  ModelConfig config_;
  std::vector<Chosen> chosen_;
};

// With a chooser: as the engine does, it learns.
double time_of(const std::vector<RecordedAnswer>& answers, const PassCosts& costs, DecodeOptions options,
               const std::shared_ptr<BlockChooser>& chooser = nullptr) {
  constexpr int kPrompt = 256;
  TimedModel model(costs);
  CostLearner learner(model.weight_memory());
  BlockChooser* const learning = chooser.get();
  ReplayModel replay(model, kPrompt);
  const Prompt prompt = replay_prompt(kPrompt);
  for (const RecordedAnswer& answer : answers) {
    const auto sequence = model.new_sequence(0);
    replay.assign(sequence.get(), answer);
    options.max_tokens = answer.tokens;
    const auto decoder =
        make_decoder(prompt, *sequence, options, {.mask_token = kReplayMask, .chooser = chooser});
    while (decoder->finished() == FinishReason::none) {
      const bool writes = decoder->prefilled();
      const std::span<const Segment> segments = decoder->next();
      const std::span<const Chosen> chosen = replay.forward(segments);
      if (!writes)
        learner.read(segments, model.last);
      else if (learning)
        learner.wrote(segments, model.last, {&learning, 1}, 32);
      decoder->take(chosen);
    }
  }
  return model.time;
}

// The least time of a setting that never changes.
double best_fixed(const std::vector<RecordedAnswer>& answers, const PassCosts& costs) {
  double best = time_of(answers, costs, {.kind = DecoderKind::autoregressive});
  for (const int block : {2, 4, 8, 16, 32}) {
    best = std::min(best, time_of(answers, costs, {.kind = DecoderKind::speculative, .block_size = block}));
    for (const int branches : {1, 2, 3, 4, 6, 8}) {
      if (branches > block || block + branches * (block - 1) > costs.exact.most()) continue;
      best = std::min(best, time_of(answers, costs,
                                    {.kind = DecoderKind::fused, .block_size = block, .branches = branches}));
    }
  }
  return best;
}

// Milliseconds of bench pass at the 3B shape, and what no machine does.
const std::map<std::string, PassCosts> kMachines = {
    {"INT8, AMX", {{{{1, 127}, {4, 130}, {8, 138}, {16, 150}, {32, 182}, {64, 240}, {96, 300}}}, {}}},
    {"BF16, AMX", {{{{1, 268}, {8, 275}, {16, 290}, {32, 320}, {64, 400}, {96, 480}}}, {}}},
    {"FP8, AVX-512", {{{{1, 140}, {2, 150}, {4, 210}, {8, 360}, {16, 657}, {32, 1252}, {64, 2450}}}, {}}},
    {"INT8, AVX-512", {{{{1, 139}, {4, 150}, {8, 190}, {16, 256}, {32, 360}, {64, 620}, {96, 900}}}, {}}},
    {"BF16, AVX-512, drafts in four bits",
     {{{{1, 208}, {8, 210}, {16, 260}, {32, 478}, {64, 930}, {96, 1390}}},
      {{{1, 66}, {8, 75}, {16, 105}, {32, 180}}}}},
    {"BF16, AVX2, drafts in four bits",
     {{{{1, 240}, {4, 250}, {8, 312}, {16, 600}, {32, 1190}, {96, 3550}}}, {{{1, 75}, {8, 130}, {32, 420}}}}},
    {"rows that cost what they cost alone", {{{{1, 10}, {96, 960}}}, {}}},
};

std::vector<RecordedAnswer> recorded() {
  return read_acceptance(DVLM_FIXTURES "/../../bench/acceptance-tiny.json");
}

TEST(Automatic, TakesAtMostThreePercentMoreThanTheBestFixedSettingOfItsMenu) {
  const auto answers = recorded();
  constexpr int kRounds = 10;  // what it learns in one answer serves the next
  for (const auto& [name, costs] : kMachines) {
    const auto chooser = new_chooser(TimedModel(costs), 32);
    double automatic = 0;
    for (int round = 0; round < kRounds; ++round)
      automatic += time_of(answers, costs, {.kind = DecoderKind::automatic, .block_size = 32}, chooser);
    const double best = best_fixed(answers, costs);
    EXPECT_LE(automatic / kRounds, 1.03 * best) << name;
    double first = 0;  // answers of processes that know what an earlier one learnt (CostFile)
    for (const RecordedAnswer& answer : answers) {
      const auto begun = std::make_shared<BlockChooser>(chooser->costs(), 32, chooser->evidence());
      first += time_of({answer}, costs, {.kind = DecoderKind::automatic, .block_size = 32}, begun);
    }
    EXPECT_LE(first, 1.03 * best) << name << ", one answer a process";
    std::printf("%s: %.3f of the best, one answer a process %.3f\n", name.c_str(), automatic / kRounds / best,
                first / best);
  }
}

TEST(Automatic, LosesLittleInAFirstAnswerThatKnowsNothing) {
  const auto answers = recorded();
  for (const auto& [name, costs] : kMachines) {
    double first = 0;
    for (const RecordedAnswer& answer : answers)
      first += time_of({answer}, costs, {.kind = DecoderKind::automatic, .block_size = 32},
                       new_chooser(TimedModel(costs), 32));
    const double ratio = first / best_fixed(answers, costs);
    std::printf("%s: %.3f of the best\n", name.c_str(), ratio);
    EXPECT_LE(ratio, 1.1) << name;
  }
}

}  // namespace
}  // namespace dvlm
