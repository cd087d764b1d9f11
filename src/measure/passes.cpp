#include "measure/passes.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/interrupt.h"
#include "core/progress.h"
#include "core/stopwatch.h"
#include "kernels/matrix.h"
#include "measure/random_checkpoint.h"
#include "model/prompt.h"

namespace dvlm {

namespace {

double linear_weights(const TextConfig& t) {
  const double query = double{1} * t.heads * t.head_dim, kv = double{1} * t.kv_heads * t.head_dim;
  return t.layers * double{1} * t.hidden_size * (2 * query + 2 * kv + 3.0 * t.intermediate_size);
}
double head_weights(const TextConfig& t) {
  return double{1} * t.vocab_size * t.hidden_size;
}

double bytes_of_weight(const std::string& precision) {
  const WeightFormat format = precision == "bf16"   ? WeightFormat::bf16_panels
                              : precision == "fp8"  ? WeightFormat::fp8_panels
                              : precision == "int8" ? WeightFormat::int8_panels
                                                    : WeightFormat::int4_panels;
  constexpr int kInputs = 2048;
  return static_cast<double>(PackedMatrix::packed_bytes(kPanel, kInputs, format)) / (kPanel * kInputs);
}

class Passes {
 public:
  Passes(const ModelConfig& config, const std::string& precision, int capacity, const ModelOptions& options)
      : config_(config),
        bytes_(bytes_of_weight(precision)),
        head_bytes_(bytes_of_weight(precision.starts_with("int") ? "int8" : "bf16")),
        model_(load_random(config, precision, options)),
        sequence_(model_->new_sequence(capacity)) {}

  // Makes the sequence `length` tokens long.
  void commit(int length) {
    sequence_->truncate(std::min(length, sequence_->length()));
    while (sequence_->length() < length && !interrupted())
      pass(std::min(512, length - sequence_->length()), true);
  }

  double timed_pass(int rows) {
    return milliseconds_of([&] { pass(rows, false); });
  }

  double bytes(int context) const {
    const TextConfig& t = config_.text;
    const double keys = 2.0 * 2 * t.layers * t.kv_heads * t.head_dim * context;  // bf16 keys and values
    return linear_weights(t) * bytes_ + head_weights(t) * head_bytes_ + keys;
  }
  double flops(int rows, int context) const {
    return text_flops(config_.text, rows, context, wanted_rows(rows));
  }

 private:
  static int wanted_rows(int rows) { return rows > kWidestBlock ? 1 : rows; }

  void pass(int rows, bool keep) {
    const int context = sequence_->length();
    const std::vector<TokenId> tokens(static_cast<size_t>(rows), 5);
    const std::vector<Position> positions = text_positions(context, rows);
    const std::vector<Wanted> wanted = want_rows(keep ? rows : rows - wanted_rows(rows), rows);
    const Segment segment{.sequence = sequence_.get(),
                          .tokens = tokens,
                          .positions = positions,
                          .features = {},
                          .context = context,
                          .keep = keep,
                          .wanted = wanted};
    model_->forward({&segment, 1});
  }

  ModelConfig config_;
  double bytes_, head_bytes_;  // of a weight of a linear layer and of the head
  std::unique_ptr<Model> model_;
  std::unique_ptr<Sequence> sequence_;
};

PassTiming time_one(Passes& passes, int rows, int context, int repeats, Machine& machine) {
  PassTiming timing{.precision = {},
                    .rows = rows,
                    .context = context,
                    .bytes = passes.bytes(context),
                    .flops = passes.flops(rows, context)};
  passes.timed_pass(rows);  // buffers grow
  std::vector<double> ms, bandwidth, rate;
  for (int i = 0; i < repeats && (i == 0 || !interrupted()); ++i) {
    const Rates now = machine.rates();
    bandwidth.push_back(now.bytes / 1e9), rate.push_back(now.operations / 1e9);
    ms.push_back(passes.timed_pass(rows));
  }
  timing.ms = median(ms);
  timing.probe_gb_per_s = median(bandwidth);
  timing.probe_gflops = median(rate);
  return timing;
}

}  // namespace

double text_flops(const TextConfig& t, double rows, double context, double head_rows) {
  const double attention = 4.0 * t.layers * t.heads * t.head_dim * rows * (context + rows / 2);
  return 2 * (rows * linear_weights(t) + head_rows * head_weights(t)) + attention;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double PassTiming::roofline_ms() const {
  const double memory = bytes / (probe_gb_per_s * 1e6),
               work = probe_gflops > 0 ? flops / (probe_gflops * 1e6) : 0;
  return std::max(memory, work);
}

std::vector<PassTiming> time_passes(const PassOptions& options, Machine& machine) {
  const ModelConfig config = text_shape_named(options.shape);
  const int longest = *std::ranges::max_element(options.contexts);
  const int widest = *std::ranges::max_element(options.rows);
  const ModelOptions model = machine.options({});
  std::vector<PassTiming> out;
  Progress progress("measuring passes",
                    std::ssize(options.precisions) * std::ssize(options.contexts) * std::ssize(options.rows));
  for (const std::string& precision : options.precisions) {
    Passes passes(config, precision, longest + widest, model);
    for (const int context : options.contexts) {
      if (context > 0) progress.update(std::ssize(out), fmt::format("reading {} tokens first", context));
      passes.commit(context);
      for (const int rows : options.rows) {
        if (interrupted()) return out;
        PassTiming timing = time_one(passes, rows, context, options.repeats, machine);
        if (interrupted()) return out;  // it is half measured
        timing.precision = precision;
        out.push_back(std::move(timing));
        progress.update(std::ssize(out));
      }
    }
  }
  return out;
}

}  // namespace dvlm
