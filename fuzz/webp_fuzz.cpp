// WebP files from strangers. The lengths of the file and of its chunks are mended every second time.
#include "pictures.h"

namespace {

void put_length(std::string& file, size_t at, size_t value) {
  for (size_t i = 0; i < 4; ++i) file[at + i] = static_cast<char>(value >> 8 * i);
}

// Each chunk goes to the next text in capitals that is one of WebP's, or to the end.
void mend_lengths(std::string& file) {
  if (file.size() < 20) return;
  put_length(file, 4, file.size() - 8);
  for (size_t at = 12, next; at + 8 <= file.size(); at = next) {
    next = file.size();
    for (const char* name : {"VP8 ", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF", "EXIF", "ICCP", "XMP "})
      next = std::min(next, file.find(name, at + 8));
    put_length(file, at + 4, next - at - 8);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm::fuzz;
  std::string file = with_signature(text_of(data, size), "RIFF");
  if (file.size() >= 12) file.replace(8, 4, "WEBP");
  check_picture(file);
  mend_lengths(file);
  check_picture(file);
  return 0;
}
