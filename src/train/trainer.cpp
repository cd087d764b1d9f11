#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "checkpoint/hub_cache.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "core/thread_pool.h"
#include "text/chat.h"
#include "train/checkpointer.h"
#include "train/curve.h"
#include "train/loss.h"
#include "train/meter.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/ranks.h"
#include "train/run_setup.h"
#include "train/schedule.h"
#include "train/state.h"
#include "train/step_loader.h"
#include "train/training_row.h"
#include "train/validation.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

class Run {
 public:
  Run(const TrainConfig& config, bool resume, Ranks ranks);
  TrainResult train(int64_t stop_after);

 private:
  double seconds() const { return earlier_seconds_ + seconds_since(start_); }
  double progress() const { return run_progress(step_, steps_, seconds(), config_.max_minutes); }
  // What all processes do next, which the first one's clock and anybody's signals decide.
  struct Agreed {
    double progress = 0;
    bool stop = false, save = false, written = false;
  };
  Agreed agree() const;
  void one_step(double progress);
  void note_left_out(int64_t dropped, int64_t shrunk);
  void note_bad(const StepLoader::Step& data, int64_t all);
  void skip_empty_step();
  void skip_infinite_step(double norm);
  // A pass of this process: what it reads, in rows that become a batch when their turn comes.
  struct Pass {
    std::vector<Sample> samples;
    std::vector<Row> rows;
    bool learns = false;  // whether any of them is scored
  };
  std::array<double, 4> gradients_of(const std::vector<Pass>& passes, const LossCounts& counts);
  layers::AdapterUse adapter_use(const TrainBatch& batch, int64_t number) const;
  void log();
  std::string note(double progress) const;
  void resume();
  RunState state() const;
  Checkpointer::Validate validation(const SampleContext& context);

  Ranks ranks_;
  TrainConfig config_;
  int passes_;  // of a step, by all processes
  torch::Device device_;
  Dataset dataset_;
  fs::path output_;
  Tokenizer tokenizer_;
  Network network_;
  StreamTokens tokens_;
  Optimizer optimizer_;
  int64_t step_ = 0, steps_ = 0;
  int block_size_ = 0;  // of the latest step; 0 in the stage "ar"
  double earlier_seconds_ = 0;
  Clock::time_point start_ = Clock::now();
  std::vector<LogPoint> points_;
  Meter meter_;
  TrainResult result_;
  BadRecords bad_;
  int64_t dropped_ = 0, shrunk_ = 0, skipped_ = 0;
  int64_t empty_steps_ = 0, infinite_steps_ = 0;  // one after the other
  bool together_ = false;                         // whether all processes throw what is thrown now
  std::unique_ptr<StepLoader> loader_;
  std::optional<Checkpointer> checkpoints_;  // the last member: it still writes what the others hold
};

Run::Run(const TrainConfig& config, bool resume_run, Ranks ranks)
    : ranks_(std::move(ranks)),
      config_(config),
      passes_(passes_of(config, ranks_.size())),
      device_(device_of(config, ranks_)),
      dataset_(config.data),
      output_(make_output(config, dataset_, resume_run, ranks_)),
      tokenizer_(output_),
      network_(make_network(config, tokenizer_, device_)),
      tokens_(stream_tokens(tokenizer_, network_->config())),
      optimizer_(network_, config, ranks_),
      bad_(dataset_.size(), config.max_bad_samples) {
  connect_cards(config, ranks_, device_);
  if (tokenizer_.size() > network_->config().text.vocab_size)
    fail("{}: the tokenizer has {} tokens but config.json's vocab_size is {}", config.model,
         tokenizer_.size(), network_->config().text.vocab_size);
  check_chat_template(config.model);
  steps_ = total_steps(config, dataset_, passes_);
  if (resume_run) resume();
  std::string log;
  for (const LogPoint& point : points_) log += to_json_line(point);
  if (ranks_.first()) write_file(output_ / "train.jsonl", log);
  const SampleContext context{tokenizer_,         network_->config(), answer_markers(tokenizer_),
                              config_.max_length, config_.min_pixels, config_.max_pixels};
  loader_ = std::make_unique<StepLoader>(dataset_, context, loader_options(config_, ranks_, passes_), step_);
  checkpoints_.emplace(config_, ranks_, network_, optimizer_, validation(context), step_);
}

