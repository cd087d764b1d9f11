#include "measure/replay.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "engine/prompt_reader.h"
#include "model/choose.h"
#include "text/mask_token.h"

namespace dvlm {

namespace {

// In files, odds are printable ASCII characters, from ' ' up.
constexpr long kLeastOdds = -30, kMaxOdds = kLeastOdds + ('~' - ' ');

// Ten times the decimal logarithm of p / (1 - p), in the range that write_acceptance() has characters for.
int8_t odds_of(float probability) {
  const double p = std::clamp(static_cast<double>(probability), 1e-12, 1 - 1e-12);
  return static_cast<int8_t>(std::clamp(std::lround(10 * std::log10(p / (1 - p))), kLeastOdds, kMaxOdds));
}

// One example's prompt and answer in a sequence that grows token by token.
class Recorder {
 public:
  Recorder(Engine& engine, const Example& example, int max_tokens) : model_(engine.model()) {
    Request request;
    request.conversation = example.conversation;
    request.decode.kind = DecoderKind::autoregressive;
    request.decode.max_tokens = max_tokens;
    answer_ = engine.generate(request).tokens;
    const auto mask = mask_token(engine.tokenizer(), engine.config());
    if (!mask) fail("the model has no mask token: it was not converted to block diffusion");
    mask_ = *mask;
    valid_ = std::min(engine.tokenizer().size(), engine.config().text.vocab_size);
    prompt_ = engine.reader().read(request);
    const int size = static_cast<int>(prompt_.tokens.size());
    sequence_ = model_.new_sequence(size + static_cast<int>(answer_.size()));
    const Segment segment = prompt_segment(prompt_, *sequence_, 0, size);
    model_.forward({&segment, 1});
  }

  RecordedAnswer record(const std::vector<int>& blocks) {
    RecordedAnswer out{.tokens = static_cast<int>(answer_.size())};
    for (size_t p = 1; p < answer_.size(); ++p) {
      for (const int block : blocks) {
        std::vector<TokenId> tokens(static_cast<size_t>(block - 1), mask_);
        out.branched[block].push_back(drafts_right(p, tokens, false, out.branched_odds[block]));
        tokens[0] = answer_[p - 1];
        out.accepted[block].push_back(drafts_right(p, tokens, true, out.accepted_odds[block]));
      }
      run({&answer_[p - 1], 1}, Visibility::causal, false, {});
    }
    return out;
  }

 private:
  // A pass behind what is committed, which a causal one joins.
  std::span<const Chosen> run(std::span<const TokenId> tokens, Visibility visibility, bool approximate,
                              std::span<const Wanted> rows) {
    positions_ = text_positions(sequence_->length(), static_cast<int>(tokens.size()), prompt_.rope.delta);
    const Segment segment{.sequence = sequence_.get(),
                          .tokens = tokens,
                          .positions = positions_,
                          .features = {},
                          .visibility = visibility,
                          .context = sequence_->length(),
                          .keep = visibility == Visibility::causal,
                          .approximate = approximate,
                          .wanted = rows};
    return model_.forward({&segment, 1});
  }

  // Of the drafts for tokens p and on that a bidirectional pass over these tokens makes: masks behind a known
  // token or, as a branch, masks alone. Adds the odds of all of them.
  int drafts_right(size_t p, std::span<const TokenId> tokens, bool known_first, std::vector<int8_t>& odds) {
    const std::vector<Wanted> rows =
        want_rows(0, static_cast<int>(tokens.size()), {.excluded = {mask_, valid_}, .probability = true});
    const auto chosen = run(tokens, Visibility::bidirectional, known_first, rows);
    size_t right = 0;
    for (size_t i = 0; i < chosen.size(); ++i) {
      check_valid(chosen[i]);
      if (right == i && p + i < answer_.size() && chosen[i].token == answer_[p + i]) ++right;
      odds.push_back(odds_of(chosen[i].probability));
    }
    return static_cast<int>(right);
  }

  Model& model_;
  std::vector<TokenId> answer_;
  TokenId mask_ = 0;
  int valid_ = 0;
  Prompt prompt_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<Position> positions_;
};

}  // namespace

std::vector<RecordedAnswer> record_acceptance(const EngineOptions& model,
                                              const std::vector<Example>& examples,
                                              const std::vector<int>& blocks, int max_tokens) {
  Engine engine(model);
  std::vector<RecordedAnswer> out;
  Progress progress("recording drafts", std::ssize(examples));
  for (const Example& example : examples) {
    if (interrupted()) break;
    out.push_back(Recorder(engine, example, max_tokens).record(blocks));
    progress.update(std::ssize(out));
  }
  return out;
}

void write_acceptance(const std::filesystem::path& file, const std::vector<RecordedAnswer>& answers) {
  const auto by_block = [](const RecordedAnswer::RightDrafts& right) {
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (const auto& [block, counts] : right) out[std::to_string(block)] = counts;
    return out;
  };
  const auto odds_by_block = [](const RecordedAnswer::Odds& odds) {
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (const auto& [block, decibels] : odds) {
      std::string text;
      for (const int8_t db : decibels) text += static_cast<char>(' ' + db - kLeastOdds);
      out[std::to_string(block)] = text;
    }
    return out;
  };
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const RecordedAnswer& answer : answers) {
    json.push_back({{"tokens", answer.tokens},
                    {"accepted", by_block(answer.accepted)},
                    {"branched", by_block(answer.branched)},
                    {"accepted_odds", odds_by_block(answer.accepted_odds)},
                    {"branched_odds", odds_by_block(answer.branched_odds)}});
  }
  write_file(file, json.dump() + "\n");
}

