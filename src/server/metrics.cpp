#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace dvlm {

void PrometheusText::family(std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(text_), "# HELP dvlm_{0} {2}\n# TYPE dvlm_{0} {1}\n", name, type, help);
}

void PrometheusText::value(std::string_view name, double value, std::string_view labels) {
  if (labels.empty())
    fmt::format_to(std::back_inserter(text_), "dvlm_{} {}\n", name, value);
  else
    fmt::format_to(std::back_inserter(text_), "dvlm_{}{{{}}} {}\n", name, labels, value);
}

void Histogram::add(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
}

void Histogram::write(PrometheusText& out, std::string_view name, std::string_view help) const {
  out.family(name, "histogram", help);
  uint64_t below = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    below += counts_[i];
    const std::string bound = i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf";
    out.value(fmt::format("{}_bucket", name), static_cast<double>(below), fmt::format("le=\"{}\"", bound));
  }
  out.value(fmt::format("{}_sum", name), sum_);
  out.value(fmt::format("{}_count", name), static_cast<double>(below));
}

void Metrics::add_status(int status) {
  const std::lock_guard lock(mutex_);
  if (status >= 100 && status < 600) ++statuses_[static_cast<size_t>(status / 100 - 1)];
}

void Metrics::add_first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.add(seconds);
}

void Metrics::add_request(double seconds) {
  const std::lock_guard lock(mutex_);
  request_.add(seconds);
}

void Metrics::add_answer(const Answer& answer, DecoderKind decoder) {
  const std::lock_guard lock(mutex_);
  Decoded& sum = decoded_[decoder];
  ++sum.answers;
  sum.tokens += static_cast<uint64_t>(std::max(0, answer.stats.tokens - 1));
  sum.passes += static_cast<uint64_t>(answer.stats.nfe);
  sum.rounds += static_cast<uint64_t>(answer.stats.rounds);
  sum.seconds += answer.decode_ms / 1000;
  if (const double speed = answer.tokens_per_s(); speed > 0) speed_.add(speed);
}

void Metrics::write(PrometheusText& out) const {
  const std::lock_guard lock(mutex_);
  out.family("http_answers_total", "counter", "HTTP answers by the class of their status");
  for (size_t i = 1; i < statuses_.size(); ++i)
    out.value("http_answers_total", static_cast<double>(statuses_[i]), fmt::format("class=\"{}xx\"", i + 1));
  first_token_.write(out, "time_to_first_token_seconds", "From the arrival of a request to its first text");
  request_.write(out, "request_seconds", "From the arrival of a request for text to its end");
  speed_.write(out, "tokens_per_second", "Of each answer: tokens after the first per second of decoding");
  write_decoded(out);
}

void Metrics::write_decoded(PrometheusText& out) const {
  const auto family = [&](const char* name, const char* help, auto value) {
    out.family(name, "counter", help);
    for (const auto& [kind, sum] : decoded_)
      out.value(name, static_cast<double>(value(sum)), fmt::format("decoder=\"{}\"", name_of(kind)));
  };
  family("answers_total", "Answers given", [](const Decoded& sum) { return sum.answers; });
  family("decode_tokens_total", "Tokens after the first of each answer",
         [](const Decoded& sum) { return sum.tokens; });
  family("decode_passes_total", "Passes after prefill; tokens by passes is tokens per pass",
         [](const Decoded& sum) { return sum.passes; });
  family("decode_rounds_total", "Rounds of drafting; tokens by rounds is acceptance",
         [](const Decoded& sum) { return sum.rounds; });
  family("decode_seconds_total", "Time after prefill; tokens by seconds is speed",
         [](const Decoded& sum) { return sum.seconds; });
}

void write_totals(PrometheusText& out, const SchedulerTotals& totals) {
  out.add("requests_total", "counter", "Requests that were worked on, each choice of n by itself",
          totals.requests);
  out.add("requests_failed_total", "counter", "Of these, requests that ended with an error", totals.failed);
  out.add("requests_cancelled_total", "counter", "Of these, requests cut short: timeouts, clients gone",
          totals.cancelled);
  out.add("requests_refused_total", "counter", "Requests that found the queue full", totals.refused);
  out.add("requests_waiting", "gauge", "Requests in the queue", totals.waiting);
  out.add("requests_running", "gauge", "Requests being answered", totals.running);
  out.add("device_lost", "gauge", "1: the device has failed, and the server must be started again",
          totals.device_lost.empty() ? 0 : 1);
  out.add("prompt_tokens_total", "counter", "Tokens of prompts", totals.prompt_tokens);
  out.add("prompt_tokens_reused_total", "counter", "Of these, tokens whose keys and values were held",
          totals.reused_tokens);
  out.add("tokens_total", "counter", "Tokens written", totals.tokens);
  const GeneratorTotals& model = totals.generator;
  out.add("passes_total", "counter", "Passes over the model, each for all requests under way", model.passes);
  out.add("pass_rows_total", "counter", "Rows of these passes: by passes, how many a pass carries",
          model.rows);
  out.add("pass_seconds_total", "counter", "Time spent in passes", model.pass_seconds);
  for (const char* name : {"kv_bytes", "key_bytes"})  // the second is the name of version 0.1
    out.add(name, "gauge", "Memory of keys and values, room that requests have claimed included",
            model.kv.used);
  for (const char* name : {"kv_bytes_limit", "key_bytes_limit"})
    out.add(name, "gauge", "Its limit; 0: what the machine has", model.kv.limit);
  out.add("prefixes_kept", "gauge", "Earlier answers whose keys and values are kept", model.prefixes);
  out.add("pictures_encoded_total", "counter", "Pictures and videos encoded", model.visuals.encoded);
  out.add("pictures_found_total", "counter", "Those whose features were kept", model.visuals.found);
  out.add("picture_bytes", "gauge", "Memory of kept features", model.visuals.bytes);
}

}  // namespace dvlm
