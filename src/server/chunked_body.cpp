#include "server/chunked_body.h"

#include <algorithm>
#include <charconv>

#include "core/ascii.h"

namespace dvlm {

namespace {

constexpr size_t kLongestLine = 4096;
constexpr size_t kMaxTrailers = size_t{64} << 10;
constexpr size_t kPiece = size_t{16} << 10;

}  // namespace

bool ChunkedBody::fill(const Read& read) {
  const size_t before = held_.size();
  held_.resize(before + kPiece);
  const ssize_t got = read(held_.data() + before, kPiece);
  held_.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return got > 0;
}

bool ChunkedBody::take_line(std::string& line, const Read& read) {
  size_t end = 0;
  while ((end = held_.find("\r\n")) == std::string::npos)
    if (held_.size() > kLongestLine || !fill(read)) return false;
  line = held_.substr(0, end);
  held_.erase(0, end + 2);
  return line.size() <= kLongestLine;
}

// "1a3" or "1a3; extension".
void ChunkedBody::begin_chunk(std::string_view line) {
  constexpr size_t kMaxDigits = 15;
  const std::string_view digits = trim(line.substr(0, line.find(';')));
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, left_, 16);
  const bool number = error == std::errc() && stop == end && digits.size() <= kMaxDigits;
  state_ = !number ? State::broken : left_ > 0 ? State::data : State::trailers;
}

// One line that is not data.
void ChunkedBody::step(const Read& read) {
  std::string line;
  if (!take_line(line, read)) {
    state_ = State::broken;
  } else if (state_ == State::size) {
    begin_chunk(line);
  } else if (state_ == State::end_of_data) {
    state_ = line.empty() ? State::size : State::broken;
  } else {
    trailers_ += line.size() + 2;
    if (line.empty()) state_ = State::done;
    if (trailers_ > kMaxTrailers) state_ = State::broken;
  }
}

ssize_t ChunkedBody::take_data(char* to, size_t size, const Read& read) {
  if (held_.empty() && !fill(read)) {
    state_ = State::broken;
    return -1;
  }
  const size_t count = held_.copy(to, std::min(size, left_));
  held_.erase(0, count);
  left_ -= count;
  if (left_ == 0) state_ = State::end_of_data;
  return static_cast<ssize_t>(count);
}

ssize_t ChunkedBody::read(char* to, size_t size, const Read& read) {
  while (state_ != State::data && state_ != State::done && state_ != State::broken) step(read);
  if (state_ == State::data) return take_data(to, size, read);
  return state_ == State::done ? 0 : -1;
}

}  // namespace dvlm
