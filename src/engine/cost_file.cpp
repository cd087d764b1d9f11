#include "engine/cost_file.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "checkpoint/config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kMaxBytes = size_t{4} << 20, kMaxPoints = 64;
constexpr int kMaxRows = 4096;
constexpr const char* kTitle = "costs of passes, safe to delete";

struct Entry {
  std::string key;
  int64_t measured = 0;  // seconds since 1970
  KeptCosts kept;
};

[[noreturn]] void damaged() {
  fail("it does not hold {}", kTitle);
}

// In place of conversions, which take 1e300 and -9e18 for anything.
int64_t whole(const json& number, int64_t low, int64_t high) {
  if (!number.is_number_integer() || number < low || number > high) damaged();
  return number.get<int64_t>();
}

CostCurve curve_of(const json& points) {
  CostCurve out;
  if (!points.is_array() || points.size() > kMaxPoints) damaged();
  for (const json& point : points) {
    const int rows = static_cast<int>(whole(point.at(0), 1, kMaxRows));
    const double ms = point.at(1).get<double>();
    const int unseen = point.size() > 2 ? static_cast<int>(whole(point[2], 0, kUnseen)) : 0;
    const bool ascending =
        out.points.empty() || (rows > out.points.back().rows && ms >= out.points.back().time);
    if (!std::isfinite(ms) || ms <= 0 || !ascending) damaged();
    out.points.push_back({rows, ms, unseen});
  }
  return out;
}

DraftEvidence::Count count_of(const json& count, double most_right) {
  constexpr double kMaxSeen = 1000;
  const DraftEvidence::Count out{count.at(0).get<double>(), count.at(1).get<double>()};
  const bool sound = out.seen >= 0 && out.seen <= kMaxSeen && out.right >= 0;
  if (!sound || out.right > most_right * out.seen) damaged();
  return out;
}

DraftEvidence evidence_of(const json& evidence) {
  constexpr double kMaxLeftOut = 1000;  // a ratio
  DraftEvidence out;
  const json &places = evidence.at("places"), &sure = evidence.at("sure");
  if (!places.is_array() || places.size() > size_t{kMaxBlockSize}) damaged();
  if (!sure.is_array() || sure.size() != out.sure.size()) damaged();
  for (const json& place : places) out.places.push_back(count_of(place, 1));
  for (size_t i = 0; i < out.sure.size(); ++i) out.sure[i] = count_of(sure[i], 1);
  out.all = count_of(evidence.at("all"), 1);
  out.left_out = count_of(evidence.at("left_out"), kMaxLeftOut);
  return out;
}

// To the thousandth: a file of many models stays small.
json count_json(const DraftEvidence::Count& count) {
  constexpr double kSteps = 1000;
  return {std::round(count.right * kSteps) / kSteps, std::round(count.seen * kSteps) / kSteps};
}

json evidence_json(const DraftEvidence& evidence) {
  json places = json::array(), sure = json::array();
  for (const auto& place : evidence.places) places.push_back(count_json(place));
  for (const auto& confidence : evidence.sure) sure.push_back(count_json(confidence));
  return {{"places", places},
          {"all", count_json(evidence.all)},
          {"sure", sure},
          {"left_out", count_json(evidence.left_out)}};
}

// Of drafts of each source, with a grammar and without. None: an older version, which had written nothing
// since.
std::array<DraftEvidences, 2> drafts_in(const json& entry) {
  std::array<DraftEvidences, 2> out;
  if (!entry.contains("drafts")) return out;
  for (size_t grammar = 0; grammar < out.size(); ++grammar) {
    const json& sources = entry["drafts"].at(grammar);
    for (size_t i = 0; i < out[grammar].size(); ++i) out[grammar][i] = evidence_of(sources.at(i));
  }
  return out;
}

json drafts_json(const std::array<DraftEvidences, 2>& drafts) {
  json out = json::array();
  for (const DraftEvidences& sources : drafts) {
    out.push_back(json::array());
    for (const DraftEvidence& evidence : sources) out.back().push_back(evidence_json(evidence));
  }
  return out;
}

json curve_json(const CostCurve& curve) {
  json out = json::array();
  for (const auto& [rows, ms, unseen] : curve.points)
    if (rows <= kMaxRows) out.push_back({rows, ms, unseen});
  return out;
}

