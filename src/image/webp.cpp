// WebP by libwebp: lossy, lossless, alpha; of an animation the first frame.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>
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

struct AnimationCloser {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

// The first frame on its canvas, RGBA.
std::vector<uint8_t> first_frame(Bytes file, size_t pixels, const std::string& name) {
  const WebPData data = {octets(file), file.size()};
  const std::unique_ptr<WebPAnimDecoder, AnimationCloser> decoder(WebPAnimDecoderNew(&data, nullptr));
  WebPAnimInfo info;
  uint8_t* frame = nullptr;
  int shown_at = 0;
  if (!decoder || !WebPAnimDecoderGetInfo(decoder.get(), &info) ||
      size_t{info.canvas_width} * info.canvas_height != pixels ||
      !WebPAnimDecoderGetNext(decoder.get(), &frame, &shown_at))
    fail("{}: broken WebP file: its first frame cannot be read; the file is cut off or damaged", name);
  return {frame, frame + 4 * pixels};
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
  const size_t pixels = static_cast<size_t>(width) * static_cast<size_t>(height);
  Image image = make_image(width, height);
  if (!config.input.has_animation && !config.input.has_alpha) {
    decode_into(file, config, MODE_RGB, image.pixels.data(), image.pixels.size(), width * 3, name);
    return image;
  }
  std::vector<uint8_t> rgba;
  if (config.input.has_animation) {
    rgba = first_frame(file, pixels, name);
  } else {
    rgba.resize(4 * pixels);
    decode_into(file, config, MODE_RGBA, rgba.data(), rgba.size(), width * 4, name);
  }
  for (size_t i = 0; i < pixels; ++i) {
    if (!config.input.has_alpha) rgba[4 * i + 3] = 255;
    paste_on_white(&rgba[4 * i], &image.pixels[3 * i]);
  }
  return image;
}

}  // namespace dvlm::formats
