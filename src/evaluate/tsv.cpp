#include "evaluate/tsv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "text/python_json.h"

namespace dvlm {

namespace {

constexpr size_t kPiece = size_t{1} << 20, kLongestRow = size_t{256} << 20;
constexpr size_t kKept = 64;  // of a field while rows are found: no name or number is longer

// pandas' default na_values.
bool is_missing(std::string_view value) {
  constexpr std::array<std::string_view, 18> kMissing = {
      "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
      "<NA>", "N/A",      "NA",  "NULL",    "NaN",      "None", "n/a",  "nan",    "null"};
  return value.empty() || std::ranges::find(kMissing, value) != kMissing.end();
}

std::optional<double> float_of(std::string_view value) {
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  if (value.starts_with('+')) value.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> whole_of(std::string_view value) {
  int64_t number = 0;
  if (value.starts_with('+')) value.remove_prefix(1);
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  return error == std::errc() && end == value.data() + value.size() ? std::optional(number) : std::nullopt;
}

// Cuts text that comes in pieces into rows of fields.
class Cutter {
 public:
  struct Row {
    size_t begin = 0, end = 0;  // in the file, line end included
    std::vector<std::string> fields = {};
  };

  // Of each field the first `keep` bytes are kept.
  // The text begins at `position` of the file.
  Cutter(size_t position, size_t keep, std::function<void(Row)> take)
      : keep_(keep), take_(std::move(take)), row_{.begin = position}, position_(position) {}

  void feed(std::string_view text) {
    const char *at = text.data(), *const end = at + text.size();
    while (at != end) {
      if (state_ == State::quoted) {
        const auto* quote = static_cast<const char*>(std::memchr(at, '"', static_cast<size_t>(end - at)));
        const char* to = quote == nullptr ? end : quote;
        append(at, to);
        at = to;
        if (quote != nullptr) ++at, state_ = State::quote_in_quoted;
      } else if (state_ == State::plain) {
        const char* to = at;
        while (to != end && *to != '\t' && *to != '\n' && *to != '\r') ++to;
        append(at, to);
        at = to;
        if (at == end) continue;
        ++at;
        separate(at[-1], position_ + static_cast<size_t>(at - text.data()));
      } else {
        one(*at, position_ + static_cast<size_t>(at - text.data()) + 1);
        ++at;
      }
    }
    position_ += text.size();
  }

  // Throws Error inside quotes.
  void finish() {
    if (state_ == State::quoted) fail("the quote of its last field has no end");
    if (state_ != State::start || !row_.fields.empty() || field_begun_) end_row(position_);
  }

 private:
  enum class State { start, plain, quoted, quote_in_quoted, carriage_return };

  void one(char c, size_t behind) {
    if (state_ == State::carriage_return) {
      state_ = State::start;
      if (c == '\n') {
        row_.begin = behind;
        return;
      }
    }
    if (state_ == State::start && c == '"') {
      state_ = State::quoted, field_begun_ = true;
    } else if (state_ == State::quote_in_quoted && c == '"') {
      state_ = State::quoted;
      append(&c, &c + 1);
    } else if (c == '\t' || c == '\n' || c == '\r') {
      separate(c, behind);
    } else {
      state_ = State::plain, field_begun_ = true;
      append(&c, &c + 1);
    }
  }

  void separate(char c, size_t behind) {
    if (c == '\t') {
      end_field();
      field_begun_ = true;  // a row that ends here has one more
    } else {
      end_row(behind);
      if (c == '\r') state_ = State::carriage_return;
    }
  }

  void append(const char* from, const char* to) {
    if (field_.size() < keep_)
      field_.append(from, std::min<size_t>(static_cast<size_t>(to - from), keep_ - field_.size()));
  }

  void end_field() {
    row_.fields.push_back(std::move(field_));
    field_.clear(), field_begun_ = false, state_ = State::start;
  }

  void end_row(size_t behind) {
    const bool blank = row_.fields.empty() && field_.find_first_not_of(' ') == std::string::npos &&
                       state_ != State::quote_in_quoted;
    end_field();
    row_.end = behind;
    if (!blank) take_(std::move(row_));
    row_ = {.begin = behind};
  }

  const size_t keep_;
  const std::function<void(Row)> take_;
  State state_ = State::start;
  bool field_begun_ = false;
  std::string field_;
  Row row_;
  size_t position_;
};

}  // namespace

std::optional<std::string> TsvRow::find(std::string_view column) const {
  const auto found = columns_.find(column);
  return found == columns_.end() ? std::nullopt : values_[found->second];
}

std::string TsvRow::get(std::string_view column) const {
  std::optional<std::string> value = find(column);
  if (!value) fail("it has no value in the column \"{}\"", column);
  return std::move(*value);
}

TsvFile::TsvFile(const std::filesystem::path& path, const Look& look) : file_(path) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  int64_t found = 0;
  try {
    std::string piece(kPiece, '\0');
    size_t at = file_.read(piece.data(), kByteOrderMark.size(), 0);
    if (std::string_view(piece.data(), at) != kByteOrderMark) at = 0;
    Cutter cutter(at, kKept, [&](Cutter::Row row) {
      found++ == 0 ? take_names(row.fields) : take_row({row.begin, row.end}, std::move(row.fields), look);
    });
    while (const size_t read = file_.read(piece.data(), piece.size(), at)) {
      cutter.feed({piece.data(), read});
      at += read;
    }
    cutter.finish();
  } catch (const Error& error) {
    fail("{}: row {}: {}", path.string(), found, error.what());
  }
  if (rows_.empty()) fail("{} holds no rows under a line of names", path.string());
}

void TsvFile::take_names(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.size() == kKept) fail("the name of a column has {} bytes and more", kKept);
    if (!columns_.emplace(name, columns_.size()).second) fail("two columns are called \"{}\"", name);
  }
  names_ = names;
  types_.resize(names.size());
}

