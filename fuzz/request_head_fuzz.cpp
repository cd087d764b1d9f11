// The head of an HTTP request from anywhere: what the HTTP library is given is one request line and those
// headers alone that it needs, each once, and frames one body.
#include "server/request_head.h"

#include "core/ascii.h"
#include "fuzzing.h"

namespace {

using namespace dvlm;

constexpr uint64_t kMost = uint64_t{1} << 20;

void check_text(const RequestHead& head) {
  const std::string& text = head.text;
  DVLM_ASSERT(text.ends_with("\r\n\r\n") && text.find("\r\n\r\n") == text.size() - 4);
  std::set<std::string> names;
  for (size_t at = text.find("\r\n") + 2, end; (end = text.find("\r\n", at)) != at; at = end + 2) {
    const std::string line = text.substr(at, end - at), name = line.substr(0, line.find(": "));
    // The library ends lines at a line feed alone, too.
    DVLM_ASSERT(line.find_first_of(std::string_view("\r\n\0", 3)) == line.npos && names.insert(name).second);
  }
  for (const std::string& name : names)
    DVLM_ASSERT(name == "Content-Length" || name == "Content-Encoding" || name == "Accept-Encoding" ||
                name == "If-None-Match" || name == "Expect");
  const std::string line = text.substr(0, text.find("\r\n"));
  DVLM_ASSERT(line.find_first_of(std::string_view("\r\n\0", 3)) == line.npos);
  DVLM_ASSERT((head.body == RequestHead::Body::length) == names.contains("Content-Length"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const size_t end = text.find("\r\n\r\n");  // as a connection finds it
  const std::string whole = std::string(text.substr(0, end)) + "\r\n\r\n";
  const RequestHead head = parse_head(whole, kMost);
  for (const auto& [name, value] : head.headers)
    DVLM_ASSERT(!name.empty() && name == lower(name) && head.header(name).size() <= whole.size());
  check_text(head);
  if (head.status != 0) {
    fuzz::check_sentence(head.problem);
    DVLM_ASSERT(head.status >= 400 && head.status < 600 && head.body == RequestHead::Body::none);
    return 0;
  }
  if (head.body == RequestHead::Body::length) {
    const std::string_view name = "\r\nContent-Length: ";
    DVLM_ASSERT(std::stoull(head.text.substr(head.text.find(name) + name.size())) <= kMost);
  }
  // The library is not told of chunks: they are taken out of the body on its way there.
  const RequestHead again = parse_head(head.text, kMost);
  DVLM_ASSERT(again.status == 0 && again.method == head.method && again.body != RequestHead::Body::chunked);
  return 0;
}
