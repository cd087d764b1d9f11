// Any Model against tests/fixtures/model/: what Hugging Face transformers computes for small random
// checkpoints (tools/fixtures/make_model_fixtures.py). Errors are relative: the largest absolute difference
// over the largest magnitude.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "model/model.h"
#include "model/prompt.h"

namespace dvlm::parity {

struct Fixture {
  std::filesystem::path folder;  // of the model
  std::string name;              // model/case
  std::vector<TokenId> tokens;
  std::vector<Grid> grids;  // of the pictures, in order of appearance
  std::vector<double> second_per_grid;
  std::vector<Patches> pictures;
  std::vector<Position> positions;
  int delta = 0;
  WindowIndex windows;          // of all pictures together
  std::vector<float> features;  // [pads, hidden]
  std::vector<int> logit_rows;  // ascending, the last is the prompt's last token
  std::vector<float> logits;    // [logit_rows, vocab]
  std::vector<TokenId> greedy;
  std::vector<TokenId> draft_tokens;  // a bidirectional block behind the prompt; empty when not recorded
  std::vector<float> draft_logits;    // [draft_tokens, vocab]
  std::vector<float> bf16_logits;     // as `logits`, by transformers in bfloat16; empty when not recorded
};

inline void PrintTo(const Fixture& fixture, std::ostream* out) {
  *out << fixture.name;
}

namespace detail {

inline std::vector<float> floats(const Safetensors& file, const std::string& name) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) return {};
  std::vector<float> values(static_cast<size_t>(found->second.elements()));
  copy_to_float(found->second, 0, found->second.elements(), values.data());
  return values;
}

inline std::vector<int> integers(const Safetensors& file, const std::string& name) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end() || found->second.type != DType::i32) return {};
  std::vector<int> values(static_cast<size_t>(found->second.elements()));
  std::memcpy(values.data(), found->second.data, found->second.bytes());
  return values;
}

inline void read_pictures(const Safetensors& file, Fixture& fixture) {
  const std::vector<int> grids = integers(file, "grids");
  const std::vector<float> seconds = floats(file, "second_per_grid"), patches = floats(file, "patches");
  int64_t rows = 0;
  for (size_t k = 0; k < grids.size() / 3; ++k) {
    fixture.grids.push_back({grids[3 * k], grids[3 * k + 1], grids[3 * k + 2]});
    fixture.second_per_grid.push_back(static_cast<double>(seconds.at(k)));
    rows += fixture.grids.back().patches();
  }
  auto at = patches.begin();
  for (size_t k = 0; k < fixture.grids.size(); ++k) {
    Patches picture;
    picture.grid = fixture.grids[k];
    picture.second_per_grid = fixture.second_per_grid[k];
    const auto end = at + static_cast<int64_t>(patches.size()) / rows * picture.grid.patches();
    picture.values.assign(at, end);
    fixture.pictures.push_back(std::move(picture));
    at = end;
  }
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
           return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
         });
}

}  // namespace detail

inline Fixture read_fixture(const std::filesystem::path& folder, const std::filesystem::path& path) {
  const Safetensors file(path);
  Fixture fixture;
  fixture.folder = folder;
  fixture.name = folder.filename().string() + "/" + path.stem().string().substr(std::string("case-").size());
  fixture.tokens = detail::integers(file, "input_ids");
  detail::read_pictures(file, fixture);
  const std::vector<int> positions = detail::integers(file, "position_ids");
  const size_t length = fixture.tokens.size();
  for (size_t i = 0; i < length; ++i)
    fixture.positions.push_back({positions.at(i), positions.at(length + i), positions.at(2 * length + i)});
  fixture.delta = detail::integers(file, "rope_delta").at(0);
  fixture.windows = {detail::integers(file, "window_index"), detail::integers(file, "cu_window_seqlens")};
  fixture.features = detail::floats(file, "features");
  fixture.logit_rows = detail::integers(file, "logit_rows");
  fixture.logits = detail::floats(file, "logits");
  fixture.greedy = detail::integers(file, "greedy");
  fixture.draft_tokens = detail::integers(file, "draft_tokens");
  fixture.draft_logits = detail::floats(file, "draft_logits");
  fixture.bf16_logits = detail::floats(file, "bf16_logits");
  return fixture;
}

