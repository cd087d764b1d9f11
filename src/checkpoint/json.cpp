#include "checkpoint/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxValues = 8'000'000;  // each takes tens of bytes of memory, and two of the text

// Looks at a text before values are made of it: at how deep and how large it is, and for keys that stand
// twice in one object, which have no one meaning: the last would count in silence. (With a callback, the
// library's own parser walks over all elements of an array behind each object in it.)
class Watcher : public json::json_sax_t {
 public:
  explicit Watcher(const std::string& name, int deepest = kMaxDepth, size_t most_members = kMaxValues)
      : name_(name), deepest_(deepest), most_members_(most_members) {}

  bool start_object(size_t /*elements*/) override {
    keys_.emplace_back();
    return start_array(0);
  }
  bool key(std::string& key) override {
    if (!keys_.back().insert(key).second)
      fail("{} has the key \"{}\" twice in one object", name_, printable(key));
    if (keys_.back().size() > most_members_)
      fail("{} has an object of more than {} members", name_, most_members_);
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return end_array();
  }
  bool start_array(size_t /*elements*/) override {
    count();
    if (++depth_ > deepest_) fail("{} is nested more than {} levels deep", name_, deepest_);
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool null() override { return count(); }
  bool boolean(bool /*value*/) override { return count(); }
  bool number_integer(int64_t /*value*/) override { return count(); }
  bool number_unsigned(uint64_t /*value*/) override { return count(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return count(); }
  bool string(std::string& /*value*/) override { return count(); }
  bool binary(json::binary_t& /*value*/) override { return count(); }
  bool parse_error(size_t /*at*/, const std::string& /*token*/, const json::exception& /*error*/) override {
    return false;  // said when values are made
  }

 private:
  bool count() {
    if (++values_ > kMaxValues) fail("{} has more than {} values", name_, kMaxValues);
    return true;
  }

  const std::string& name_;
  const int deepest_;
  const size_t most_members_;
  int64_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  int depth_ = 0;
};

// Exactly: as doubles, 2^63 would be within what int64_t has, and 2^53 + 1 within 2^53.
bool is_within(const json& number, int64_t low, int64_t high) {
  if (number.is_number_unsigned())
    return std::cmp_greater_equal(number.get<uint64_t>(), low) &&
           std::cmp_less_equal(number.get<uint64_t>(), high);
  if (number.is_number_integer()) return number.get<int64_t>() >= low && number.get<int64_t>() <= high;
  const double value = number.get<double>();
  return value >= -0x1p63 && value < 0x1p63 && static_cast<int64_t>(value) >= low &&
         static_cast<int64_t>(value) <= high;
}

}  // namespace

namespace {

template <class Json>
Json parsed(std::string_view text, Watcher watcher, const std::string& name, bool comments) {
  json::sax_parse(text, &watcher, json::input_format_t::json, true, comments);
  try {
    return Json::parse(text, nullptr, true, comments);
  } catch (const json::parse_error& error) {
    fail("{} is not valid JSON: it ends or breaks at byte {}", name, error.byte);
  } catch (const json::out_of_range&) {
    fail("{} holds a number that is too large for JSON's readers", name);
  }
}

}  // namespace

json parse_json(std::string_view text, const std::string& name, bool comments) {
  return parsed<json>(text, Watcher(name), name, comments);
}

nlohmann::ordered_json parse_ordered(std::string_view text, const std::string& name, int deepest) {
  constexpr size_t kMaxMembers = 1024;
  return parsed<nlohmann::ordered_json>(text, Watcher(name, deepest, kMaxMembers), name, false);
}

json read_json(const std::filesystem::path& path, size_t limit) {
  return parse_json(read_file(path, limit), path.string());
}

JsonObject::JsonObject(const json& object, std::string where) : json_(object), where_(std::move(where)) {
  if (!json_.is_object()) fail("{}: expected a JSON object, found {}", where_, json_.type_name());
}

void JsonObject::refuse_others() const {
  for (const auto& [key, value] : json_.items())
    if (!asked_.contains(key)) fail("{}: the key \"{}\" is not known", where_, printable(key));
}

const json* JsonObject::find(const char* key) const {
  asked_.insert(key);
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonObject::has(const char* key) const {
  return find(key) != nullptr;
}

bool JsonObject::is_null(const char* key) const {
  asked_.insert(key);
  const auto it = json_.find(key);
  return it != json_.end() && it->is_null();
}

const json& JsonObject::require(const char* key) const {
  const json* value = find(key);
  if (!value) fail("{}: the key \"{}\" is missing", where_, key);
  return *value;
}

int64_t JsonObject::integer(const char* key, int64_t low, int64_t high,
                            std::optional<int64_t> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = require(key);
  const bool whole = value.is_number_integer() ||
                     (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>());
  if (!whole) fail("{}: \"{}\" must be a whole number, found {}", where_, key, printable(value.dump()));
  if (!is_within(value, low, high))
    fail("{}: \"{}\" is {}, outside {}..{}", where_, key, printable(value.dump()), low, high);
  return value.get<int64_t>();
}

double JsonObject::number(const char* key, double low, double high, std::optional<double> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = require(key);
  if (!value.is_number()) fail("{}: \"{}\" must be a number, found {}", where_, key, printable(value.dump()));
  const double x = value.get<double>();
  if (!(x >= low && x <= high)) fail("{}: \"{}\" is {}, outside {}..{}", where_, key, x, low, high);
  return x;
}

bool JsonObject::boolean(const char* key, bool fallback) const {
  const json* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean())
    fail("{}: \"{}\" must be true or false, found {}", where_, key, printable(value->dump()));
  return value->get<bool>();
}

std::string JsonObject::string(const char* key, const std::string& fallback) const {
  const json* value = find(key);
  if (!value) return fallback;
  if (!value->is_string()) fail("{}: \"{}\" must be a string, found {}", where_, key, value->type_name());
  return value->get<std::string>();
}

std::vector<int64_t> JsonObject::integers(const char* key, int64_t low, int64_t high, size_t limit) const {
  const json* list = find(key);
  if (!list) return {};
  if (!list->is_array() || list->size() > limit)
    fail("{}: \"{}\" must be a list of at most {} whole numbers", where_, key, limit);
  std::vector<int64_t> out;
  for (const json& value : *list) {
    if (!value.is_number_integer() || !is_within(value, low, high))
      fail("{}: \"{}\" holds {}, expected whole numbers in {}..{}", where_, key, printable(value.dump()), low,
           high);
    out.push_back(value.get<int64_t>());
  }
  return out;
}

JsonObject JsonObject::object(const char* key) const {
  return {require(key), where_ + ": " + key};
}

}  // namespace dvlm
