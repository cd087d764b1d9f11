#include "evaluate/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/checksum.h"
#include "core/error.h"
#include "evaluate/examples.h"

namespace dvlm {

namespace {

constexpr int64_t kLongTokens = 200;  // Fast-dVLM's paper measures answers above

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

double number(int64_t count) {
  return static_cast<double>(count);
}

void add(Speed& speed, const Prediction& prediction) {
  ++speed.answers;
  speed.tokens += std::max<int64_t>(0, prediction.tokens - 1);  // prefill gave the first
  speed.nfe += prediction.nfe, speed.passes += prediction.nfe + prediction.prefill_passes;
  if (prediction.tokens > 0)  // else not known
    ++speed.firsts, speed.decode_ms += prediction.decode_ms, speed.total_ms += prediction.total_ms;
  if (prediction.tokens > 0 && prediction.decode_ms > 0) speed.timed += prediction.tokens - 1;
  if (!is_refused(prediction)) speed.first_ms.push_back(prediction.first_ms);
  speed.peak_memory = std::max(speed.peak_memory, prediction.peak_memory);
}

// Own questions have a metric beside their answer.
bool is_example(const Prediction& prediction) {
  return prediction.question.contains("metric");
}

bool is_long(const Prediction& prediction) {
  if (!is_example(prediction)) return prediction.tokens > kLongTokens;
  const auto said = prediction.question.find("long");
  return said != prediction.question.end() && *said == true;
}

DecoderResult result_of(PredictionSet set) {
  DecoderResult out{.set = std::move(set)};
  std::string digests;
  for (const Prediction& prediction : out.set.predictions) {
    digests += prediction.digest;
    add(out.speed, prediction);
  }
  std::ranges::sort(out.speed.first_ms);
  out.digest = fmt::format("{:016x}", checksum(digests));
  out.score = score_of(out.set, Verdicts::counted);
  out.label = out.set.header.decoder;
  return out;
}

const DecoderResult& first_ar(const TaskResult& result) {
  const auto ar =
      std::ranges::find_if(result.decoders, [](const auto& d) { return d.set.header.decoder == "ar"; });
  return ar == result.decoders.end() ? result.decoders[0] : *ar;
}

// The same questions for all decoders, whose answers may differ in length.
void add_long_speeds(TaskResult& result) {
  std::set<std::string_view> ids;
  for (const Prediction& prediction : first_ar(result).set.predictions)
    if (is_long(prediction)) ids.insert(prediction.id);
  for (DecoderResult& decoder : result.decoders) {
    for (const Prediction& prediction : decoder.set.predictions)
      if (ids.contains(prediction.id)) add(decoder.long_speed, prediction);
    std::ranges::sort(decoder.long_speed.first_ms);
  }
}

// Whether `ar` of one column wrote what a lossless decoder of the other has to: they differ in how drafts are
// made, if in anything.
bool is_same_run(const PredictionHeader& a, const PredictionHeader& b) {
  const auto settings = [](const nlohmann::json& given) {
    nlohmann::json all = given.is_object() ? given : nlohmann::json::object();
    for (const char* key :
         {"block_size", "threshold", "sub_block", "branches", "draft_p_min", "draft_precision", "draft_lora"})
      all.erase(key);
    return all;
  };
  return a.model == b.model && (a.decoder == "endpoint") == (b.decoder == "endpoint") &&
         settings(a.settings) == settings(b.settings);
}

// What a column is measured beside: `ar` of its run, else the first column of that.
const DecoderResult& base_of(const TaskResult& result, const DecoderResult& column) {
  const auto is_base = [&](const DecoderResult& other, bool any) {
    return (any || other.set.header.decoder == "ar") && is_same_run(other.set.header, column.set.header);
  };
  for (const bool any : {false, true})
    for (const DecoderResult& other : result.decoders)
      if (is_base(other, any)) return other;
  return column;
}

void compare(const PredictionSet& base, DecoderResult& other) {
  std::map<std::string_view, std::string_view> digests;
  for (const Prediction& prediction : base.predictions)
    if (!is_refused(prediction)) digests[prediction.id] = prediction.digest;
  for (const Prediction& prediction : other.set.predictions) {
    const auto found = digests.find(prediction.id);
    if (found == digests.end() || is_refused(prediction)) continue;
    ++other.compared;
    other.identical += found->second == prediction.digest;
  }
}

// In what some of a decoder's columns differ, by name, and the value of this one.
std::map<std::string, std::string> differences(const std::vector<DecoderResult>& decoders,
                                               const PredictionHeader& own) {
  const auto text_of = [](const nlohmann::json& settings, const std::string& key) {
    return settings.contains(key)
               ? settings[key].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
               : "none";
  };
  std::map<std::string, std::string> out;
  for (const DecoderResult& one : decoders) {
    const PredictionHeader& other = one.set.header;
    if (other.decoder != own.decoder) continue;
    if (other.model != own.model) out["model"] = own.model;
    for (const nlohmann::json* settings : {&own.settings, &other.settings})
      for (const auto& [key, value] : settings->items())
        if (text_of(own.settings, key) != text_of(other.settings, key)) out[key] = text_of(own.settings, key);
  }
  return out;
}

void add_labels(std::vector<DecoderResult>& decoders) {
  for (DecoderResult& one : decoders) {
    std::string what;
    for (const auto& [key, value] : differences(decoders, one.set.header))
      what += fmt::format("{}{} {}", what.empty() ? "" : ", ", key, value);
    if (!what.empty()) one.label += fmt::format(" ({})", what);
  }
}

}  // namespace

TaskScore score_of(const PredictionSet& set, Verdicts verdicts) {
  if (set.predictions.empty()) return {};  // of what task it is, its questions say
  std::vector<Answered> answers;
  for (const Prediction& prediction : set.predictions) {
    answers.push_back({prediction.question, prediction.answer});
    if (verdicts == Verdicts::counted) answers.back().verdict = prediction.verdict;
  }
  return is_example(set.predictions.front()) ? score_examples(answers)
                                             : score_benchmark(set.header.task, answers);
}

double Speed::tokens_per_nfe() const {
  return share(number(tokens), number(nfe));
}
double Speed::tokens_per_pass() const {
  return share(number(tokens + firsts), number(passes));
}
double Speed::tokens_per_s() const {
  return share(number(timed), decode_ms / 1000);
}
double Speed::tokens_per_s_in_all() const {
  return share(number(tokens + firsts), total_ms / 1000);
}
double Speed::median_first_ms() const {
  return first_ms.empty() ? 0 : first_ms[first_ms.size() / 2];
}

std::vector<TaskResult> results_of(std::vector<PredictionSet> sets) {
  std::vector<TaskResult> out;
  for (PredictionSet& set : sets) {
    auto found = std::ranges::find_if(out, [&](const TaskResult& result) {
      return same_questions(result.decoders[0].set.header, set.header);
    });
    if (found == out.end()) found = out.insert(out.end(), {set.header.task, {}});
    found->decoders.push_back(result_of(std::move(set)));
  }
  for (TaskResult& result : out) {
    add_long_speeds(result);
    add_labels(result.decoders);
    std::set<std::string> bases;
    for (DecoderResult& decoder : result.decoders) {
      const DecoderResult& base = base_of(result, decoder);
      compare(base.set, decoder);
      bases.insert(base.label);
    }
    result.base = bases.size() == 1 ? *bases.begin() : "ar, or else the first, of the same run";
    const PredictionHeader& header = result.decoders[0].set.header;
    const auto same_name = [&](const TaskResult& other) {
      return other.decoders[0].set.header.task == header.task;
    };
    if (std::ranges::count_if(out, same_name) > 1)
      result.task = fmt::format("{} ({})", header.task, header.file);
  }
  return out;
}

std::optional<std::pair<double, double>> interval_of(const TaskScore::Part& part) {
  constexpr double kDeviations = 1.96, z2 = kDeviations * kDeviations;
  const double n = number(part.answers), p = part.score;
  if (n == 0 || !part.squares) return {};
  double centre = p, half = 0;
  if (*part.squares != p) {
    if (n < 2) return {};
    half = kDeviations * std::sqrt(std::max(0.0, *part.squares - p * p) / (n - 1));
  } else {  // zeros and ones
    centre = (p + z2 / (2 * n)) / (1 + z2 / n);
    half = kDeviations / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  }
  return std::pair(std::max(0.0, centre - half), std::min(1.0, centre + half));
}

namespace {

// The first column with scores: a run may have ended before a decoder's first answer.
const DecoderResult& scored_of(const TaskResult& result) {
  const auto found =
      std::ranges::find_if(result.decoders, [](const auto& d) { return !d.score.parts.empty(); });
  return found == result.decoders.end() ? result.decoders[0] : *found;
}

// The table of one task, row by row.
class TaskTable {
 public:
  explicit TaskTable(const TaskResult& result) : result_(result), scored_(scored_of(result)) {}

