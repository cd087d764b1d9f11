#include "train/curve.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/plot.h"

namespace dvlm {

using nlohmann::json;

namespace {

template <class Point, class Visitor>
void visit_point(Point& p, Visitor&& visit) {
  visit("step", p.step);
  visit("epoch", p.epoch);
  visit("progress", p.progress);
  visit("seconds", p.seconds);
  visit("loss", p.loss);
  visit("noisy", p.noisy);
  visit("clean", p.clean);
  visit("regions", p.regions);
  visit("learning_rate", p.learning_rate);
  visit("gradient_norm", p.gradient_norm);
  visit("block_size", p.block_size);
  visit("samples_per_second", p.samples_per_second);
  visit("tokens_per_second", p.tokens_per_second);
  visit("bad", p.bad);
  visit("dropped", p.dropped);
  visit("shrunk", p.shrunk);
  visit("skipped", p.skipped);
}

bool read_point(std::string_view line, LogPoint& point) {
  constexpr double kHighest = 1e30;  // far from where sums of them would overflow
  try {
    const json value = parse_json(line, "the line");
    const JsonObject object(value, "the line");
    visit_point(point, [&](const char* key, auto& field) {
      using Field = std::remove_reference_t<decltype(field)>;
      if constexpr (std::is_integral_v<Field>)
        field = static_cast<Field>(object.integer(key, 0, std::numeric_limits<Field>::max(), 0));
      else
        field = object.number(key, -kHighest, kHighest, 0);
    });
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The values, faint, and their running average.
void draw(Plot& plot, const std::vector<LogPoint>& points, double LogPoint::*field, const char* colour) {
  std::vector<Plot::Point> raw, smooth;
  double average = points.front().*field;
  const size_t stride = points.size() / 1500 + 1;
  for (size_t i = 0; i < points.size(); ++i) {
    average += 0.05 * (points[i].*field - average);
    if (i % stride != 0 && i + 1 != points.size()) continue;
    const double x = static_cast<double>(points[i].step);
    raw.push_back({x, points[i].*field});
    smooth.push_back({x, average});
  }
  plot.line(raw, colour, 1, 0.3);
  plot.line(smooth, colour, 2);
}

}  // namespace

std::vector<LogPoint> read_log(const std::filesystem::path& path, int64_t last_step) {
  std::vector<LogPoint> points;
  if (!std::filesystem::exists(path)) return points;
  read_lines(path, [&](int, std::string_view line) {
    LogPoint point;
    if (read_point(line, point) && point.step <= last_step) points.push_back(point);
    return true;
  });
  return points;
}

std::string to_json_line(const LogPoint& point) {
  nlohmann::ordered_json value;
  visit_point(point, [&](const char* key, const auto& field) { value[key] = field; });
  return value.dump() + "\n";
}

std::string loss_curve_svg(const std::vector<LogPoint>& points, const std::string& title) {
  double high = 0;
  bool has_noisy = false;
  for (const LogPoint& p : points) {
    high = std::max({high, p.clean, p.noisy});
    has_noisy |= p.noisy > 0;
  }
  if (!std::isfinite(high) || high <= 0) high = 1;
  const int64_t last = points.empty() ? 1 : std::max<int64_t>(points.back().step, 1);
  Plot plot(title, "optimiser step", static_cast<double>(last), high);
  if (points.empty()) return plot.svg();
  draw(plot, points, &LogPoint::clean, "#1f77b4");
  plot.legend("clean (autoregressive), nats per token", "#1f77b4");
  if (has_noisy) {
    draw(plot, points, &LogPoint::noisy, "#d62728");
    plot.legend("noisy (masked), nats per token", "#d62728");
  }
  return plot.svg();
}

}  // namespace dvlm
