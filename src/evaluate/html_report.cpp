#include "evaluate/html_report.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

namespace dvlm {

std::string_view report_page();  // report.html, which cmake/Embed.cmake compiles in

namespace {

using nlohmann::json;

constexpr size_t kMaxPictures = size_t{32} << 20;  // bytes of all
constexpr int64_t kMaxQuestions = 20000;           // of a task

// Question and options, as the row has them.
std::string asked(const json& row) {
  std::string out = row.value("question", row.value("type", ""));
  for (char letter = 'A'; letter <= 'Z'; ++letter)
    if (const auto option = row.find(std::string(1, letter)); option != row.end() && option->is_string())
      out += fmt::format("\n{}. {}", letter, option->get_ref<const std::string&>());
  return out;
}

json answer_json(const DecoderResult& decoder, size_t i) {
  const Prediction& prediction = decoder.set.predictions[i];
  const double value = decoder.score.values[i];
  return {{"text", prediction.answer},
          {"tokens", prediction.tokens},
          {"nfe", prediction.nfe},
          {"value", std::isnan(value) ? json(nullptr) : json(value)},
          {"understood",
           i < decoder.score.understood.size() ? json(decoder.score.understood[i]) : json(nullptr)}};
}

// Wrong, or not what another decoder answered.
bool is_looked_for(const json& answers) {
  const json* first = nullptr;
  for (const json& answer : answers) {
    if (answer.is_null()) continue;
    if (first == nullptr) first = &answer;
    const json& value = answer["value"];
    if ((value.is_number() && value < 1) || answer["text"] != (*first)["text"]) return true;
  }
  return false;
}

json rows_json(const TaskResult& result, const PicturesOf& pictures_of, size_t& pictures) {
  std::map<std::string_view, std::vector<std::pair<size_t, size_t>>>
      by_id;  // decoder and place of each answer
  std::vector<std::string_view> order;
  for (size_t d = 0; d < result.decoders.size(); ++d) {
    const auto& predictions = result.decoders[d].set.predictions;
    for (size_t i = 0; i < predictions.size(); ++i) {
      auto& places = by_id[predictions[i].id];
      if (places.empty()) order.push_back(predictions[i].id);
      places.emplace_back(d, i);
    }
  }
  json rows = json::array();
  for (const std::string_view id : order) {
    if (std::ssize(rows) == kMaxQuestions) break;
    json answers = json::array();
    for (size_t d = 0; d < result.decoders.size(); ++d) answers.push_back(nullptr);
    for (const auto& [d, i] : by_id[id]) answers[d] = answer_json(result.decoders[d], i);
    const auto& [d, i] = by_id[id].front();
    const json& row = result.decoders[d].set.predictions[i].question;
    json shown = json::array();
    if (pictures < kMaxPictures && is_looked_for(answers))
      for (std::string& picture : pictures_of(result, std::string(id))) {
        pictures += picture.size();
        shown.push_back(std::move(picture));
      }
    rows.push_back({{"id", id},
                    {"asked", asked(row)},
                    {"expected", row.value("answer", "")},
                    {"answers", std::move(answers)},
                    {"pictures", std::move(shown)}});
  }
  return rows;
}

}  // namespace

std::string report_html(const std::vector<TaskResult>& results, const PicturesOf& pictures_of) {
  json tasks = json::array();
  size_t pictures = 0;
  for (const TaskResult& result : results) {
    int64_t most = 0;
    for (const DecoderResult& decoder : result.decoders)
      most = std::max(most, std::ssize(decoder.set.predictions));
    tasks.push_back({{"task", result.task},
                     {"base", result.base},
                     {"decoders", report_json({result})},
                     {"rows", rows_json(result, pictures_of, pictures)},
                     {"left_out", std::max<int64_t>(0, most - kMaxQuestions)}});
  }
  const json data = {{"about", fmt::format("{} task(s), written by dvlm eval", results.size())},
                     {"tasks", tasks}};
  std::string text = data.dump(-1, ' ', false, json::error_handler_t::replace), page(report_page());
  // Nothing in a text may end the element that holds it.
  for (size_t at = 0; (at = text.find('<', at)) != std::string::npos; at += 6) text.replace(at, 1, "\\u003c");
  constexpr std::string_view kMark = "/*DATA*/";
  return page.replace(page.find(kMark), kMark.size(), text);
}

}  // namespace dvlm
