#include "train/batch.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

namespace {

TokenId required_token(const Tokenizer& tokenizer, const char* text, const char* purpose) {
  const auto id = tokenizer.find(text);
  if (!id)
    fail("the tokenizer has no token {}, which training needs as {}; add it to tokenizer.json", text,
         purpose);
  return *id;
}

bool is_visual(TokenId id, const StreamTokens& tokens) {
  return id == tokens.image || id == tokens.video;
}

bool is_dropped(TokenId id, const StreamTokens& tokens) {
  return is_visual(id, tokens) || id == tokens.vision_start;
}

void append_noisy(Row& row, const Sample& sample, const Layout& layout, const MaskedFlags& masked, int copy,
                  const StreamTokens& tokens, const RowOptions& options) {
  int previous = -2;
  std::vector<int> features;
  for (int i = 0; i < static_cast<int>(sample.ids.size()); ++i) {
    const auto n = static_cast<size_t>(i);
    if (options.vision_efficient && is_dropped(sample.ids[n], tokens)) continue;
    if (!options.noisy_prompts && !layout.answer[n]) continue;
    // A dropped stretch breaks the shift: nothing before it predicts what follows it.
    if (masked[n] && previous == i - 1)
      row.noisy.push_back({static_cast<int>(row.tokens.size()) - 1, sample.ids[n]});
    if (is_visual(sample.ids[n], tokens)) features.push_back(static_cast<int>(row.tokens.size()));
    row.tokens.push_back(masked[n] ? tokens.mask : sample.ids[n]);
    row.positions.push_back(sample.positions[n]);
    row.stream.push_back({copy, layout.turn[n], i});
    previous = i;
  }
  if (!sample.visuals.empty() && !features.empty()) row.features.push_back(std::move(features));
}

// Rows of the flattened hidden states and what they are scored against.
struct Targets {
  std::vector<int64_t> rows, tokens;
  void add(const std::vector<Row::Scored>& scored, int64_t first) {
    for (const Row::Scored& s : scored) rows.push_back(first + s.at), tokens.push_back(s.target);
  }
};

torch::Tensor index_tensor(const std::vector<int64_t>& values) {
  return torch::tensor(values, torch::kInt64);
}

// Pictures of all samples, whose features go to the rows `features` of every stream.
void add_pictures(std::span<const Sample> samples, const std::vector<std::vector<int64_t>>& features,
                  NetworkInput& input) {
  size_t values = 0;
  int64_t patches = 0;
  for (const Sample& sample : samples) {
    for (const Patches& visual : sample.visuals) {
      values += visual.values.size();
      patches += visual.grid.patches();
      input.grids.push_back(visual.grid);
    }
  }
  if (values == 0) return;
  input.patches = torch::empty({patches, static_cast<int64_t>(values) / patches}, torch::kFloat32);
  auto* out = input.patches.data_ptr<float>();
  for (const Sample& sample : samples)
    for (const Patches& visual : sample.visuals)
      out = std::copy(visual.values.begin(), visual.values.end(), out);
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& stream : features) all.insert(all.end(), stream.begin(), stream.end());
  input.feature_rows = index_tensor(all);
}

// Tokens, positions and visibility of row b.
void place(const Row& row, int64_t b, NetworkInput& input) {
  const int64_t count = input.tokens.size(0), length = input.tokens.size(1);
  auto* ids = input.tokens.data_ptr<int64_t>() + b * length;
  auto* positions = input.positions.data_ptr<int64_t>();
  const auto used = static_cast<int64_t>(row.tokens.size());
  for (int64_t l = 0; l < used; ++l) {
    const Position& position = row.positions[static_cast<size_t>(l)];
    ids[l] = row.tokens[static_cast<size_t>(l)];
    positions[(0 * count + b) * length + l] = position.t;
    positions[(1 * count + b) * length + l] = position.h;
    positions[(2 * count + b) * length + l] = position.w;
  }
  if (!input.mask.defined()) return;
  bool* own = input.mask.data_ptr<bool>() + b * length * length;
  fill_visibility(row.stream, length, own, row.clean_attention);
  // A query that saw nothing would give NaN.
  for (int64_t l = used; l < length; ++l) own[l * length + l] = true;
}

}  // namespace

StreamTokens stream_tokens(const Tokenizer& tokenizer, const ModelConfig& config) {
  StreamTokens tokens;
  tokens.mask = tokenizer.find(kMaskToken).value_or(-1);
  tokens.im_end = required_token(tokenizer, "<|im_end|>", "the end of a message");
  tokens.pad = required_token(tokenizer, "<|endoftext|>", "padding");
  tokens.image = config.image_token;
  tokens.video = config.video_token;
  tokens.vision_start = config.vision_start_token;
  return tokens;
}

