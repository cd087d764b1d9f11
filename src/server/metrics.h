// Counters and histograms of a server, written as Prometheus reads them. docs/serving.md lists the names.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace dvlm {

// Prometheus' text format.
class PrometheusText {
 public:
  // "dvlm_" goes before every name; `type`: counter, gauge or histogram. Its values must follow.
  void family(std::string_view name, std::string_view type, std::string_view help);
  void value(std::string_view name, double value, std::string_view labels = {});
  // A family with one value.
  template <class Number>
  void add(std::string_view name, std::string_view type, std::string_view help, const Number& number) {
    family(name, type, help);
    value(name, static_cast<double>(number));
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

class Histogram {
 public:
  // `bounds`: the upper end of each bucket but the last, ascending.
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void add(double value);
  void write(PrometheusText& out, std::string_view name, std::string_view help) const;

 private:
  const std::vector<double> bounds_;
  std::vector<uint64_t> counts_;  // of each bucket alone
  double sum_ = 0;
};

// What the server itself sees. Thread-safe.
class Metrics {
 public:
  void add_status(int status);           // of an HTTP answer
  void add_first_token(double seconds);  // from arrival
  void add_request(double seconds);      // from arrival to the end of a request for text
  void add_answer(const Answer& answer, DecoderKind decoder);
  void write(PrometheusText& out) const;

 private:
  struct Decoded {
    uint64_t answers = 0, tokens = 0, passes = 0, rounds = 0;
    double seconds = 0;
  };

  void write_decoded(PrometheusText& out) const;

  mutable std::mutex mutex_;
  std::array<uint64_t, 5> statuses_ = {};  // by the first digit
  Histogram first_token_{{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}};
  Histogram request_{{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}};
  Histogram speed_{{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}};
  std::map<DecoderKind, Decoded> decoded_;
};

void write_totals(PrometheusText& out, const SchedulerTotals& totals);

}  // namespace dvlm
