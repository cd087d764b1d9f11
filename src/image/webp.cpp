// WebP by libwebp: lossy, lossless, alpha.
#include <webp/decode.h>

#include <string_view>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

std::string_view reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return "the file is cut off";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses a feature that libwebp does not know";
    default:
      return "its data is not valid";
  }
}

void decode_into(Bytes file, WebPDecoderConfig& config, WEBP_CSP_MODE mode, uint8_t* out, size_t size,
                 int stride, const std::string& name) {
  config.output.colorspace = mode;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {out, stride, size};
  const VP8StatusCode status = WebPDecode(octets(file), file.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) fail("{}: broken WebP file: {}", name, reason(status));
}

}  // namespace

Image decode_webp(Bytes file, const std::string& name, const DecodeLimits& limits) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    fail("{}: the installed libwebp does not fit this build of dvlm", name);
  const VP8StatusCode status = WebPGetFeatures(octets(file), file.size(), &config.input);
  if (status != VP8_STATUS_OK) fail("{}: broken WebP file: {}", name, reason(status));
  const int width = config.input.width, height = config.input.height;
  check_size(width, height, name, limits);
  if (config.input.has_animation)
    fail("{}: animated WebP files are not read; save one frame of it as a still picture", name);
  Image image = make_image(width, height);
  if (!config.input.has_alpha) {
    decode_into(file, config, MODE_RGB, image.pixels.data(), image.pixels.size(), width * 3, name);
    return image;
  }
  std::vector<uint8_t> rgba(static_cast<size_t>(width) * height * 4);
  decode_into(file, config, MODE_RGBA, rgba.data(), rgba.size(), width * 4, name);
  for (size_t i = 0; i < static_cast<size_t>(width) * height; ++i)
    paste_on_white(&rgba[4 * i], &image.pixels[3 * i]);
  return image;
}

}  // namespace dvlm::formats
