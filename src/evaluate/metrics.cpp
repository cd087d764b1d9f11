#include "evaluate/metrics.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/ascii.h"
#include "core/error.h"
#include "evaluate/vqa.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr double kMatch = 0.5;  // overlap of two boxes that are the same

constexpr std::array<std::string_view, 5> kMetricNames = {"exact", "boxes", "sentences", "relaxed", "anls"};

double f1(double matched, size_t expected, size_t found) {
  if (expected == 0 && found == 0) return 1;
  return 2 * matched / static_cast<double>(expected + found);
}

// A fence or bracket of JSON alone says nothing that could be right or wrong.
bool says_something(const std::string& line) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0; };
  return !line.starts_with("```") && std::ranges::any_of(line, is_word);
}

std::vector<std::string> sentences(const std::string& text) {
  std::vector<std::string> out;
  std::string current;
  const auto flush = [&] {
    std::string done = normalised_answer(current);
    if (done.ends_with(',')) done.pop_back();  // the same entry of a list, wherever it stands
    if (says_something(done)) out.push_back(std::move(done));
    current.clear();
  };
  const auto is_number = [](std::string_view said) {  // "1" of "1. Move"
    return !said.empty() && said.find_first_not_of("0123456789") == said.npos;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const bool full_stop = text[i] == '.' && i + 1 < text.size() && text[i + 1] == ' ';
    const bool stop = text[i] == '\n' || (full_stop && !is_number(trim(current)));
    current += text[i];
    if (stop) flush();
  }
  flush();
  return out;
}

// Qwen2.5-VL's grounding style: a JSON list of {"bbox_2d": [x1, y1, x2, y2], "label": "..."}, with or without
// a ```json fence. Nothing for anything else.
std::optional<std::vector<LabelledBox>> parse_boxes(const std::string& text) {
  const size_t first = text.find('['), last = text.rfind(']');
  if (first == std::string::npos || last == std::string::npos || last < first) return {};
  const json list = json::parse(text.substr(first, last - first + 1), nullptr, false);
  if (!list.is_array()) return {};
  std::vector<LabelledBox> boxes;
  for (const json& item : list) {
    if (!item.is_object() || !item.contains("bbox_2d") || !item["bbox_2d"].is_array() ||
        item["bbox_2d"].size() != 4)
      return {};
    double side[4];
    for (size_t i = 0; i < 4; ++i) {
      if (!item["bbox_2d"][i].is_number()) return {};
      side[i] = item["bbox_2d"][i].get<double>();
    }
    const bool named = item.contains("label") && item["label"].is_string();
    boxes.push_back({side[0], side[1], side[2], side[3], named ? item["label"].get<std::string>() : ""});
  }
  return boxes;
}

}  // namespace

std::string normalised_answer(const std::string& text) {
  std::string_view out = trim(text);
  if (out.size() > 1 && out.ends_with('.')) out.remove_suffix(1);
  return lower(out);
}

double intersection_over_union(const LabelledBox& a, const LabelledBox& b) {
  const double width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1),
               height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const double both = width * height;
  return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both);
}

double box_f1(const std::vector<LabelledBox>& expected, const std::vector<LabelledBox>& found) {
  struct Pair {
    double overlap;
    size_t expected, found;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < expected.size(); ++i)
    for (size_t k = 0; k < found.size(); ++k)
      if (expected[i].label == found[k].label)
        if (const double overlap = intersection_over_union(expected[i], found[k]); overlap >= kMatch)
          pairs.push_back({overlap, i, k});
  std::ranges::stable_sort(pairs, std::greater(), &Pair::overlap);
  std::vector<bool> used_expected(expected.size()), used_found(found.size());
  double matched = 0;
  for (const Pair& pair : pairs) {
    if (used_expected[pair.expected] || used_found[pair.found]) continue;
    used_expected[pair.expected] = used_found[pair.found] = true;
    ++matched;
  }
  return f1(matched, expected.size(), found.size());
}

double sentence_f1(const std::string& expected, const std::string& found) {
  std::map<std::string, int> open;
  const auto wanted = sentences(expected), given = sentences(found);
  for (const std::string& sentence : wanted) ++open[sentence];
  double matched = 0;
  for (const std::string& sentence : given)
    if (auto it = open.find(sentence); it != open.end() && it->second-- > 0) ++matched;
  return f1(matched, wanted.size(), given.size());
}

Metric metric_from_name(std::string_view name) {
  for (size_t i = 0; i < kMetricNames.size(); ++i)
    if (kMetricNames[i] == name) return static_cast<Metric>(i);
  fail("unknown metric '{}'; the metrics are {}", printable(name, 40), fmt::join(kMetricNames, ", "));
}

std::string_view name_of(Metric metric) {
  return kMetricNames[static_cast<size_t>(metric)];
}

double score(Metric metric, const std::string& expected, const std::string& found) {
  switch (metric) {
    case Metric::boxes: {
      const auto wanted = parse_boxes(expected), given = parse_boxes(found);
      if (wanted && given) return box_f1(*wanted, *given);
      break;
    }
    case Metric::sentences:
      return sentence_f1(expected, found);
    case Metric::relaxed:
      return relaxed_score({expected}, found);
    case Metric::anls:
      return anls_score({expected}, found);
    case Metric::exact:
      break;
  }
  return normalised_answer(expected) == normalised_answer(found) ? 1 : 0;
}

}  // namespace dvlm