// Every case of every model below `root`, by name.
inline std::vector<Fixture> read_fixtures(const std::filesystem::path& root) {
  std::vector<Fixture> fixtures;
  for (const auto& folder : std::filesystem::directory_iterator(root)) {
    if (!folder.is_directory()) continue;
    for (const auto& file : std::filesystem::directory_iterator(folder.path()))
      if (file.path().filename().string().starts_with("case-"))
        fixtures.push_back(read_fixture(folder.path(), file.path()));
  }
  std::sort(fixtures.begin(), fixtures.end(),
            [](const Fixture& a, const Fixture& b) { return a.name < b.name; });
  return fixtures;
}

// A test name of letters, digits and underscores.
inline std::string test_name(const testing::TestParamInfo<Fixture>& info) {
  std::string name = info.param.name;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

inline double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return HUGE_VAL;
  double difference = 0, magnitude = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (!(d <= difference)) difference = d;  // NaN is kept
    magnitude = std::max(magnitude, std::abs(static_cast<double>(expected[i])));
  }
  return magnitude > 0 ? difference / magnitude : difference;
}

inline double relative_rms(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return HUGE_VAL;
  double difference = 0, magnitude = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    magnitude += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / magnitude);
}

struct Options {
  double tolerance = 1e-4;  // relative, for features and logits
  bool exact_bits = true;   // a row's bits do not depend on the split of the prompt nor on its neighbours
  bool greedy_text = true;  // the likeliest tokens are those of f32
};

// What was found: relative errors against transformers, 0 where the fixture records nothing.
struct Report {
  double features = 0, logits = 0, draft = 0;
};

namespace detail {

// One model and one fixture; each check leaves `sequence` as long as it found it, unless it says otherwise.
class Checker {
 public:
  Checker(Model& model, const Fixture& fixture, const Options& options)
      : model_(model), fixture_(fixture), options_(options), vocab_(model.config().text.vocab_size) {}

  std::vector<float> encode() {
    std::vector<float> features;
    for (const Patches& picture : fixture_.pictures) {
      const ImageFeatures encoded = model_.encode_image(picture);
      const int merge = model_.config().vision.spatial_merge_size;
      EXPECT_EQ(encoded.tokens, picture.grid.patches() / (merge * merge));
      features.insert(features.end(), encoded.values.begin(), encoded.values.end());
    }
    return features;
  }

  // Commits tokens [begin, end) of the prompt. Logits of the fixture's rows among them.
  std::vector<float> prompt(Sequence& sequence, const std::vector<float>& features, int begin, int end,
                            const std::vector<Segment>& neighbours = {}) {
    const std::vector<Wanted> rows = rows_between(begin, end);
    std::vector<Segment> segments = {prompt_segment(sequence, features, begin, end, rows)};
    segments.insert(segments.end(), neighbours.begin(), neighbours.end());
    return first_rows(model_.forward(segments), rows.size());
  }

  std::unique_ptr<Sequence> new_sequence() {
    return model_.new_sequence(static_cast<int>(fixture_.tokens.size() + fixture_.greedy.size()) + 1);
  }

  int length() const { return static_cast<int>(fixture_.tokens.size()); }

  void expect_split(const std::vector<float>& features, const std::vector<float>& whole) {
    const auto sequence = new_sequence();
    std::vector<float> pieces;
    for (int begin = 0, step = 1; begin < length(); begin += step, step = step % 5 + 2) {
      const auto part = prompt(*sequence, features, begin, std::min(begin + step, length()));
      pieces.insert(pieces.end(), part.begin(), part.end());
    }
    EXPECT_EQ(sequence->length(), length());
    expect_same(pieces, whole, "the prompt in several passes");
  }

  // A second sequence, two tokens further on, in the same pass.
  void expect_neighbours(const std::vector<float>& features, const std::vector<float>& whole) {
    const auto sequence = new_sequence(), neighbour = new_sequence();
    const std::vector<TokenId> tokens = {3, 1, 2, 5, 4, 7, 6};
    const std::vector<Position> positions = text_positions(0, 7);
    const std::vector<Wanted> rows = {{.row = 0}, {.row = 6}};
    Segment other;
    other.sequence = neighbour.get();
    other.tokens = tokens;
    other.positions = positions;
    other.keep = true;
    other.wanted = rows;
    expect_same(prompt(*sequence, features, 0, length(), {other}), whole,
                "a pass shared with another sequence");
  }

  // The block behind the prompt, bidirectional, nothing kept.
  std::vector<float> draft(Sequence& sequence) {
    Block block = block_at(length(), fixture_.draft_tokens);
    block.segment.sequence = &sequence;
    block.segment.visibility = Visibility::bidirectional;
    block.segment.context = length();
    auto logits = first_rows(model_.forward({&block.segment, 1}), block.rows.size());
    EXPECT_EQ(sequence.length(), length()) << "a draft must not be kept";
    return logits;
  }

