// A body that comes in chunks (RFC 9112, 7.1), trailers included, which are dropped.
#pragma once
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

namespace dvlm {

class ChunkedBody {
 public:
  // As recv: 0 is the end, negative a failure.
  using Read = std::function<ssize_t(char* to, size_t size)>;

  // 0: all of it is read. Negative: `read` failed or ended too early, or what it gives are no chunks.
  ssize_t read(char* to, size_t size, const Read& read);

 private:
  enum class State { size, data, end_of_data, trailers, done, broken };

  bool fill(const Read& read);
  bool take_line(std::string& line, const Read& read);
  void begin_chunk(std::string_view line);
  void step(const Read& read);
  ssize_t take_data(char* to, size_t size, const Read& read);

  State state_ = State::size;
  std::string held_;     // received, not yet used
  size_t left_ = 0;      // of this chunk
  size_t trailers_ = 0;  // bytes
};

}  // namespace dvlm
