// PNG files from strangers, as they come and with lengths and checksums mended; and files that are made of
// the input: a header, chunks, and rows that are deflated, since what bytes do at random ends in zlib.
#include <zlib.h>

#include "pictures.h"

namespace {

using namespace dvlm;

std::string big_endian(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

std::string chunk(std::string_view type, std::string_view content) {
  const std::string summed = std::string(type) + std::string(content);
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(summed.data()), static_cast<uInt>(summed.size()));
  return big_endian(static_cast<uint32_t>(content.size())) + summed + big_endian(static_cast<uint32_t>(sum));
}

std::string deflated(std::string_view rows) {
  std::string out(compressBound(rows.size()), '\0');
  uLongf size = out.size();
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
            rows.size(), 1);
  out.resize(size);
  return out;
}

// The chunks of a file one after the other, each with the length that fits and its checksum.
std::string mended(std::string_view file) {
  std::string out(file.substr(0, 8));
  for (size_t at = 8; at + 12 <= file.size();) {
    uint32_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(file[at + i]);
    length = static_cast<uint32_t>(std::min<size_t>(length, file.size() - at - 12));
    out += chunk(file.substr(at + 4, 4), file.substr(at + 8, length));
    at += length + 12;
  }
  return out;
}

std::string made(fuzz::Input input, std::string_view signature) {
  static constexpr const char* kTypes[] = {"PLTE", "tRNS", "gAMA", "eXIf", "iCCP",
                                           "tEXt", "zTXt", "acTL", "IDAT"};
  std::string header = big_endian(1 + input.below(70)) + big_endian(1 + input.below(70));
  for (int i = 0; i < 5; ++i)
    header += static_cast<char>(i == 0 ? 1 << input.below(6) : input.below(i == 1 ? 8 : 2));
  std::string file = std::string(signature) + chunk("IHDR", header);
  for (uint32_t left = input.below(5); left > 0; --left)
    file += chunk(kTypes[input.below(std::size(kTypes))], input.take(input.below(800)));
  std::string rows(input.rest());
  rows.resize(rows.size() + 256 * (rows.size() % 64));  // zeros: few inputs are as long as their pictures
  const std::string data = deflated(rows);
  return file + chunk("IDAT", data.substr(0, data.size() / 2)) + chunk("IDAT", data.substr(data.size() / 2)) +
         chunk("IEND", "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string signature = "\x89PNG\r\n\x1A\n";
  const std::string file = fuzz::with_signature(fuzz::text_of(data, size), signature);
  fuzz::check_picture(file);
  fuzz::check_picture(mended(file));
  fuzz::check_picture(made(fuzz::Input(data, size), signature));
  return 0;
}
