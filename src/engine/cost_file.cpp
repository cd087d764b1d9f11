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

constexpr size_t kMostBytes = size_t{1} << 20, kMostPoints = 64;
constexpr int kMostRows = 4096;
constexpr const char* kTitle = "costs of passes, safe to delete";

struct Entry {
  std::string key;
  int largest = 0;
  int64_t measured = 0;  // seconds since 1970
  PassCosts costs;
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
  if (!points.is_array() || points.size() > kMostPoints) damaged();
  for (const json& point : points) {
    const int rows = static_cast<int>(whole(point.at(0), 1, kMostRows));
    const double ms = point.at(1).get<double>();
    const bool ascending =
        out.points.empty() || (rows > out.points.back().first && ms >= out.points.back().second);
    if (!std::isfinite(ms) || ms <= 0 || !ascending) damaged();
    out.points.emplace_back(rows, ms);
  }
  return out;
}

json curve_json(const CostCurve& curve) {
  json out = json::array();
  for (const auto& [rows, ms] : curve.points) out.push_back({rows, ms});
  return out;
}

Entry entry_of(const json& entry) {
  constexpr int64_t kLastSecond = int64_t{1} << 40;
  Entry out{entry.at("key").get<std::string>(),
            static_cast<int>(whole(entry.at("largest"), 1, kMaxBlockSize)),
            whole(entry.at("measured"), 0, kLastSecond),
            {curve_of(entry.at("exact")), curve_of(entry.at("draft"))}};
  if (out.costs.exact.points.empty()) damaged();
  return out;
}

json entry_json(const Entry& entry) {
  return {{"key", entry.key},
          {"largest", entry.largest},
          {"measured", entry.measured},
          {"exact", curve_json(entry.costs.exact)},
          {"draft", curve_json(entry.costs.draft)}};
}

// Nothing where there is no file. Throws Error for one that is damaged or something else.
std::vector<Entry> read_entries(const fs::path& path) {
  std::vector<Entry> out;
  std::error_code error;
  if (!fs::exists(path, error)) return out;
  const json file = json::parse(read_file(path, kMostBytes), nullptr, false);
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

}  // namespace

std::optional<PassCosts> CostFile::find(const std::string& key, int largest) const {
  if (path_.empty() || key.empty()) return {};
  try {
    constexpr int64_t kSeconds = int64_t{kDays} * 24 * 3600;
    for (const Entry& entry : read_entries(path_)) {
      const int64_t age = now() - entry.measured;
      if (entry.key == key && entry.largest >= largest && age >= 0 && age < kSeconds) return entry.costs;
    }
  } catch (const Error& error) {
    log_warning("{}: {}; passes are measured anew, and nothing is kept until it is removed", path_.string(),
                error.what());
  }
  return {};
}

void CostFile::keep(const std::string& key, int largest, const PassCosts& costs) const {
  if (path_.empty() || key.empty()) return;
  std::vector<Entry> entries;
  try {
    entries = read_entries(path_);
  } catch (const Error&) {  // find() told
    return;
  }
  std::erase_if(entries, [&](const Entry& entry) { return entry.key == key; });
  entries.insert(entries.begin(), {key, largest, now(), costs});
  entries.resize(std::min(entries.size(), kMost));
  json file = {{"dvlm", kTitle}, {"entries", json::array()}};
  for (const Entry& entry : entries) file["entries"].push_back(entry_json(entry));
  try {
    std::error_code unused;  // what is wrong shows when the file is written
    if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), unused);
    write_file(path_, file.dump(1) + "\n");
  } catch (const Error& error) {
    log_warning("{}; the costs of passes are not kept", error.what());
  }
}

}  // namespace dvlm