  // A block behind the prompt and four greedy tokens: committed first, or in the same pass as a parent of
  // which the block sees four tokens and not the fifth.
  void expect_parent(Sequence& sequence) {
    const std::vector<TokenId> five(fixture_.greedy.begin(), fixture_.greedy.begin() + 5);
    Block verify = block_at(length(), five), block = block_at(length() + 4, fixture_.draft_tokens);
    verify.segment.sequence = block.segment.sequence = &sequence;
    verify.segment.context = block.segment.context = length();
    block.segment.visibility = Visibility::bidirectional;
    block.segment.parent = 0, block.segment.parent_tokens = 4;
    const std::vector<Segment> both = {verify.segment, block.segment};
    const auto fused = first_rows(model_.forward(both), verify.rows.size() + block.rows.size());
    EXPECT_EQ(sequence.length(), length());

    verify.segment.keep = true;
    auto expected = first_rows(model_.forward({&verify.segment, 1}), verify.rows.size());
    sequence.truncate(length() + 4);
    block.segment.context = length() + 4, block.segment.parent = -1, block.segment.parent_tokens = 0;
    const auto drafted = first_rows(model_.forward({&block.segment, 1}), block.rows.size());
    expected.insert(expected.end(), drafted.begin(), drafted.end());
    sequence.truncate(length());
    expect_same(fused, expected, "a draft below its verification in one pass");
  }

  // What a row may choose is known only when the pass asks.
  void expect_choice_is_asked(Sequence& sequence) {
    const TokenId only = vocab_ - 2;
    std::vector<uint64_t> allowed(static_cast<size_t>(vocab_ + 63) / 64);
    allowed[static_cast<size_t>(only) / 64] = uint64_t{1} << only % 64;
    Block next = block_at(length(), {1});
    next.segment.sequence = &sequence;
    next.segment.context = length();
    next.segment.keep = true;
    next.rows[0].choice = Choice::greedy;
    next.segment.before_choice = [] { fail("no choice"); };
    EXPECT_THROW(model_.forward({&next.segment, 1}), Error);
    EXPECT_EQ(sequence.length(), length()) << "a refused pass changes nothing";
    next.segment.before_choice = [&] { next.rows[0].allowed = allowed; };
    EXPECT_EQ(model_.forward({&next.segment, 1})[0].token, only);
    sequence.truncate(length());
  }

  // Continues behind the prompt to the end of the recorded text; lengthens `sequence`.
  void expect_greedy(Sequence& sequence, const std::vector<float>& prompt_logits) {
    std::vector<float> last(prompt_logits.end() - vocab_, prompt_logits.end());
    std::vector<TokenId> found;
    while (found.size() < fixture_.greedy.size()) {
      found.push_back(static_cast<TokenId>(std::max_element(last.begin(), last.end()) - last.begin()));
      Block next = block_at(sequence.length(), {found.back()});
      next.segment.sequence = &sequence;
      next.segment.context = sequence.length();
      next.segment.keep = true;
      last = first_rows(model_.forward({&next.segment, 1}), 1);
    }
    EXPECT_EQ(found, fixture_.greedy);
  }

 private:
  // Tokens behind the prompt with what a segment refers to; a logit row for each.
  struct Block {
    std::vector<TokenId> tokens;
    std::vector<Position> positions;
    std::vector<Wanted> rows;
    Segment segment;
  };

  Block block_at(int begin, std::vector<TokenId> tokens) const {
    Block block;
    block.tokens = std::move(tokens);
    for (int i = 0; i < static_cast<int>(block.tokens.size()); ++i) {
      const int32_t position = begin + i + fixture_.delta;
      block.positions.push_back({position, position, position});
      block.rows.push_back({.row = i, .choice = Choice::logits});
    }
    block.segment.tokens = block.tokens;  // moving the block keeps the vectors' storage
    block.segment.positions = block.positions;
    block.segment.wanted = block.rows;
    return block;
  }

  Segment prompt_segment(Sequence& sequence, const std::vector<float>& features, int begin, int end,
                         const std::vector<Wanted>& rows) const {
    const auto count = static_cast<size_t>(end - begin), first = static_cast<size_t>(begin);
    const auto hidden = static_cast<size_t>(model_.config().text.hidden_size);
    Segment segment;
    segment.sequence = &sequence;
    segment.tokens = std::span(fixture_.tokens).subspan(first, count);
    segment.positions = std::span(fixture_.positions).subspan(first, count);
    segment.features = std::span(features).subspan(pads(0, begin) * hidden, pads(begin, end) * hidden);
    segment.context = begin;
    segment.keep = true;
    segment.wanted = rows;
    return segment;
  }