namespace {

RecordedAnswer::RightDrafts read_right_drafts(const JsonObject& blocks, int tokens, const std::string& file) {
  RecordedAnswer::RightDrafts out;
  for (int block = 2; block <= 1024; ++block) {
    const std::string key = std::to_string(block);
    if (!blocks.has(key.c_str())) continue;
    for (const int64_t right : blocks.integers(key.c_str(), 0, block - 1, 1 << 20))
      out[block].push_back(static_cast<int>(right));
    if (std::ssize(out[block]) != tokens - 1)
      fail("{}: block {} of an answer has {} numbers, expected {}", file, block, out[block].size(),
           tokens - 1);
  }
  return out;
}

RecordedAnswer::Odds read_odds(const JsonObject& blocks, const RecordedAnswer::RightDrafts& right,
                               const std::string& file) {
  RecordedAnswer::Odds out;
  for (const auto& [block, counts] : right) {
    const std::string text = blocks.string(std::to_string(block).c_str(), "");
    if (text.size() != counts.size() * static_cast<size_t>(block - 1))
      fail("{}: block {} of an answer has the odds of {} drafts, expected {}", file, block, text.size(),
           counts.size() * static_cast<size_t>(block - 1));
    for (const char c : text) {
      if (c < ' ' || c > '~')
        fail("{}: the odds of block {} hold a character that stands for none", file, block);
      out[block].push_back(static_cast<int8_t>(c - ' ' + kLeastOdds));
    }
  }
  return out;
}

}  // namespace

std::vector<RecordedAnswer> read_acceptance(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  if (!json.is_array() || json.empty()) fail("{}: expected a list of recorded answers", file.string());
  std::vector<RecordedAnswer> out;
  for (const nlohmann::json& entry : json) {
    const JsonObject object(entry, file.string());
    RecordedAnswer answer{.tokens = static_cast<int>(object.integer("tokens", 2, 1 << 20))};
    answer.accepted = read_right_drafts(object.object("accepted"), answer.tokens, file.string());
    if (object.has("branched"))
      answer.branched = read_right_drafts(object.object("branched"), answer.tokens, file.string());
    if (answer.accepted.empty()) fail("{}: an answer has no blocks", file.string());
    if (object.has("accepted_odds"))
      answer.accepted_odds = read_odds(object.object("accepted_odds"), answer.accepted, file.string());
    if (object.has("branched_odds"))
      answer.branched_odds = read_odds(object.object("branched_odds"), answer.branched, file.string());
    out.push_back(std::move(answer));
  }
  return out;
}

Prompt replay_prompt(int length) {
  Prompt prompt;
  prompt.tokens.assign(static_cast<size_t>(length), kReplayPromptToken);
  prompt.rope.positions = text_positions(0, length);
  return prompt;
}

ReplayModel::Drafts ReplayModel::recorded(const RecordedAnswer& answer, const Segment& segment, int next) {
  const bool branch = segment.parent >= 0;
  const auto& right = branch ? answer.branched : answer.accepted;
  const auto& odds = branch ? answer.branched_odds : answer.accepted_odds;
  if (right.empty()) fail("the recording holds no drafts of branches: make it anew with dvlm bench record");
  const int block = static_cast<int>(segment.tokens.size()) + 1;
  auto found = right.lower_bound(block);
  if (found == right.end()) --found;
  const auto at = static_cast<size_t>(next - 1), drafts = static_cast<size_t>(found->first - 1);
  if (at >= found->second.size()) return {};
  const auto surety = odds.find(found->first);
  return {std::min(found->second[at], block - 1),
          surety == odds.end() ? std::span<const int8_t>{}
                               : std::span(surety->second).subspan(at * drafts, drafts)};
}

std::span<const Chosen> ReplayModel::forward(std::span<const Segment> segments) {
  const auto real = inner_.forward(segments);
  chosen_.assign(real.begin(), real.end());
  size_t at = 0;
  for (const Segment& segment : segments) {
    const int next = segment.context + segment.parent_tokens + 1 - prompt_;  // place of what row 0 predicts
    const bool draft = segment.visibility == Visibility::bidirectional;
    const Drafts drafts = draft ? recorded(*answers_.at(segment.sequence), segment, next) : Drafts{};
    for (const Wanted& wanted : segment.wanted) {
      const int row = wanted.row;
      Chosen& said = chosen_[at++];
      said = {.token = token(next + row + (draft && row >= drafts.right ? 1 : 0)), .probability = 1};
      if (row >= std::ssize(drafts.odds)) continue;
      const double odds = std::pow(10, drafts.odds[static_cast<size_t>(row)] / 10.0);
      said.probability = static_cast<float>(odds / (1 + odds));
      said.logprob = std::log(said.probability);
    }
  }
  return chosen_;
}

}  // namespace dvlm
