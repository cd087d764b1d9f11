// JSON files read as hostile input, with errors that name file and key.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>

namespace dvlm {

// Throws Error naming the file and the byte where the JSON breaks, or that it is nested more than 64 levels
// deep (copying, comparing and printing values recurses). `comments`: C-style comments are skipped.
nlohmann::json read_json(const std::filesystem::path& path, size_t limit = size_t{64} << 20);
nlohmann::json parse_json(std::string_view text, const std::string& name, bool comments = false);
// With members in the order of the text. Looking for one of them walks over all: objects of more than 1,024
// are refused, too. `deepest`: levels.
nlohmann::ordered_json parse_ordered(std::string_view text, const std::string& name, int deepest = 64);

// Typed access to one JSON object; `where` ("config.json: text_config") begins every message.
class JsonObject {
 public:
  JsonObject(const nlohmann::json& object, std::string where);  // throws Error when it is not an object

  bool has(const char* key) const;      // present and not null
  bool is_null(const char* key) const;  // present and null
  // The value, or the fallback; without a fallback a missing key is an Error. Range: [low, high].
  int64_t integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> fallback = {}) const;
  double number(const char* key, double low, double high, std::optional<double> fallback = {}) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key, const std::string& fallback) const;
  // A list of integers, each in [low, high], at most `limit` long; empty when the key is missing.
  std::vector<int64_t> integers(const char* key, int64_t low, int64_t high, size_t limit) const;
  JsonObject object(const char* key) const;
  const nlohmann::json* find(const char* key) const;  // nullptr when absent or null
  // Throws Error for a key that nothing above was asked for: it would be ignored.
  void refuse_others() const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& require(const char* key) const;
  const nlohmann::json& json_;
  std::string where_;
  mutable std::set<std::string, std::less<>> asked_;
};

}  // namespace dvlm