Row make_row(const Sample& sample, const Layout& layout, std::span<const MaskedFlags> copies,
             const StreamTokens& tokens, const RowOptions& options) {
  Row row;
  row.clean_attention = options.clean_attention;
  for (size_t copy = 0; copy < copies.size(); ++copy)
    append_noisy(row, sample, layout, copies[copy], static_cast<int>(copy), tokens, options);
  const auto clean_begin = static_cast<int>(row.tokens.size());
  std::vector<int> features;
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    const int at = clean_begin + static_cast<int>(i);
    const TokenId id = sample.ids[i];
    const bool seen =
        options.clean_attention == CleanAttention::block && i > 0 && layout.turn[i] == layout.turn[i - 1];
    if (options.score_clean && i > 0 && layout.answer[i] && !seen) row.clean.push_back({at - 1, id});
    if (is_visual(id, tokens)) features.push_back(at);
    row.tokens.push_back(id);
    row.positions.push_back(sample.positions[i]);
    row.stream.push_back({StreamToken::kClean, layout.turn[i], static_cast<int>(i)});
  }
  if (!sample.visuals.empty()) row.features.push_back(std::move(features));
  return row;
}

// The clean stream is the end of the row.
void score_regions(Row& row, const Sample& sample) {
  const auto clean_begin = static_cast<int>(row.tokens.size() - sample.ids.size());
  for (const RegionToken& token : sample.regions)
    for (const TokenId word : token.words) row.regions.push_back({clean_begin + token.at, word});
}

// oneDNN compiles a kernel for each new shape: lengths that differ from batch to batch are rounded up.
int64_t padded_length(int64_t longest) {
  constexpr int64_t kQuantum = 64;
  return (longest + kQuantum - 1) / kQuantum * kQuantum;
}

TrainBatch collate(std::span<const Row> rows, std::span<const Sample> samples, TokenId pad) {
  DVLM_ASSERT(rows.size() == samples.size());
  int64_t longest = 0;
  bool dual = false;
  for (const Row& row : rows) {
    longest = std::max(longest, std::ssize(row.tokens));
    dual = dual || row.clean_attention == CleanAttention::block ||
           (!row.stream.empty() && row.stream[0].stream != StreamToken::kClean);
  }
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t length = padded_length(longest);

  TrainBatch batch;
  batch.input.tokens = torch::full({count, length}, pad, torch::kInt64);
  batch.input.positions = torch::zeros({3, count, length}, torch::kInt64);
  if (dual) batch.input.mask = torch::zeros({count, 1, length, length}, torch::kBool);
  std::vector<std::vector<int64_t>> features;  // of each stream
  Targets noisy, clean, regions;
  std::vector<int64_t> copies;
  for (int64_t b = 0; b < count; ++b) {
    const Row& row = rows[static_cast<size_t>(b)];
    place(row, b, batch.input);
    features.resize(std::max(features.size(), row.features.size()));
    for (size_t stream = 0; stream < row.features.size(); ++stream)
      for (const int at : row.features[stream]) features[stream].push_back(b * length + at);
    noisy.add(row.noisy, b * length);
    clean.add(row.clean, b * length);
    regions.add(row.regions, b * length);
    for (size_t i = 0; i < row.stream.size() && row.stream[i].stream != StreamToken::kClean; ++i)
      copies.push_back(b * length + static_cast<int64_t>(i));
  }
  batch.noisy_rows = index_tensor(noisy.rows), batch.noisy_targets = index_tensor(noisy.tokens);
  batch.clean_rows = index_tensor(clean.rows), batch.clean_targets = index_tensor(clean.tokens);
  batch.region_rows = index_tensor(regions.rows), batch.region_targets = index_tensor(regions.tokens);
  batch.copy_rows = index_tensor(copies);

  add_pictures(samples, features, batch.input);
  for (const Sample& sample : samples)
    for (const Span& answer : sample.answers) batch.answer_tokens += answer.size();
  return batch;
}

TrainBatch on_device(TrainBatch batch, torch::Device device) {
  NetworkInput& input = batch.input;
  for (torch::Tensor* tensor :
       {&input.tokens, &input.positions, &input.mask, &input.patches, &input.feature_rows, &batch.noisy_rows,
        &batch.noisy_targets, &batch.clean_rows, &batch.clean_targets, &batch.region_rows,
        &batch.region_targets, &batch.copy_rows})
    if (tensor->defined()) *tensor = tensor->to(device);
  return batch;
}

}  // namespace dvlm