// None where nothing validates.
Checkpointer::Validate Run::validation(const SampleContext& context) {
  if (config_.validation.empty()) return {};
  return [this, set = std::make_shared<Validation>(config_, context)](int64_t step) {
    return set->measure(network_, tokens_, device_, ranks_, step);
  };
}

RunState Run::state() const {
  return {.step = step_,
          .seconds = seconds(),
          .config = to_json(config_).dump(),
          .data = dataset_.fingerprint(),
          .passes = passes_,
          .applied = optimizer_.steps(),
          .bad = bad_.count(),
          .dropped = dropped_,
          .shrunk = shrunk_,
          .skipped = skipped_};
}

void Run::resume() {
  const RunState run = load_state(output_, optimizer_.state());
  optimizer_.resumed(run.applied);
  const std::string name = fmt::format("the configuration in {}", (output_ / kStateFile).string());
  const nlohmann::json before = parse_json(run.config, name), now = to_json(config_);
  static_cast<void>(JsonObject(before, name));  // throws where it is none
  for (const char* key : {"stage", "clean_attention", "lora", "freeze"})
    if (before.contains(key) && before[key] != now[key])
      fail("{} holds a run with \"{}\": {}, not {}", output_.string(), key, printable(before[key].dump()),
           printable(now[key].dump()));
  for (const char* key : {"batch_size", "seed"})
    if (before.contains(key) && before[key] != now[key])
      log_warning("'{}' differs from the run's start: the order of the data changes from here on", key);
  const bool partly = config_.lora.rank > 0 || !config_.freeze.empty();
  if (partly && before.contains("model") && before["model"] != now["model"])
    log_warning("'model' differs from the run's start, which had {}: weights that do not train come from it",
                printable(before["model"].dump()));
  if (run.passes != passes_)
    log_warning(
        "the run began with {} passes in a step and goes on with {}: the order of the data changes from here "
        "on ('global_batch_size' keeps the number whatever the number of processes)",
        run.passes, passes_);
  if (run.data != dataset_.fingerprint())
    log_warning("the data are not those of the run's start: their order changes from here on");
  step_ = run.step;
  earlier_seconds_ = run.seconds;
  points_ = read_log(output_ / "train.jsonl", step_);
  bad_.found_before(run.bad);
  dropped_ = run.dropped, shrunk_ = run.shrunk, skipped_ = run.skipped;
  if (points_.empty()) return;
  const LogPoint& last = points_.back();
  result_.loss = last.loss, result_.noisy = last.noisy, result_.clean = last.clean;
}

// Of all processes, as what follows.
void Run::note_left_out(int64_t dropped, int64_t shrunk) {
  if (dropped > 0 && dropped_ == 0 && ranks_.first())
    log_warning(
        "some samples are left out: max_length {} would cut through their pictures, or cuts off all answers",
        config_.max_length);
  if (shrunk > 0 && shrunk_ == 0 && ranks_.first())
    log_warning("some pictures are made smaller so that their samples fit max_length {}", config_.max_length);
  dropped_ += dropped, shrunk_ += shrunk;
}