  size_t pads(int begin, int end) const {
    const ModelConfig& config = model_.config();
    return static_cast<size_t>(std::count_if(
        fixture_.tokens.begin() + begin, fixture_.tokens.begin() + end,
        [&](TokenId token) { return token == config.image_token || token == config.video_token; }));
  }

  std::vector<Wanted> rows_between(int begin, int end) const {
    std::vector<Wanted> rows;
    for (int row : fixture_.logit_rows)
      if (row >= begin && row < end) rows.push_back({.row = row - begin, .choice = Choice::logits});
    return rows;
  }

  // The logits of the first wanted rows.
  std::vector<float> first_rows(std::span<const Chosen> chosen, size_t rows) const {
    std::vector<float> out;
    for (const Chosen& row : chosen.first(rows)) {
      EXPECT_EQ(std::ssize(row.logits), vocab_);
      out.insert(out.end(), row.logits.begin(), row.logits.end());
    }
    return out;
  }

  void expect_same(const std::vector<float>& found, const std::vector<float>& expected,
                   const char* what) const {
    if (options_.exact_bits)
      EXPECT_TRUE(same_bits(found, expected))
          << what << " changes bits, by " << relative_error(found, expected);
    else
      EXPECT_LE(relative_error(found, expected), options_.tolerance) << what;
  }

  Model& model_;
  const Fixture& fixture_;
  Options options_;
  int vocab_;
};

}  // namespace detail

// Positions and windows, which need no weights.
inline void expect_index_parity(const Fixture& fixture, const ModelConfig& config) {
  SCOPED_TRACE(fixture.name);
  const RopeIndex rope = rope_index(fixture.tokens, fixture.grids, fixture.second_per_grid, config);
  EXPECT_EQ(rope.positions, fixture.positions);
  EXPECT_EQ(rope.delta, fixture.delta);
  if (fixture.grids.empty()) return;
  const WindowIndex windows = window_index(fixture.grids, config.vision);
  EXPECT_EQ(windows.index, fixture.windows.index);
  EXPECT_EQ(windows.cumulative, fixture.windows.cumulative);
}

// A model that computes in f32: image features, prompt logits, the draft block and the greedy text are
// transformers'; splitting the prompt, neighbours in the pass and a parent segment change nothing.
inline Report expect_parity(Model& model, const Fixture& fixture, const Options& options = {}) {
  SCOPED_TRACE(fixture.name);
  detail::Checker checker(model, fixture, options);
  Report report;
  const std::vector<float> features = checker.encode();
  report.features = relative_error(features, fixture.features);
  EXPECT_LE(report.features, options.tolerance) << "image features";

  const auto sequence = checker.new_sequence();
  const std::vector<float> logits = checker.prompt(*sequence, features, 0, checker.length());
  report.logits = relative_error(logits, fixture.logits);
  EXPECT_LE(report.logits, options.tolerance) << "logits of the prompt";
  checker.expect_split(features, logits);
  checker.expect_neighbours(features, logits);
  if (!fixture.draft_tokens.empty()) {
    report.draft = relative_error(checker.draft(*sequence), fixture.draft_logits);
    EXPECT_LE(report.draft, options.tolerance) << "logits of the draft block";
    checker.expect_parent(*sequence);
  }
  checker.expect_choice_is_asked(*sequence);
  if (options.greedy_text) checker.expect_greedy(*sequence, logits);
  return report;
}

// Root-mean-square errors against transformers in f32, relative to its logits.
struct Bf16Report {
  double found = 0, reference = 0;  // of the model, of transformers in bfloat16
};

// A model that computes in bf16 is no further from the f32 result than transformers in bf16 is, give or take
// a quarter: it rounds in no more places, so its error has no larger variance, and the root mean square over
// eight rows of logits, whose errors are correlated, scatters by about that much.
inline Bf16Report expect_bf16_parity(Model& model, const Fixture& fixture) {
  SCOPED_TRACE(fixture.name);
  detail::Checker checker(model, fixture, {});
  const std::vector<float> features = checker.encode();
  const auto sequence = checker.new_sequence();
  const std::vector<float> logits = checker.prompt(*sequence, features, 0, checker.length());
  const Bf16Report report = {relative_rms(logits, fixture.logits),
                             relative_rms(fixture.bf16_logits, fixture.logits)};
  EXPECT_LE(report.found, 1.25 * report.reference);
  EXPECT_GT(report.found, 0.0) << "nothing was rounded";
  return report;
}

}  // namespace dvlm::parity