  std::string markdown() {
    text_ = fmt::format("| {} | n |", result_.task);
    for (const DecoderResult& decoder : result_.decoders) text_ += fmt::format(" {} |", decoder.label);
    text_ += "\n| --- | ---: |";
    for (size_t i = 0; i < result_.decoders.size(); ++i) text_ += " ---: |";
    add_scores();
    add_doubts();
    add_speed();
    if (result_.decoders.size() > 1)
      add("answers identical to " + result_.base,
          [](const DecoderResult& d) { return fmt::format("{} of {}", d.identical, d.compared); });
    return text_ + "\n";
  }

 private:
  using Cell = std::function<std::string(const DecoderResult&)>;

  void add(const std::string& title, const Cell& cell, const std::string& count = "") {
    text_ += fmt::format("\n| {} | {} |", title, count);
    for (const DecoderResult& decoder : result_.decoders) text_ += " " + cell(decoder) + " |";
  }

  void add_scores() {
    const TaskScore& score = scored_.score;
    if (score.parts.empty())
      add(
          "no answers to score by", [](const DecoderResult&) { return std::string(); },
          std::to_string(scored_.speed.answers));
    for (const TaskScore::Part& part : score.parts) {
      const bool headline = &part == &score.parts.front();
      const auto cell = [&](const DecoderResult& decoder) -> std::string {
        const auto same = std::ranges::find(decoder.score.parts, part.name, &TaskScore::Part::name);
        if (same == decoder.score.parts.end()) return "";
        std::string text = fmt::format("{:.1f} %", 100 * same->score);
        if (const auto interval = headline ? interval_of(*same) : std::nullopt)
          text += fmt::format(" ({:.1f} to {:.1f})", 100 * interval->first, 100 * interval->second);
        return text;
      };
      add(headline ? fmt::format("{}, {}", part.name, score.metric) : part.name, cell,
          std::to_string(part.answers));
    }
  }

