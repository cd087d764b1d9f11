// Stop strings in text that arrives in pieces, against the same in the text as a whole. Lines of the input
// are stop strings up to an empty one; behind it stands the text.
#include "engine/stop_strings.h"

#include "fuzzing.h"

namespace {

using namespace dvlm;

// Where the text ends: it is read character by character until one of the stop strings stands at its end.
size_t first_stop(std::string_view text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops)
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    if (longest > 0) return end - longest;
  }
  return text.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMost = 16;
  fuzz::Input input(data, size), sizes(data, size);
  std::vector<std::string> stops;
  for (std::string_view line; stops.size() < kMost && !(line = input.line()).empty();)
    stops.emplace_back(line);
  const std::string_view text = input.rest();
  StopStrings filter(stops);
  std::string out;
  size_t longest = 1;
  for (const std::string& stop : stops) longest = std::max(longest, stop.size());
  for (size_t at = 0, count = 0; at < text.size() && !filter.found(); at += count) {
    count = std::min<size_t>(1 + sizes.below(9), text.size() - at);
    out += filter.push(text.substr(at, count));
    DVLM_ASSERT(filter.found() ||
                out.size() + longest > at + count);  // no more is held back than may become one
  }
  const bool found = filter.found();
  const size_t first = first_stop(text, stops);
  if (!found) out += filter.finish();
  DVLM_ASSERT(found == (first != text.npos));
  DVLM_ASSERT(out == text.substr(0, first));
  if (found) DVLM_ASSERT(filter.push(text).empty());
  return 0;
}