// `all`: how many records of this step no process could read. All learn which, and decide alike.
void Run::note_bad(const StepLoader::Step& data, int64_t all) {
  if (all == 0) return;
  torch::Tensor own = torch::full({all}, -1, torch::kInt64);
  for (size_t i = 0; i < data.bad.size(); ++i) own[static_cast<int64_t>(i)] = data.bad[i].first;
  const torch::Tensor records = ranks_.gather(own);
  for (int64_t i = 0; i < records.numel(); ++i) {
    const auto record = records[i].item<int64_t>();
    if (record < 0 || bad_.holds(record)) continue;
    const auto here = std::ranges::find(data.bad, record, &std::pair<int64_t, std::string>::first);
    bad_.add(record, here != data.bad.end() ? here->second : loader_->problem_of(record), ranks_.first());
  }
}

// The optimiser has changed nothing.
void Run::skip_infinite_step(double norm) {
  // Weights that are beyond use stay so; of a short run, even few steps in turn say that they are.
  const int64_t most = steps_ > 0 ? std::clamp<int64_t>(steps_ / 4, 2, 20) : 20;
  ++step_, ++skipped_;
  if (skipped_ == 1)
    log_warning("step {} is skipped: its loss or gradient (norm {}) is not finite; such steps are counted",
                step_, norm);
  if (++infinite_steps_ >= most)
    fail(
        "the loss or gradient was infinite or NaN in {} steps one after the other; resume with a lower "
        "learning_rate",
        infinite_steps_);
}

// A step whose samples were all left out changes nothing, not even by momentum.
void Run::skip_empty_step() {
  ++step_;
  if (++empty_steps_ * passes_ >= (dataset_.epoch_size() + config_.batch_size - 1) / config_.batch_size)
    fail(
        "every sample of {} steps was left out, which is all of the data: there is nothing to learn "
        "(max_length {})",
        empty_steps_, config_.max_length);
}

// What adapters do in this process's pass of that number.
layers::AdapterUse Run::adapter_use(const TrainBatch& batch, int64_t number) const {
  constexpr uint64_t kStream = 0x64726f70;  // apart from what else the seed draws
  const auto pass = static_cast<uint64_t>(step_ * passes_ + number * ranks_.size() + ranks_.rank());
  const std::array<uint32_t, 4> bits = philox(config_.seed, kStream, pass);
  return {config_.lora.drafts_only ? batch.copy_rows : torch::Tensor(), config_.lora.dropout,
          uint64_t{bits[0]} << 32 | bits[1]};
}

// Adds up the gradients of all batches; returns the sums of the losses, each in the order of passes.
std::array<double, 4> Run::gradients_of(const std::vector<Pass>& passes, const LossCounts& counts) {
  torch::Tensor losses = torch::zeros({std::ssize(passes), 4}, torch::kFloat64);
  double* sums = losses.mutable_data_ptr<double>();
  for (size_t i = 0; i < passes.size(); ++i) {
    if (passes[i].learns) {
      TrainBatch batch = on_device(collate(passes[i].rows, passes[i].samples, tokens_.pad), device_);
      batch.input.adapters = adapter_use(batch, static_cast<int64_t>(i));
      const Loss part = training_loss(network_, batch, counts, config_);
      // Where only what sees pictures trains, a pass without any reaches no weight.
      if (part.total.requires_grad()) part.total.backward();
      sums[0] = part.total.item<double>(), sums[1] = part.noisy;
      sums[2] = part.clean, sums[3] = part.regions;
    }
    optimizer_.end_pass();
    sums += 4;
  }
  const torch::Tensor all = ranks_.gather(losses.flatten()).view({ranks_.size(), -1, 4});
  std::array<double, 4> out{};
  for (int64_t pass = 0; pass < passes_; ++pass)
    for (int64_t i = 0; i < 4; ++i)
      out[static_cast<size_t>(i)] += all[pass % ranks_.size()][pass / ranks_.size()][i].item<double>();
  return out;
}