  // Rows of counts that are mostly 0.
  void add_doubts() {
    const auto add_count = [&](const char* title, const std::function<int64_t(const DecoderResult&)>& count) {
      if (std::ranges::any_of(result_.decoders, [&](const DecoderResult& d) { return count(d) > 0; }))
        add(title, [&](const DecoderResult& d) { return std::to_string(count(d)); });
    };
    add_count("questions that were refused",
              [](const DecoderResult& d) { return std::ranges::count_if(d.set.predictions, is_refused); });
    add_count("answers that the judge read", [](const DecoderResult& d) { return d.score.judged; });
    add_count("answers that no rule reads",
              [](const DecoderResult& d) { return std::ssize(d.score.undecided); });
  }

  void add_speed() {
    const int64_t questions = first_ar(result_).long_speed.answers;
    const bool has_long = questions > 0;
    const std::string which = has_long ? fmt::format(", {} long answers", questions) : "";
    const auto add_number = [&](const std::string& title, int digits, double (Speed::*value)() const) {
      add(title, [&](const DecoderResult& d) {
        return fmt::format("{:.{}f}", ((has_long ? d.long_speed : d.speed).*value)(), digits);
      });
    };
    if (std::ranges::any_of(result_.decoders, [](const DecoderResult& d) { return d.speed.nfe > 0; })) {
      add_number("tokens per pass" + which, 2, &Speed::tokens_per_nfe);
      add_number("the same, prefill counted", 2, &Speed::tokens_per_pass);
    }
    add_number("tokens per second" + which, 0, &Speed::tokens_per_s);
    add_ratio(&Speed::tokens_per_s, has_long);
    add_number("the same from the question on", 0, &Speed::tokens_per_s_in_all);
    add_ratio(&Speed::tokens_per_s_in_all, has_long);
    add("ms to the first token, median",
        [](const DecoderResult& d) { return fmt::format("{:.0f}", d.speed.median_first_ms()); });
    if (std::ranges::any_of(result_.decoders, [](const DecoderResult& d) { return d.speed.peak_memory > 0; }))
      add("peak memory, MiB", [](const DecoderResult& d) {
        constexpr double kMiB = 1 << 20;
        return fmt::format("{:.0f}", number(d.speed.peak_memory) / kMiB);
      });
  }

