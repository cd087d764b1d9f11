// The log of a run and its picture.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace dvlm {

// Means over the steps since the previous point.
struct LogPoint {
  int64_t step = 0;
  double epoch = 0, progress = 0, seconds = 0;
  double loss = 0, noisy = 0, clean = 0;  // noisy and clean: nats per scored token; noisy 0 in the "ar" stage
  double regions = 0;                     // nats per image token with a region, 0 without
  double learning_rate = 0, gradient_norm = 0;
  int block_size = 0;  // 0 in the "ar" stage
  double samples_per_second = 0, tokens_per_second = 0;
  // Of all processes: records that could not be read, samples that did not fit and were left out, those whose
  // pictures were made smaller, and steps without a finite loss or gradient.
  int64_t bad = 0, dropped = 0, shrunk = 0, skipped = 0;
};

// train.jsonl: one point per line. Lines that cannot be read (a torn last one) and points after `last_step`
// are left out.
std::vector<LogPoint> read_log(const std::filesystem::path& path, int64_t last_step);
std::string to_json_line(const LogPoint& point);  // with the newline

// Loss over steps as a self-contained SVG: clean, and noisy when there is any.
std::string loss_curve_svg(const std::vector<LogPoint>& points, const std::string& title);

}  // namespace dvlm