void Run::one_step(double at) {
  if (config_.stage == "convert") block_size_ = block_size_at(at, config_.annealing, config_.block_size);
  StepLoader::Step data = loader_->next();
  std::vector<Pass> passes;
  std::vector<int64_t> all = {0, 0, 0, 0, 0, 0, std::ssize(data.bad), data.dropped, data.shrunk};
  for (std::vector<Sample>& samples : data.batches) {
    Pass& pass = passes.emplace_back(Pass{std::move(samples), {}, false});
    for (const Sample& sample : pass.samples) {
      const Row& row =
          pass.rows.emplace_back(training_row(sample, config_, tokens_, std::max(block_size_, 1)));
      all[0] += std::ssize(row.noisy), all[1] += std::ssize(row.clean), all[2] += std::ssize(row.regions);
      pass.learns = pass.learns || !row.noisy.empty() || !row.clean.empty();
      for (const Span& answer : sample.answers) all[3] += answer.size();
      all[4] += 1, all[5] += std::ssize(sample.ids);
    }
  }
  all = ranks_.sum(all);
  together_ = true;
  note_bad(data, all[6]);
  note_left_out(all[7], all[8]);
  const LossCounts counts{all[0], all[1], all[2], all[3]};
  meter_.read(all[4], all[5]);
  if (counts.noisy + counts.clean == 0) return skip_empty_step();
  together_ = false;
  const auto [loss, noisy, clean, regions] = gradients_of(passes, counts);
  const double learning_rate = learning_rate_at(at, config_);
  const double norm = optimizer_.step(learning_rate);
  if (!std::isfinite(norm) || !std::isfinite(loss)) {
    together_ = true;  // both are those of all processes
    return skip_infinite_step(norm);
  }
  ++step_, empty_steps_ = 0, infinite_steps_ = 0;
  result_.loss = loss;
  result_.noisy = noisy / static_cast<double>(std::max<int64_t>(counts.noisy, 1));
  result_.clean = clean / static_cast<double>(std::max<int64_t>(counts.clean, 1));
  meter_.add({.step = step_,
              .epoch = static_cast<double>(data.epoch),
              .progress = at,
              .loss = loss,
              .noisy = result_.noisy,
              .clean = result_.clean,
              .regions = regions / static_cast<double>(std::max<int64_t>(counts.regions, 1)),
              .learning_rate = learning_rate,
              .gradient_norm = norm,
              .block_size = block_size_});
  if (meter_.steps() >= config_.log_interval) log();
}

void Run::log() {
  LogPoint point = meter_.take();
  point.seconds = seconds();
  point.bad = bad_.count(), point.dropped = dropped_, point.shrunk = shrunk_, point.skipped = skipped_;
  points_.push_back(point);
  if (ranks_.first()) append_line(output_ / "train.jsonl", to_json_line(point));
}

// What stands behind the progress bar. Rates are those of the last line of the log, all else is the last
// step's.
std::string Run::note(double at) const {
  std::string out = fmt::format("step {}, loss {:.3f}", step_, result_.loss);
  if (config_.stage == "convert")
    out += fmt::format(" (noisy {:.3f}, clean {:.3f}, block {})", result_.noisy, result_.clean, block_size_);
  return out + fmt::format(", lr {:.1e}, {:.1f} samples/s", learning_rate_at(at, config_),
                           points_.empty() ? 0 : points_.back().samples_per_second);
}

Run::Agreed Run::agree() const {
  const std::vector<int64_t> all =
      ranks_.sum({ranks_.first() ? std::bit_cast<int64_t>(progress()) : 0,
                  ranks_.first() && checkpoints_->due(), interrupted(), checkpoints_->written()});
  return {std::bit_cast<double>(all[0]), all[2] > 0, all[1] > 0, all[3] == ranks_.size()};
}

