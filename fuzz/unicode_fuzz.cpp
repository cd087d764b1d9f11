// Text in pieces against text as a whole, and normalisation against utf8proc's for characters of which all
// versions of Unicode say the same.
#include "text/unicode.h"

#include <utf8proc.h>

#include "fuzzing.h"

namespace {

using namespace dvlm;

// As a stream prints what arrives: whole characters at once, the rest in the end.
std::string streamed(fuzz::Input pieces, std::string_view text) {
  std::string out, held;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, 1 + pieces.below(7));
    text.remove_prefix(piece.size());
    held += piece;
    const size_t ready = complete_utf8_prefix(held);
    DVLM_ASSERT(held.size() - ready < 4);
    out += replace_invalid_utf8(held.substr(0, ready));
    held.erase(0, ready);
  }
  return out + replace_invalid_utf8(held);
}

bool is_old(std::string_view text) {
  for (size_t at = 0, length = 0; at < text.size(); at += length)
    if (decode_valid_utf8(text, at, length) >= 0x7F0) return false;
  return true;
}

std::string reference_nfc(std::string_view text) {
  utf8proc_uint8_t* out = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  DVLM_ASSERT(length >= 0);
  std::string composed(reinterpret_cast<const char*>(out), static_cast<size_t>(length));
  std::free(out);
  return composed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const std::string valid = replace_invalid_utf8(text);
  DVLM_ASSERT(is_valid_utf8(valid) && replace_invalid_utf8(valid) == valid);
  DVLM_ASSERT(is_valid_utf8(text) == (valid == text));
  DVLM_ASSERT(streamed(fuzz::Input(data, size), text) == valid);
  if (const std::string shown = printable(text); !shown.empty()) fuzz::check_sentence(shown);
  std::string storage, again;
  const std::string composed(to_nfc(valid, storage));
  DVLM_ASSERT(is_valid_utf8(composed) && to_nfc(composed, again) == composed);
  if (is_old(valid)) DVLM_ASSERT(composed == reference_nfc(valid));
  return 0;
}