Entry entry_of(const json& entry) {
  constexpr int64_t kLastSecond = int64_t{1} << 40;
  Entry out{entry.at("key").get<std::string>(),
            whole(entry.at("measured"), 0, kLastSecond),
            {static_cast<int>(whole(entry.at("largest"), 1, kMaxBlockSize)),
             {curve_of(entry.at("exact")), curve_of(entry.at("draft"))},
             drafts_in(entry)}};
  if (out.kept.costs.exact.points.empty()) damaged();
  return out;
}

json entry_json(const Entry& entry) {
  return {{"key", entry.key},
          {"largest", entry.kept.largest},
          {"measured", entry.measured},
          {"exact", curve_json(entry.kept.costs.exact)},
          {"draft", curve_json(entry.kept.costs.draft)},
          {"drafts", drafts_json(entry.kept.drafts)}};
}

// Nothing where there is no file. Throws Error for one that is damaged or something else.
std::vector<Entry> read_entries(const fs::path& path) {
  std::vector<Entry> out;
  std::error_code error;
  if (!fs::exists(path, error)) return out;
  const json file = json::parse(read_file(path, kMaxBytes), nullptr, false);
  try {
    if (!file.is_object() || file.at("dvlm") != kTitle || file.at("entries").size() > CostFile::kMost)
      damaged();
    for (const json& entry : file.at("entries")) out.push_back(entry_of(entry));
  } catch (const json::exception&) {
    damaged();
  }
  return out;
}

int64_t now() {
  return static_cast<int64_t>(std::time(nullptr));
}

bool is_fresh(const Entry& entry) {
  constexpr int64_t kSeconds = int64_t{CostFile::kDays} * 24 * 3600;
  const int64_t age = now() - entry.measured;
  return age >= 0 && age < kSeconds;
}

// Whether they were written.
bool write_entries(const fs::path& path, const std::vector<Entry>& entries) {
  json file = {{"dvlm", kTitle}, {"entries", json::array()}};
  for (const Entry& entry : entries) file["entries"].push_back(entry_json(entry));
  try {
    std::error_code unused;  // what is wrong shows when the file is written
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), unused);
    write_file(path, file.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    return true;
  } catch (const Error& error) {
    log_warning("{}; the costs of passes are not kept", error.what());
    return false;
  }
}

}  // namespace

void replace_drafts(DraftEvidences& kept, const DraftEvidences& newer) {
  for (size_t i = 0; i < newer.size(); ++i) {
    const auto longer = std::move(kept[i].places);
    kept[i] = newer[i];
    for (size_t place = kept[i].places.size(); place < longer.size(); ++place)
      kept[i].places.push_back(longer[place]);
  }
}

std::optional<KeptCosts> CostFile::find(const std::string& key, int largest) const {
  if (path_.empty() || key.empty()) return {};
  try {
    for (const Entry& entry : read_entries(path_))
      if (entry.key == key && entry.kept.largest >= largest && is_fresh(entry)) return entry.kept;
  } catch (const Error& error) {
    log_warning("{}: {}; costs of passes are learnt anew, and nothing is kept until it is removed",
                path_.string(), error.what());
  }
  return {};
}

std::array<DraftEvidences, 2> CostFile::drafts_of(const std::string& key) const {
  if (path_.empty() || key.empty()) return {};
  try {
    for (const Entry& entry : read_entries(path_))
      if (entry.key == key) return entry.kept.drafts;
  } catch (const Error&) {  // find() told
  }
  return {};
}

bool CostFile::keep(const std::string& key, int largest, const PassCosts& costs, bool grammar,
                    const DraftEvidences& drafts) const {
  if (path_.empty() || key.empty()) return false;
  std::vector<Entry> entries;
  try {
    entries = read_entries(path_);
  } catch (const Error&) {  // find() told
    return false;
  }
  Entry entry{key, now(), {largest, costs}};
  for (const Entry& old : entries) {
    if (old.key != key) continue;
    if (old.kept.largest > largest && is_fresh(old)) entry = old;
    entry.kept.drafts = old.kept.drafts;
  }
  replace_drafts(entry.kept.drafts[grammar ? 1 : 0], drafts);
  std::erase_if(entries, [&](const Entry& old) { return old.key == key; });
  entries.insert(entries.begin(), std::move(entry));
  entries.resize(std::min(entries.size(), kMost));
  return write_entries(path_, entries);
}

}  // namespace dvlm
