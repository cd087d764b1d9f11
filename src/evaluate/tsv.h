// VLMEvalKit's data files: tab-separated rows under a line of names, read as pandas.read_csv reads them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace dvlm {

// The values of one row, by column.
class TsvRow {
 public:
  TsvRow(const std::map<std::string, size_t, std::less<>>& columns,
         std::vector<std::optional<std::string>> values)
      : columns_(columns), values_(std::move(values)) {}

  // None where the row or the file has no such value. What pandas takes for missing is: "", "NA", "None", ...
  std::optional<std::string> find(std::string_view column) const;
  // Throws Error where there is none.
  std::string get(std::string_view column) const;

 private:
  const std::map<std::string, size_t, std::less<>>& columns_;
  std::vector<std::optional<std::string>> values_;
};

// Rows stay in the file until they are asked for, pictures included: it may be larger than memory.
class TsvFile {
 public:
  // Called for each row with its beginnings: of each value the first 64 bytes.
  using Look = std::function<void(const TsvRow& beginnings)>;

  // Finds the rows. Fields in quotes may hold tabs and lines; two quotes in them are one. Throws Error naming
  // the file and the row: more values than columns, a quote without its end, no rows.
  explicit TsvFile(const std::filesystem::path& path, const Look& look = {});

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  const std::vector<std::string>& columns() const { return names_; }

  // A column whose values are all numbers was read as numbers: 4 among missing ones is "4.0", 1.50 is "1.5".
  TsvRow row(int64_t i) const;

 private:
  // What all values of a column are so far.
  struct Type {
    bool numbers = true, whole = true, missing = false;
  };
  struct Span {
    size_t begin = 0, end = 0;
  };
  void take_names(const std::vector<std::string>& names);
  void take_row(Span span, std::vector<std::string> fields, const Look& look);

  InputFile file_;
  std::map<std::string, size_t, std::less<>> columns_;
  std::vector<std::string> names_;
  std::vector<Type> types_;
  std::vector<Span> rows_;
};

}  // namespace dvlm