  // Beside one token at a time, in the same run.
  void add_ratio(double (Speed::*value)() const, bool of_long) {
    const auto speed_of = [&](const DecoderResult& d) {
      return ((of_long ? d.long_speed : d.speed).*value)();
    };
    const auto speed_of_ar = [&](const DecoderResult& d) {
      const DecoderResult& base = base_of(result_, d);
      return base.set.header.decoder == "ar" ? speed_of(base) : 0;
    };
    if (result_.decoders.size() < 2 ||
        std::ranges::none_of(result_.decoders, [&](const DecoderResult& d) { return speed_of_ar(d) > 0; }))
      return;
    add("times ar's", [&](const DecoderResult& d) {
      const double base = speed_of_ar(d);
      return base > 0 ? fmt::format("{:.2f}", speed_of(d) / base) : std::string();
    });
  }

  const TaskResult& result_;
  const DecoderResult& scored_;  // whose parts are the rows
  std::string text_;
};

// Fast-dVLM's card: Qwen2.5-VL-3B, masked diffusion and speculation, in per cent.
struct Published {
  std::string_view prefix;
  double qwen, mdm, spec;
};
constexpr std::array<Published, 11> kPublished = {{{"AI2D", 80.8, 79.7, 79.7},
                                                   {"ChartQA", 84.0, 82.8, 83.1},
                                                   {"DocVQA", 93.1, 92.1, 92.9},
                                                   {"GQA", 59.0, 63.0, 63.3},
                                                   {"MMBench", 76.9, 74.2, 74.3},
                                                   {"MMMU_DEV_VAL", 47.3, 44.6, 46.6},
                                                   {"POPE", 86.2, 88.6, 88.6},
                                                   {"RealWorldQA", 65.1, 65.1, 65.1},
                                                   {"SEEDBench2_Plus", 68.6, 67.2, 67.2},
                                                   {"TextVQA", 79.1, 76.1, 79.3},
                                                   {"MMMU_Pro_V", 26.3, 21.4, 24.6}}};

std::string card_table(const std::vector<TaskResult>& results) {
  std::vector<std::string> labels;
  for (const TaskResult& result : results)
    for (const DecoderResult& decoder : result.decoders)
      if (std::ranges::find(labels, decoder.label) == labels.end()) labels.push_back(decoder.label);
  std::string text = "| benchmark | metric |", rule = "| --- | --- |";
  for (const std::string& label : labels) {
    text += fmt::format(" {} |", label);
    rule += " ---: |";
  }
  text += " card: Qwen2.5-VL-3B | card: Fast-dVLM mdm | card: spec |\n" + rule + " ---: | ---: | ---: |";
  for (const TaskResult& result : results) {
    text += fmt::format("\n| {} | {} |", result.task, scored_of(result).score.metric);
    for (const std::string& label : labels) {
      const auto decoder = std::ranges::find(result.decoders, label, &DecoderResult::label);
      const bool scored = decoder != result.decoders.end() && !decoder->score.parts.empty();
      text += scored ? fmt::format(" {:.1f} |", 100 * decoder->score.parts[0].score) : " |";
    }
    const auto known = std::ranges::find_if(
        kPublished, [&](const Published& p) { return result.task.starts_with(p.prefix); });
    text += known == kPublished.end()
                ? " | | |"
                : fmt::format(" {:.1f} | {:.1f} | {:.1f} |", known->qwen, known->mdm, known->spec);
  }
  return text + "\n";
}

nlohmann::json to_json(const Speed& speed) {
  return {{"answers", speed.answers},
          {"tokens", speed.tokens},
          {"nfe", speed.nfe},
          {"tokens_per_nfe", speed.tokens_per_nfe()},
          {"tokens_per_pass", speed.tokens_per_pass()},
          {"tokens_per_s", speed.tokens_per_s()},
          {"tokens_per_s_in_all", speed.tokens_per_s_in_all()},
          {"median_first_ms", speed.median_first_ms()},
          {"peak_memory", speed.peak_memory}};
}

}  // namespace

std::string report_markdown(const std::vector<TaskResult>& results) {
  std::string text;
  for (const TaskResult& result : results) text += (text.empty() ? "" : "\n") + TaskTable(result).markdown();
  const auto benchmark = [](const TaskResult& r) {
    const TaskScore& score = scored_of(r).score;
    return !score.understood.empty() || score.metric != "score";
  };
  if (results.size() > 1 && std::ranges::all_of(results, benchmark)) text += "\n" + card_table(results);
  return text;
}

nlohmann::json report_json(const std::vector<TaskResult>& results) {
  nlohmann::json out = nlohmann::json::array();
  for (const TaskResult& result : results) {
    for (const DecoderResult& decoder : result.decoders) {
      nlohmann::json parts = nlohmann::json::array();
      for (const TaskScore::Part& part : decoder.score.parts) {
        parts.push_back({{"name", part.name}, {"answers", part.answers}, {"score", part.score}});
        if (const auto interval = interval_of(part))
          parts.back()["interval"] = {interval->first, interval->second};
      }
      out.push_back({{"task", result.task},
                     {"model", decoder.set.header.model},
                     {"decoder", decoder.set.header.decoder},
                     {"label", decoder.label},
                     {"settings", decoder.set.header.settings},
                     {"metric", decoder.score.metric},
                     {"parts", parts},
                     {"judged", decoder.score.judged},
                     {"undecided", decoder.score.undecided.size()},
                     {"compared", decoder.compared},
                     {"identical", decoder.identical},
                     {"digest", decoder.digest},
                     {"all", to_json(decoder.speed)},
                     {"long", to_json(decoder.long_speed)}});
    }
  }
  return out;
}

std::string insert_report(const std::string& card, const std::string& report) {
  const std::string begin = "<!-- dvlm eval -->", end = "<!-- end -->";
  const size_t from = card.find(begin);
  const size_t to = from == std::string::npos ? from : card.find(end, from);
  if (to == std::string::npos) fail("the card has no \"{}\" ... \"{}\" to put the table between", begin, end);
  return card.substr(0, from + begin.size()) + "\n" + report + card.substr(to);
}

}  // namespace dvlm
