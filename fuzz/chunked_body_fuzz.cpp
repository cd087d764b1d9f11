// A body in chunks from anywhere: the same bytes however they arrive and are asked for; and a body that is
// cut into chunks as the input says comes back whole.
#include "server/chunked_body.h"

#include <cstring>
#include <optional>

#include "fuzzing.h"

namespace {

using namespace dvlm;

// The body, or nothing for what are no chunks. `step`: how many bytes arrive and are asked for at once.
std::optional<std::string> body_of(std::string_view sent, size_t step) {
  ChunkedBody body;
  const auto receive = [&](char* to, size_t size) {
    const size_t count = std::min({size, step, sent.size()});
    std::memcpy(to, sent.data(), count);
    sent.remove_prefix(count);
    return static_cast<ssize_t>(count);
  };
  std::string out;
  char piece[64];
  for (ssize_t got; (got = body.read(piece, std::min(step, sizeof piece), receive)) != 0;) {
    if (got < 0) {
      DVLM_ASSERT(body.read(piece, sizeof piece, receive) < 0);
      return {};
    }
    DVLM_ASSERT(got <= static_cast<ssize_t>(sizeof piece));
    out.append(piece, static_cast<size_t>(got));
  }
  DVLM_ASSERT(body.read(piece, sizeof piece, receive) == 0);
  return out;
}

std::string chunks_of(fuzz::Input input, std::string& body) {
  std::string out;
  const bool trailers = input.below(2) == 1;
  while (!input.empty()) {
    const uint32_t style = input.below(4);
    const std::string_view chunk = input.take(1 + input.below(40));
    if (chunk.empty()) break;
    body += chunk;
    out += fmt::format("{}{:x}{}\r\n", style & 1 ? "00" : "", chunk.size(), style & 2 ? ";a=\"b\"" : "");
    out.append(chunk).append("\r\n");
  }
  return out + (trailers ? "0\r\nDigest: x\r\n\r\n" : "0\r\n\r\n");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const auto whole = body_of(text, size + 1);
  DVLM_ASSERT(body_of(text, 1) == whole && body_of(text, 7) == whole);
  if (whole) DVLM_ASSERT(whole->size() <= size);
  std::string body;
  const std::string chunks = chunks_of(fuzz::Input(data, size), body);
  DVLM_ASSERT(body_of(chunks, 5) == body);
  DVLM_ASSERT(!body_of(std::string_view(chunks).substr(0, chunks.size() - 1), 64));
  return 0;
}
