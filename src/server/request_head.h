// Request line and headers, made plain for the HTTP library: it compares exactly what has no case, takes no
// addresses with a host in them, and reads chunks in its own way.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dvlm {

struct RequestHead {
  enum class Body { none, length, chunked };

  // For the library: of all headers those alone that it needs to read the body and to compress the answer,
  // and If-None-Match. Others would lead to parsers of its own (Range and multipart bodies to regular
  // expressions).
  std::string text;
  std::string method;
  bool http_1_0 = false;  // the client knows no chunks
  Body body = Body::none;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case; values as they were sent
  int status = 0;  // other than 0: the request is refused, because of the
  const char* problem = "";

  // The first value of a header, named in lower case; empty when there is none.
  std::string header(std::string_view name) const;
};

// `head` ends with its empty line. What is no request at all is left for the library to refuse. A body of
// more than `most` bytes is refused before the client is told to send it.
RequestHead parse_head(std::string_view head, uint64_t most = UINT64_MAX);

}  // namespace dvlm