TrainResult Run::train(int64_t stop_after) {
  const int64_t first_step = step_;
  const bool by_time = config_.max_minutes > 0;
  const double first_done = by_time ? seconds() : static_cast<double>(step_);
  const double all = by_time ? 60 * config_.max_minutes : static_cast<double>(steps_);
  std::optional<Progress> bar;
  if (ranks_.first())
    bar.emplace(config_.stage == "ar" ? (by_time ? "training, seconds" : "training, steps")
                                      : (by_time ? "converting, seconds" : "converting, steps"),
                std::max<int64_t>(1, static_cast<int64_t>(all - first_done)));
  bool saved = false;
  Agreed next = agree();
  for (; next.progress < 1 && !next.stop; next = agree()) {
    if (next.written) checkpoints_->end();
    if (next.save && !saved) checkpoints_->begin(state(), points_), saved = true;
    const double at = next.progress;
    together_ = false;
    try {
      one_step(at);
    } catch (const std::exception&) {  // of the data, say: what was learnt before is kept
      const bool all_here = ranks_.size() == 1 || together_;
      if (all_here && !saved && step_ > first_step && infinite_steps_ == 0)
        checkpoints_->begin(state(), points_);
      if (all_here) checkpoints_->end();
      throw;
    }
    saved = false;
    if (bar)
      bar->update(static_cast<int64_t>((by_time ? seconds() : static_cast<double>(step_)) - first_done),
                  note(at));
    if (stop_after > 0 && step_ - first_step >= stop_after) {
      next = agree();
      break;
    }
  }
  if (meter_.steps() > 0) log();
  if (!saved) checkpoints_->begin(state(), points_);
  checkpoints_->end();
  ranks_.wait();  // torchrun ends all when one has ended, and the first may still write the model
  result_.step = step_;
  result_.progress = next.progress;
  result_.first = ranks_.first();
  return result_;
}

TrainResult train_as(Ranks ranks, const TrainConfig& config, bool resume, int64_t stop_after) {
  const int share = std::max(1, ThreadPool::default_threads() / Ranks::processes_here());
  at::set_num_threads(config.threads > 0 ? config.threads : share);
  return Run(config, resume, std::move(ranks)).train(stop_after);
}

}  // namespace

TrainResult train(const TrainConfig& config, bool resume, int64_t stop_after) {
  validate(config);
  return train_as(Ranks::of_environment(), config, resume, stop_after);
}

int train_command(std::string_view request) {
  const nlohmann::json json = parse_json(request, "dvlm train");
  const JsonObject object(json, "dvlm train");
  const std::string config_path = object.string("config", ""), output = object.string("output", "");
  if (config_path.empty()) fail("dvlm train needs --config FILE; examples/tiny/ar.json is one to start from");
  std::vector<std::string> overrides;
  if (const nlohmann::json* set = object.find("set")) overrides = set->get<std::vector<std::string>>();
  const bool resume = object.boolean("resume", false), plan = object.boolean("plan", false);
  const int processes = static_cast<int>(object.integer("processes", 1, 1 << 16, 1));
  const double memory = object.number("memory", 0, 1e18, 0);
  object.refuse_others();
  if (!output.empty()) overrides.push_back("output=" + nlohmann::json(output).dump());
  TrainConfig config = read_train_config(config_path, overrides);
  config.model = find_model(config.model).string();
  if (plan) return print_plan(config, processes, memory) ? 0 : 1;
  passes_of(config, Ranks::size_in_environment());  // throws, before anybody waits for others
  Ranks ranks = Ranks::of_environment();            // who waits for the others is ended by a signal
  install_interrupt_handler();
  explain_lost_files();  // also those that this plugin has mapped: its core is not the program's
  const TrainResult result = train_as(std::move(ranks), config, resume, 0);
  const int status = result.progress >= 1 ? 0 : 130;  // a signal to any of the processes stops all
  if (!result.first) return status;
  fmt::print("{} after {} steps: loss {:.4f}; {} in {}\n", result.progress >= 1 ? "finished" : "stopped",
             result.step, result.loss, config.lora.rank > 0 ? "adapter" : "model", config.output);
  if (result.progress < 1) fmt::print("the same command with --resume continues it\n");
  return status;
}

}  // namespace dvlm
