#include "train/validation.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "train/loss.h"
#include "train/training_row.h"

namespace dvlm {

using torch::Tensor;

double ValidationPoint::loss(const TrainConfig& config) const {
  return config.stage == "ar" ? clean : config.loss_weights.noisy * noisy + config.loss_weights.clean * clean;
}

std::string to_json_line(const ValidationPoint& point, const TrainConfig& config) {
  nlohmann::ordered_json json = {{"step", point.step},
                                 {"samples", point.samples},
                                 {"loss", point.loss(config)},
                                 {"noisy", point.noisy},
                                 {"clean", point.clean}};
  if (point.drafts > 0) json["drafts"] = point.drafts, json["right"] = point.right;
  return json.dump() + "\n";
}

double keep_validations(const std::filesystem::path& path, int64_t last_step) {
  double best = std::numeric_limits<double>::infinity();
  std::string kept;
  if (!std::filesystem::exists(path)) return best;
  read_lines(path, [&](int, std::string_view line) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
        json["step"].get<int64_t>() > last_step || !json.contains("loss") || !json["loss"].is_number())
      return true;
    best = std::min(best, json["loss"].get<double>());
    kept += std::string(line) + "\n";
    return true;
  });
  write_file(path, kept);
  return best;
}

namespace {

// Sums over records.
struct Sums {
  double noisy = 0, noisy_rows = 0, clean = 0, clean_rows = 0, drafts = 0, right = 0, blocks = 0, samples = 0;
};

// What the network finds likeliest behind these rows, by the token of the sample that stands there.
std::map<int, TokenId> likeliest(Network& network, const Tensor& hidden, const Row& row,
                                 const std::vector<Row::Scored>& scored) {
  constexpr size_t kRows = 256;  // logits at once
  std::map<int, TokenId> out;
  for (size_t first = 0; first < scored.size(); first += kRows) {
    const size_t end = std::min(first + kRows, scored.size());
    std::vector<int64_t> rows;
    for (size_t i = first; i < end; ++i) rows.push_back(scored[i].at);
    const Tensor index = torch::tensor(rows, torch::kInt64).to(hidden.device());
    const Tensor tokens = network->logits(hidden.index_select(0, index)).argmax(1).to(torch::kCPU);
    for (size_t i = first; i < end; ++i)
      out[row.stream[static_cast<size_t>(scored[i].at)].index + 1] =
          static_cast<TokenId>(tokens[static_cast<int64_t>(i - first)].item<int64_t>());
  }
  return out;
}

// Drafts of a row whose blocks are hidden whole, and those that come before the first that the row's clean
// half would not have written.
void add_drafts(Network& network, const Tensor& hidden, const Row& row, const Layout& layout, Sums& sums) {
  const std::map<int, TokenId> written = likeliest(network, hidden, row, row.clean);
  int block = -1;
  bool right = true;
  for (const auto& [token, draft] : likeliest(network, hidden, row, row.noisy)) {
    if (const int now = layout.block[static_cast<size_t>(token)]; now != block)
      block = now, right = true, ++sums.blocks;
    const auto decided = written.find(token);
    right = right && decided != written.end() && decided->second == draft;
    ++sums.drafts, sums.right += right;
  }
}

}  // namespace

Validation::Validation(const TrainConfig& config, const SampleContext& context)
    : config_(config),
      context_(context),
      dataset_(config.validation),
      records_(std::min<int64_t>(dataset_.size(), config.validation_samples)) {
  for (int64_t i = 0; i < records_; ++i)  // before hours of training
    if (load(i)) return;
  fail("no record of 'validation' can be learnt from: training would end without a measure");
}

// Record i of those that are measured; nothing where it cannot be read.
std::optional<Sample> Validation::load(int64_t i) const {
  const int64_t record = i * dataset_.size() / records_;
  try {
    Sample sample = dataset_.load(record, context_);
    sample.draw = (uint64_t{1} << 62) + static_cast<uint64_t>(record);  // no draw of training
    if (!sample.ids.empty()) return sample;
  } catch (const Error& error) {
    log_warning_once("validation leaves out: {}", error.what());
  }
  return {};
}

std::optional<ValidationPoint> Validation::measure(Network& network, const StreamTokens& tokens,
                                                   torch::Device device, const Ranks& ranks,
                                                   int64_t step) const {
  const torch::NoGradGuard no_grad;
  const bool decides = config_.stage == "convert" && config_.clean_attention == "causal";
  TrainConfig drafting = config_;  // whole blocks behind their first tokens, as at inference
  drafting.full_mask_probability = 1, drafting.known_first_token = true, drafting.complementary = false;
  drafting.random_block_offset = false;
  drafting.lora.drafts_only = false;  // scores the clean half, too
  const auto batch_of = [&](const Row& row, const Sample& sample) {
    TrainBatch batch = on_device(collate({&row, 1}, {&sample, 1}, tokens.pad), device);
    if (config_.lora.drafts_only) batch.input.adapters.rows = batch.copy_rows;
    return batch;
  };
  Sums sums;
  for (int64_t i = ranks.rank(); i < records_; i += ranks.size()) {
    const std::optional<Sample> loaded = load(i);
    if (!loaded) continue;
    const Sample& sample = *loaded;
    const Row row = training_row(sample, config_, tokens, config_.block_size);
    const TrainBatch batch = batch_of(row, sample);
    if (batch.noisy_rows.numel() + batch.clean_rows.numel() == 0) continue;
    const Loss loss = training_loss(network, batch, {1, 1, 1, 1}, config_);
    sums.noisy += loss.noisy, sums.noisy_rows += static_cast<double>(batch.noisy_rows.numel());
    sums.clean += loss.clean, sums.clean_rows += static_cast<double>(batch.clean_rows.numel());
    sums.samples += 1;
    if (!decides) continue;
    const Row drafted = training_row(sample, drafting, tokens, config_.block_size);
    const Tensor hidden = network->hidden(batch_of(drafted, sample).input).flatten(0, 1);
    add_drafts(network, hidden, drafted, training_layout(sample, drafting, config_.block_size), sums);
  }
  const Tensor own = torch::tensor({sums.noisy, sums.noisy_rows, sums.clean, sums.clean_rows, sums.drafts,
                                    sums.right, sums.blocks, sums.samples},
                                   torch::kFloat64);
  const Tensor all = ranks.gather(own).view({ranks.size(), -1}).sum(0);
  const auto mean = [&](int64_t sum, int64_t count) {
    const double n = all[count].item<double>();
    return n > 0 ? all[sum].item<double>() / n : 0.0;
  };
  const auto samples = static_cast<int64_t>(all[7].item<double>());
  if (samples == 0) {
    if (ranks.first())
      log_warning("step {} is not validated: no record of 'validation' can be read any more", step);
    return {};
  }
  return ValidationPoint{step, samples, mean(0, 1), mean(2, 3), mean(4, 6), mean(5, 6)};
}

}  // namespace dvlm
