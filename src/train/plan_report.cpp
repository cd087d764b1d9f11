// The plan of a run as `dvlm train --plan` prints it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>

#include "core/error.h"
#include "torch/device.h"
#include "train/curve.h"
#include "train/plan.h"
#include "train/run_setup.h"
#include "train/survey.h"
#include "train/weight_patterns.h"

namespace dvlm {

namespace {

std::string count_text(int64_t count) {
  return count >= 1'000'000'000 ? fmt::format("{:.2f} billion", static_cast<double>(count) / 1e9)
                                : fmt::format("{:.2f} million", static_cast<double>(count) / 1e6);
}

std::string size_text(double bytes) {
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string time_text(double seconds) {
  constexpr double kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (seconds < 2 * kMinute) return fmt::format("{:.0f} s", seconds);
  if (seconds < 2 * kHour) return fmt::format("{:.0f} minutes", seconds / kMinute);
  if (seconds < 2 * kDay) return fmt::format("{:.1f} hours", seconds / kHour);
  return fmt::format("{:.1f} days", seconds / kDay);
}

void print_data(const Survey& data, const TrainConfig& config) {
  fmt::print("data        {} records; {} of them were read", data.records, data.read);
  if (!data.tokens.empty())
    fmt::print(": {} to {} tokens, half have {} or fewer", data.tokens.front(), data.tokens.back(),
               data.tokens[data.tokens.size() / 2]);
  fmt::print(
      "\n            left out: {} bad, {} whose pictures or answers do not fit max_length {}; pictures made "
      "smaller: {}\n",
      data.bad, data.dropped, config.max_length, data.shrunk);
  if (data.bad > 0) fmt::print("            the first bad one: {}\n", data.first_bad);
}

// What steps took in earlier starts of the run, by the end of its log.
void print_pace(const TrainConfig& config, const Dataset& dataset, int passes) {
  constexpr size_t kLines = 10;
  const std::filesystem::path log = std::filesystem::path(config.output) / "train.jsonl";
  const std::vector<LogPoint> points = read_log(log, kMaxSteps);
  const size_t lines = std::min(points.size(), kLines);
  const LogPoint last = lines > 0 ? points.back() : LogPoint{},
                 before = points.size() > lines ? points[points.size() - lines - 1] : LogPoint{};
  if (last.step <= before.step) {
    fmt::print("time        not measured: {} has no steps yet\n", printable(log.string()));
    return;
  }
  const double of_step = (last.seconds - before.seconds) / static_cast<double>(last.step - before.step);
  double samples = 0, left = std::numeric_limits<double>::infinity();
  for (size_t i = points.size() - lines; i < points.size(); ++i) samples += points[i].samples_per_second;
  if (const int64_t steps = total_steps(config, dataset, passes); steps > 0)
    left = static_cast<double>(steps - last.step) * of_step;
  if (config.max_minutes > 0) left = std::min(left, 60 * config.max_minutes - last.seconds);
  fmt::print("time        {:.2f} s for each step, {:.1f} samples/s, {} left after step {} (the end of {})\n",
             of_step, samples / static_cast<double>(lines), time_text(std::max(left, 0.0)), last.step,
             printable(log.string()));
}

void print_memory(const RunPlan& plan, const TrainConfig& config, bool card) {
  fmt::print("memory      of each {}\n", card ? "card" : "process");
  for (const MemoryPart& part : plan.memory) fmt::print("  {:<42}{:>12}\n", part.name, size_text(part.bytes));
  fmt::print("  {:<42}{:>12}\n", "all", size_text(plan.bytes()));
  fmt::print("files       {} of state, {} of {}{}\n", size_text(plan.state_bytes),
             size_text(plan.model_bytes), config.lora.rank > 0 ? "adapter" : "model",
             card ? ", which the hosts hold while they write them" : "");
  if (card || plan.loading_bytes() > plan.bytes())
    fmt::print("start       {} of the host's memory for each process, while the model loads\n",
               size_text(plan.loading_bytes()));
}

// What the configuration's device has free; nothing where that is not known, as of a card that is elsewhere.
std::optional<double> free_here(const TrainConfig& config) {
  try {
    if (const size_t free = free_bytes(open_device(config.device)); free != SIZE_MAX)
      return static_cast<double>(free);
  } catch (const Error&) {  // there is no such card
  }
  return {};
}

// `given`: what a device has, 0 = what it has free.
bool print_fit(const RunPlan& plan, const TrainConfig& config, int processes, double given) {
  const bool card = config.device != "cpu";
  const double needed = std::max(plan.bytes(), card ? 0 : plan.loading_bytes());
  const auto print = [&](double memory, const std::string& whose) {
    const bool fits = needed <= memory;
    fmt::print("{} in {}{}\n", fits ? "fits" : "does not fit", size_text(memory), whose);
    return fits;
  };
  if (given > 0) return print(given, "");
  const std::optional<double> free = free_here(config);
  if (!free) {
    fmt::print("what {} has free is not known here: --memory says it\n", config.device);
    return true;
  }
  if (card) return print(*free, fmt::format(", which {} has free", config.device));
  if (processes == 1) return print(*free, ", which are free here");
  return print(*free / processes, fmt::format(", which each of {} processes has of what is free here "
                                              "(--memory says it of other machines)",
                                              processes));
}

}  // namespace

bool print_plan(const TrainConfig& config, int processes, double memory) {
  const ModelConfig model = read_config(config.model);
  check_patterns(config, model);
  const int passes = passes_of(config, processes);
  const Dataset dataset(config.data);
  const Survey data = survey(config, dataset, model);
  const bool card = config.device != "cpu";
  const RunPlan plan = plan_run(model, config, data.largest, processes, card);
  fmt::print("parameters  {}, of which {} train\n", count_text(plan.parameters), count_text(plan.trained));
  print_data(data, config);
  fmt::print("step        {} samples: {} passes of {} by {} process{}\n", passes * config.batch_size, passes,
             config.batch_size, processes, processes == 1 ? "" : "es");
  fmt::print("pass        up to {} tokens in all streams, {} patches\n", data.largest.rows,
             data.largest.patches);
  print_pace(config, dataset, passes);
  print_memory(plan, config, card);
  return print_fit(plan, config, processes, memory);
}

}  // namespace dvlm
