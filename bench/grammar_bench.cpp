// Grammars over the vocabulary of a model: reading them, and masks of states that nobody has been in.
// DVLM_MODEL names a folder with Qwen's tokenizer (tools/fixtures/make_3b_folder.py).
#include <benchmark/benchmark.h>

#include <bit>
#include <cstdlib>

#include "grammar/source.h"
#include "grammar/token_grammar.h"

namespace dvlm {
namespace {

const Tokenizer& tokenizer() {
  static const char* folder = std::getenv("DVLM_MODEL");
  static const Tokenizer out(folder ? folder : DVLM_ROOT "/models/dvlm-tiny");
  return out;
}

const Vocabulary& vocabulary() {
  static const Vocabulary out(tokenizer(), tokenizer().size(), -1);
  return out;
}

constexpr const char* kBoxes =
    R"({"type":"array","items":{"type":"object","properties":{"bbox_2d":{"type":"array","items":{"type":"integer",
    "minimum":0,"maximum":4000},"minItems":4,"maxItems":4},"label":{"type":"string","minLength":1,"maxLength":40}},
    "required":["bbox_2d","label"]},"maxItems":50})";
constexpr const char* kPlan =
    R"({"type":"object","properties":{"scene":{"type":"object","properties":{"weather":{"enum":["clear","rain","snow",
    "fog"]},"time_of_day":{"enum":["day","night","dusk"]},"lanes":{"type":"integer","minimum":1,"maximum":8}},
    "required":["weather","time_of_day","lanes"]},"critical_objects":{"type":"array","items":{"type":"object",
    "properties":{"category":{"enum":["car","truck","pedestrian","cyclist","traffic_light","obstacle"]},
    "distance_in_meters":{"type":"number","minimum":0,"maximum":300},"note":{"type":"string","maxLength":80}},
    "required":["category","distance_in_meters"]},"maxItems":8},"explanation":{"type":"string"},
    "meta_action":{"enum":["keep_lane","change_lane_left","change_lane_right","turn_left","turn_right","stop"]},
    "speed_action":{"enum":["accelerate","keep_speed","decelerate","stop"]}},
    "required":["scene","critical_objects","explanation","meta_action","speed_action"]})";

const std::pair<const char*, GrammarSource> kSources[] = {
    {"boxes", {GrammarKind::json_schema, kBoxes}},
    {"plan", {GrammarKind::json_schema, kPlan}},
    {"any JSON", {GrammarKind::json_schema, "true", JsonSpaces::any}},
    {"words", {GrammarKind::regex, "([a-z]{2,12} ){3,40}[a-z]+"}},
};

void read(benchmark::State& state) {
  const auto& [name, source] = kSources[state.range(0)];
  for (auto _ : state) benchmark::DoNotOptimize(read_grammar(source));
  state.SetLabel(name);
}
BENCHMARK(read)->DenseRange(0, 3)->Unit(benchmark::kMillisecond);

void read_vocabulary(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Vocabulary(tokenizer(), tokenizer().size(), -1));
  state.SetLabel(std::to_string(tokenizer().size()) + " tokens");
}
BENCHMARK(read_vocabulary)->Unit(benchmark::kMillisecond);

TokenId nth_allowed(const TokenMask& mask, uint64_t n) {
  for (size_t i = 0; i < mask.size(); ++i) {
    const auto here = static_cast<uint64_t>(std::popcount(mask[i]));
    if (n >= here) {
      n -= here;
      continue;
    }
    uint64_t bits = mask[i];
    while (n-- > 0) bits &= bits - 1;
    return static_cast<TokenId>(i * 64) + std::countr_zero(bits);
  }
  return -1;
}

// Writes texts of allowed tokens chosen at random, with masks for every token, and says what a token takes.
// The first text of a grammar makes masks; later ones find many.
void masks(benchmark::State& state) {
  const auto& [name, source] = kSources[state.range(0)];
  const int texts = static_cast<int>(state.range(1));
  constexpr int kTokens = 60;
  uint64_t random = 1;
  int64_t tokens = 0;
  for (auto _ : state) {
    state.PauseTiming();
    TokenGrammar grammar(read_grammar(source), vocabulary(), tokenizer(), {});
    state.ResumeTiming();
    for (int text = 0; text < texts; ++text) {
      int at = TokenGrammar::kStart;
      for (int i = 0; i < kTokens && at != TokenGrammar::kDead && !grammar.ended(at); ++i, ++tokens) {
        const auto mask = grammar.mask(at);
        uint64_t open = 0;
        for (const uint64_t bits : *mask) open += static_cast<uint64_t>(std::popcount(bits));
        random = random * 6364136223846793005u + 1442695040888963407u;
        at = grammar.step(at, nth_allowed(*mask, (random >> 33) % open));
      }
    }
  }
  state.SetLabel(name);
  state.counters["per token"] = benchmark::Counter(static_cast<double>(tokens),
                                                   benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(masks)->ArgsProduct({{0, 1, 2, 3}, {1, 50}})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dvlm
