// Text cut into words, against the regular expression that the tokenizer's file states. Bytes that are no
// UTF-8 become what a tokenizer would see of them.
#include "text/pretokenizer.h"

#include "fuzzing.h"
#include "text/pretoken_pattern.h"
#include "text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  static const test::PretokenPattern pattern;
  const std::string text =
      test::without_new_characters(replace_invalid_utf8(std::string(fuzz::text_of(data, size))));
  for (size_t at = 0, end = 0; at < text.size(); at = end) {
    end = pretoken_end(text, at);
    DVLM_ASSERT(end == pattern.end(text, at) && end > at);
  }
  return 0;
}
