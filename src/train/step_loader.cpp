#include "train/step_loader.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "core/random.h"

namespace dvlm {

namespace {

constexpr int64_t kWindowBatches = 32;
constexpr int64_t kStepsAhead = 3;
constexpr int64_t kBytesAhead = int64_t{2} << 30;  // of pictures, where one step has fewer
constexpr int64_t kNamed = 20;                     // bad records that are warned of one by one

// What pictures take, at least 1.
int64_t bytes_of(const StepLoader::Step& step) {
  size_t floats = 0;
  for (const std::vector<Sample>& batch : step.batches)
    for (const Sample& sample : batch)
      for (const Patches& visual : sample.visuals) floats += visual.values.size();
  return static_cast<int64_t>(floats * sizeof(float)) + 1;
}

}  // namespace

std::vector<BatchOrder::Batch> BatchOrder::window(int64_t epoch, int64_t number) {
  const std::vector<Dataset::Draw>& order = orders_.at(epoch);
  const int64_t begin = number * kWindowBatches * batch_size_,
                end = std::min<int64_t>(begin + kWindowBatches * batch_size_, std::ssize(order));
  Batch draws(order.begin() + begin, order.begin() + end);
  if (batch_size_ > 1) {
    std::map<int64_t, int64_t> length;
    for (const Dataset::Draw& draw : draws)
      if (!length.contains(draw.record)) length[draw.record] = dataset_.length(draw.record, context_);
    std::ranges::stable_sort(draws, {}, [&](const Dataset::Draw& draw) { return length[draw.record]; });
  }
  std::vector<Batch> batches;
  for (int64_t at = 0; at < std::ssize(draws); at += batch_size_)
    batches.emplace_back(draws.begin() + at,
                         draws.begin() + std::min<int64_t>(at + batch_size_, std::ssize(draws)));
  // The incomplete last batch of the epoch keeps its place.
  const auto last = batches.end() - (std::ssize(batches.back()) < batch_size_ ? 1 : 0);
  Random(seed_, static_cast<uint64_t>(epoch) + (static_cast<uint64_t>(number + 1) << 32))
      .shuffle(batches.begin(), last);
  return batches;
}

BatchOrder::Batch BatchOrder::batch(int64_t epoch, int64_t number) {
  constexpr size_t kKept = 2;
  const std::scoped_lock lock(mutex_);
  if (!orders_.contains(epoch)) orders_[epoch] = dataset_.epoch_order(seed_, epoch);
  const std::pair key(epoch, number / kWindowBatches);
  if (!windows_.contains(key)) windows_[key] = window(epoch, key.second);
  Batch out = windows_[key][static_cast<size_t>(number % kWindowBatches)];
  while (orders_.size() > kKept) orders_.erase(orders_.begin());
  while (windows_.size() > kKept) windows_.erase(windows_.begin());
  return out;
}

StepLoader::StepLoader(const Dataset& dataset, SampleContext context, const LoaderOptions& options,
                       int64_t first_step)
    : dataset_(dataset),
      context_(std::move(context)),
      options_(options),
      own_((options.passes - options.first + options.every - 1) / options.every),
      ahead_(kStepsAhead * own_ + std::max(options.threads, 1)),
      order_(dataset_, context_, options.batch_size, options.seed),
      next_(first_step),
      claimed_(first_step * own_) {
  for (int i = 0; i < std::max(options.threads, 1); ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { read(stop); });
}

StepLoader::~StepLoader() {
  for (std::jthread& thread : threads_) thread.request_stop();
  changed_.notify_all();
}

StepLoader::Step StepLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_read(next_) || error_; });
  if (!is_read(next_)) std::rethrow_exception(error_);
  Step step;
  for (int64_t i = next_ * own_; i < (next_ + 1) * own_; ++i) {
    Step pass = std::move(ready_.extract(i).mapped());
    if (i == next_ * own_) step.epoch = pass.epoch;
    step.batches.push_back(std::move(pass.batches[0]));
    step.bad.insert(step.bad.end(), pass.bad.begin(), pass.bad.end());
    step.dropped += pass.dropped, step.shrunk += pass.shrunk;
  }
  ++next_;
  changed_.notify_all();
  return step;
}

bool StepLoader::is_read(int64_t step) const {
  return std::distance(ready_.lower_bound(step * own_), ready_.lower_bound((step + 1) * own_)) == own_;
}

std::string StepLoader::problem_of(int64_t record) const {
  try {
    dataset_.load(record, context_);
  } catch (const std::exception& error) {  // memory, say: other processes do not wait for this one's
    return error.what();
  }
  return fmt::format("record {}, which another process cannot read", record + 1);
}

void BadRecords::add(int64_t record, const std::string& why, bool tell) {
  found_.insert(record);
  const auto found = static_cast<int64_t>(found_.size());
  if (tell && found <= kNamed) log_warning("left out: {}", why);
  if (tell && found == kNamed) log_warning("further records that are left out are only counted");
  if (static_cast<double>(found) > most_ * static_cast<double>(records_))
    fail("{} of {} records are bad, more than 'max_bad_samples' allows; the last: {}", found, records_, why);
}

void StepLoader::read(const std::stop_token& stop) {
  try {
    while (!stop.stop_requested()) {
      std::unique_lock lock(mutex_);
      // Before a pass has been read nobody knows what one takes.
      const auto may_claim = [&] {
        const int64_t wanted = next_ * own_;
        return claimed_ < wanted + own_ || (claimed_ < wanted + own_ + ahead_ && largest_ > 0 &&
                                            (claimed_ + 1 - wanted) * largest_ <= kBytesAhead);
      };
      if (!changed_.wait(lock, stop, may_claim)) return;
      const int64_t claim = claimed_++;
      lock.unlock();
      Step loaded =
          read_pass(claim / own_ * options_.passes + options_.first + claim % own_ * options_.every);
      lock.lock();
      largest_ = std::max(largest_, bytes_of(loaded));
      ready_.emplace(claim, std::move(loaded));
      changed_.notify_all();
    }
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

StepLoader::Step StepLoader::read_pass(int64_t pass) {
  const int64_t per_epoch = order_.per_epoch();
  Step out;
  out.epoch = pass / per_epoch;
  std::vector<Sample>& batch = out.batches.emplace_back();
  for (const Dataset::Draw& draw : order_.batch(out.epoch, pass % per_epoch)) {
    try {
      Sample sample = dataset_.load(draw.record, context_);
      sample.draw = static_cast<uint64_t>(out.epoch * dataset_.epoch_size() + draw.place);
      out.shrunk += sample.shrunk;
      if (sample.ids.empty())
        ++out.dropped;
      else
        batch.push_back(std::move(sample));
    } catch (const Error& error) {
      out.bad.emplace_back(draw.record, error.what());
    }
  }
  return out;
}

}  // namespace dvlm
