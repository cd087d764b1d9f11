// What training steps read, ahead of them and by several threads, which share the passes of a step.
#pragma once
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "train/dataset.h"

namespace dvlm {

// The batches of a run's epochs: each in the data set's seeded order, sorted by length inside windows of 32
// batches so that a batch pads little, then the batches of a window shuffled. The last batch of an epoch may
// be smaller.
class BatchOrder {
 public:
  using Batch = std::vector<Dataset::Draw>;
  BatchOrder(const Dataset& dataset, const SampleContext& context, int batch_size, uint64_t seed)
      : dataset_(dataset), context_(context), batch_size_(batch_size), seed_(seed) {}

  int64_t per_epoch() const { return (dataset_.epoch_size() + batch_size_ - 1) / batch_size_; }
  Batch batch(int64_t epoch, int64_t number);  // safe to use from several threads

 private:
  std::vector<Batch> window(int64_t epoch, int64_t number);

  const Dataset& dataset_;
  const SampleContext& context_;
  const int batch_size_;
  const uint64_t seed_;
  std::mutex mutex_;
  std::map<int64_t, std::vector<Dataset::Draw>> orders_;               // of the last epochs asked for
  std::map<std::pair<int64_t, int64_t>, std::vector<Batch>> windows_;  // likewise, by epoch and number
};

struct LoaderOptions {
  int batch_size = 16;
  int passes = 1;            // of a step, by all processes
  int first = 0, every = 1;  // those that are read here: the first of them, and how far the next is
  uint64_t seed = 1;
  int threads = 1;
};

// Records that could not be read, each once.
class BadRecords {
 public:
  // `most`: the share of all records that may be bad.
  BadRecords(int64_t records, double most) : records_(records), most_(most) {}

  void found_before(int64_t count) { before_ = count; }  // by earlier starts of the run
  bool holds(int64_t record) const { return found_.contains(record); }
  // One that is new. `tell`: with a warning. Throws Error when too many are bad.
  void add(int64_t record, const std::string& why, bool tell);
  // Those of earlier starts may be among those of this one.
  int64_t count() const { return std::max(before_, static_cast<int64_t>(found_.size())); }

 private:
  const int64_t records_;
  const double most_;
  int64_t before_ = 0;
  std::set<int64_t> found_;
};

// What step s holds depends on nothing but s.
class StepLoader {
 public:
  struct Step {
    std::vector<std::vector<Sample>> batches;          // one per pass that is read here
    int64_t epoch = 0;                                 // of its first sample
    int64_t dropped = 0;                               // samples whose pictures or answers did not fit
    int64_t shrunk = 0;                                // samples whose pictures were made smaller
    std::vector<std::pair<int64_t, std::string>> bad;  // records that could not be read, and why
  };
  StepLoader(const Dataset& dataset, SampleContext context, const LoaderOptions& options, int64_t first_step);
  ~StepLoader();
  StepLoader(const StepLoader&) = delete;
  StepLoader& operator=(const StepLoader&) = delete;

  Step next();  // waits when reading falls behind
  // Why a record that another process could not read is bad, as far as this one can tell.
  std::string problem_of(int64_t record) const;

 private:
  void read(const std::stop_token& stop);
  Step read_pass(int64_t pass);
  bool is_read(int64_t step) const;

  const Dataset& dataset_;
  const SampleContext context_;
  const LoaderOptions options_;
  const int64_t own_;    // passes of a step that are read here
  const int64_t ahead_;  // passes that may be claimed before their step is wanted
  BatchOrder order_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t next_ = 0;               // step
  int64_t claimed_ = 0;            // of own passes, counted through all steps
  int64_t largest_ = 0;            // bytes of a pass's pictures so far
  std::map<int64_t, Step> ready_;  // passes by that number, each as a step of one
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;  // last: they must end before what they use
};

}  // namespace dvlm