void TsvFile::take_row(Span span, std::vector<std::string> fields, const Look& look) {
  if (span.end - span.begin > kLongestRow)
    fail("it has {} bytes; the most are {}", span.end - span.begin, kLongestRow);
  if (fields.size() > types_.size()) fail("it has {} values for {} columns", fields.size(), types_.size());
  std::vector<std::optional<std::string>> values(types_.size());
  for (size_t i = 0; i < types_.size(); ++i) {
    Type& type = types_[i];
    if (i >= fields.size() || is_missing(fields[i])) {
      type.missing = true;
      continue;
    }
    if (type.numbers) {
      type.numbers = float_of(fields[i]).has_value();
      type.whole = type.whole && whole_of(fields[i]);
    }
    values[i] = std::move(fields[i]);
  }
  rows_.push_back(span);
  if (look) look({columns_, std::move(values)});
}

TsvRow TsvFile::row(int64_t i) const {
  const Span span = rows_[static_cast<size_t>(i)];
  std::string text(span.end - span.begin, '\0');
  if (file_.read(text.data(), text.size(), span.begin) < text.size())
    fail("{} has become shorter while it was read", path().string());
  std::vector<std::optional<std::string>> values(types_.size());
  Cutter cutter(0, std::string::npos, [&](Cutter::Row row) {
    for (size_t c = 0; c < row.fields.size() && c < values.size(); ++c)
      if (!is_missing(row.fields[c])) values[c] = std::move(row.fields[c]);
  });
  cutter.feed(text);
  cutter.finish();
  for (size_t c = 0; c < values.size(); ++c) {
    if (!values[c] || !types_[c].numbers) continue;
    if (types_[c].whole && !types_[c].missing)
      values[c] = std::to_string(whole_of(*values[c]).value_or(0));
    else
      values[c] = python_float(float_of(*values[c]).value_or(0));
  }
  return {columns_, std::move(values)};
}

}  // namespace dvlm
