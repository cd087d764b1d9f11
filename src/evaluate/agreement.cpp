#include "evaluate/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/utf8.h"

namespace dvlm {

namespace {

constexpr size_t kShown = 5;

// Bytes and characters that both texts begin with, never half of one.
struct Common {
  size_t bytes = 0, characters = 0;
};
Common common_beginning(const std::string& a, const std::string& b) {
  Common out;
  while (out.bytes < a.size() && out.bytes < b.size()) {
    const size_t length = next_utf8(a, out.bytes).length;
    if (a.compare(out.bytes, length, b, out.bytes, length) != 0) break;
    out.bytes += length, ++out.characters;
  }
  return out;
}

// Both chose under the same text as long as they chose alike.
void compare(const std::vector<TokenScore>& ours, const std::vector<TokenScore>& theirs, Agreement& out) {
  for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    if (ours[i].top.empty() || theirs[i].top.empty()) return;
    const double kl = divergence(ours[i], theirs[i]);
    ++out.tokens;
    out.same_likeliest += ours[i].top.front().first == theirs[i].top.front().first;
    out.mean_kl += kl, out.largest_kl = std::max(out.largest_kl, kl);
    if (ours[i].chosen.first != theirs[i].chosen.first) return;
  }
}

Agreement compare(const PredictionSet& ours, const PredictionSet& theirs) {
  std::map<std::string_view, const Prediction*> by_id;
  for (const Prediction& prediction : theirs.predictions) by_id[prediction.id] = &prediction;
  Agreement out{ours.header.task, ours.header.decoder, theirs.header.decoder};
  for (const Prediction& prediction : ours.predictions) {
    const auto found = by_id.find(prediction.id);
    if (found == by_id.end() || is_refused(prediction) || is_refused(*found->second)) continue;
    const std::string &a = prediction.answer, &b = found->second->answer;
    ++out.answers;
    out.identical += a == b;
    compare(prediction.scores, found->second->scores, out);
    const Common common = common_beginning(a, b);
    const size_t longer = std::max(a.size(), b.size());
    out.common += longer == 0 ? 1 : static_cast<double>(common.bytes) / static_cast<double>(longer);
    if (a != b && out.differences.size() < kShown)
      out.differences.push_back(
          {prediction.id, a.substr(common.bytes), b.substr(common.bytes), common.characters});
  }
  if (out.answers > 0) out.common /= static_cast<double>(out.answers);
  if (out.tokens > 0) out.mean_kl /= static_cast<double>(out.tokens);
  return out;
}

}  // namespace

std::vector<Agreement> compare(const std::vector<PredictionSet>& ours,
                               const std::vector<PredictionSet>& theirs) {
  std::vector<Agreement> out;
  for (const PredictionSet& set : ours) {
    std::vector<const PredictionSet*> same_task, same_decoder;
    for (const PredictionSet& other : theirs) {
      if (!same_questions(other.header, set.header)) continue;
      same_task.push_back(&other);
      if (other.header.decoder == set.header.decoder) same_decoder.push_back(&other);
    }
    if (same_decoder.empty() && same_task.size() == 1) same_decoder = same_task;
    for (const PredictionSet* other : same_decoder) out.push_back(compare(set, *other));
  }
  if (out.empty()) fail("the two folders have no questions and decoder in common");
  return out;
}

std::string agreement_markdown(const std::vector<Agreement>& agreements) {
  std::string text =
      "| task | decoder | beside | answers | identical | equal beginning |\n| --- | --- | --- | ---: | ---: "
      "| ---: |\n";
  for (const Agreement& a : agreements)
    text += fmt::format("| {} | {} | {} | {} | {} | {:.1f} % |\n", a.task, a.decoder, a.other, a.answers,
                        a.identical, 100 * a.common);
  if (std::ranges::any_of(agreements, [](const Agreement& a) { return a.tokens > 0; })) {
    text +=
        "\n| task | decoder | beside | tokens | same likeliest | KL, mean | KL, largest |\n| --- | --- | --- "
        "| ---: "
        "| ---: | ---: | ---: |\n";
    for (const Agreement& a : agreements)
      if (a.tokens > 0)
        text +=
            fmt::format("| {} | {} | {} | {} | {:.2f} % | {:.3g} | {:.3g} |\n", a.task, a.decoder, a.other,
                        a.tokens, 100 * static_cast<double>(a.same_likeliest) / static_cast<double>(a.tokens),
                        a.mean_kl, a.largest_kl);
  }
  for (const Agreement& a : agreements)
    for (const Agreement::Difference& d : a.differences)
      text += fmt::format("\n- {} {}, {}: from character {} on \"{}\" beside \"{}\"", a.task, printable(d.id),
                          a.decoder, d.character, printable(d.ours, 60), printable(d.theirs, 60));
  const bool differ =
      std::ranges::any_of(agreements, [](const Agreement& a) { return !a.differences.empty(); });
  return text + (differ ? "\n" : "");
}

nlohmann::json agreement_json(const std::vector<Agreement>& agreements) {
  nlohmann::json out = nlohmann::json::array();
  for (const Agreement& a : agreements) {
    nlohmann::json differences = nlohmann::json::array();
    for (const Agreement::Difference& d : a.differences)
      differences.push_back(
          {{"id", d.id}, {"character", d.character}, {"ours", d.ours}, {"theirs", d.theirs}});
    out.push_back({{"task", a.task},
                   {"decoder", a.decoder},
                   {"other", a.other},
                   {"answers", a.answers},
                   {"identical", a.identical},
                   {"common", a.common},
                   {"tokens", a.tokens},
                   {"same_likeliest", a.same_likeliest},
                   {"mean_kl", a.mean_kl},
                   {"largest_kl", a.largest_kl},
                   {"differences", differences}});
  }
  return out;
}

}  // namespace dvlm
