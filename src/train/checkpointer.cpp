#include "train/checkpointer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/finally.h"
#include "torch/lora.h"
#include "train/kept_models.h"

namespace dvlm {

Checkpointer::Checkpointer(const TrainConfig& config, const Ranks& ranks, Network& network,
                           Optimizer& optimizer, Validate validate, int64_t step)
    : config_(config),
      ranks_(ranks),
      on_cpu_(network->parameters().front().device().is_cpu()),
      output_(config.output),
      network_(network),
      optimizer_(optimizer),
      validate_(std::move(validate)) {
  if (ranks.first()) best_ = keep_validations(output_ / kValidationLog, step);
}

bool Checkpointer::due() const {
  return !current_ && seconds_since(last_) > 60 * config_.checkpoint_minutes;
}

bool Checkpointer::written() const {
  const auto ready = [](const std::future<void>& job) {
    return job.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  return current_ && std::ranges::all_of(jobs_, ready);
}

// A step may end in such weights that no further step would show.
void Checkpointer::check_weights() const {
  for (const torch::Tensor& weights : network_->parameters())
    if (!torch::isfinite(weights).all().item<bool>())
      fail(
          "the weights are infinite or NaN and are not saved: start again, or resume, with a lower "
          "learning_rate");
}

void Checkpointer::write(std::function<void()> job) {
  if (on_cpu_)
    job();
  else
    jobs_.push_back(std::async(std::launch::async, std::move(job)));
}

void Checkpointer::begin(const RunState& run, const std::vector<LogPoint>& points) {
  end();
  check_weights();
  current_ = Checkpoint{StateWriter(output_, optimizer_.state(), run, ranks_), run.step};
  write([this] {
    current_->state.write();
    if (!apart()) current_->state.commit(ranks_);
  });
  optimizer_.swap_average();
  if (validate_) current_->validated = validate_(run.step);
  if (ranks_.first()) {
    const DType type = config_.save_dtype == "bf16" ? DType::bf16 : DType::f32;
    HeldModel model = config_.lora.rank > 0 ? hold_lora(network_, config_.lora, config_.model, type)
                                            : hold_checkpoint(network_, type);
    std::string curve = loss_curve_svg(points, fmt::format("{}: {} steps", config_.stage, run.step));
    write([this, model = std::move(model), curve = std::move(curve)] {
      model(output_);
      write_file(output_ / "loss.svg", curve);
    });
  }
  optimizer_.swap_average();
  if (on_cpu_) end();
}

void Checkpointer::end() {
  if (!current_) return;
  const Finally forget([&] { current_.reset(), last_ = Clock::now(); });
  for (std::future<void>& job : std::exchange(jobs_, {})) job.get();
  if (apart()) current_->state.commit(ranks_);
  if (ranks_.first()) keep_models(current_->step, current_->validated);
}

void Checkpointer::keep_models(int64_t step, const std::optional<ValidationPoint>& validated) {
  if (config_.keep_checkpoints > 0) {
    keep_model(output_, fmt::format("step-{}", step));
    remove_older_models(output_, config_.keep_checkpoints);
  }
  if (!validated) return;
  // Kept before it is noted: what a resumed run reads there is the loss of a model that is in its folder.
  if (validated->loss(config_) < best_) {  // NaN is not
    keep_model(output_, "best");
    best_ = validated->loss(config_);
  }
  append_line(output_ / kValidationLog, to_json_line(*validated, config_));
}

}  // namespace dvlm
