// WebP by libwebp: lossy, lossless, alpha; of an animation the first frame.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
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

std::vector<uint8_t> decode_rgba(Bytes file, WebPDecoderConfig& config, int width, int height,
                                 const std::string& name) {
  std::vector<uint8_t> rgba(size_t{4} * static_cast<size_t>(width) * static_cast<size_t>(height));
  decode_into(file, config, MODE_RGBA, rgba.data(), rgba.size(), width * 4, name);
  return rgba;
}

void paste_pixels(std::vector<uint8_t>& rgba, bool alpha, uint8_t* rgb) {
  for (size_t i = 0; i < rgba.size(); i += 4, rgb += 3) {
    if (!alpha) rgba[i + 3] = 255;
    paste_on_white(&rgba[i], rgb);
  }
}

struct DemuxerCloser {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

// The first frame on its canvas. Only the frame is decoded: the canvases of libwebp's own decoder of
// animations would cost a small file with a large canvas many times the picture's memory.
void decode_first_frame(Bytes file, WebPDecoderConfig& config, Image& image, const std::string& name) {
  const bool alpha = config.input.has_alpha;
  const WebPData data = {octets(file), file.size()};
  const std::unique_ptr<WebPDemuxer, DemuxerCloser> demuxer(WebPDemux(&data));
  WebPIterator frame = {};
  const bool found = demuxer && WebPDemuxGetFrame(demuxer.get(), 1, &frame) && frame.complete;
  WebPDemuxReleaseIterator(&frame);  // the bytes that it names are the file's
  if (!found)
    fail("{}: broken WebP file: its first frame cannot be read; the file is cut off or damaged", name);
  const int left = frame.x_offset, top = frame.y_offset, width = frame.width, height = frame.height;
  if (left < 0 || top < 0 || width < 1 || height < 1 || width > image.width - left ||
      height > image.height - top)
    fail("{}: broken WebP file: its first frame lies outside the picture", name);
  const Bytes pixels = std::as_bytes(std::span(frame.fragment.bytes, frame.fragment.size));
  std::vector<uint8_t> rgba = decode_rgba(pixels, config, width, height, name);
  const auto columns = static_cast<size_t>(width);
  std::vector<uint8_t> rgb(rgba.size() / 4 * 3);
  paste_pixels(rgba, alpha, rgb.data());
  if (alpha) std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{255});
  for (int y = 0; y < height; ++y) {
    const size_t at =
        static_cast<size_t>(top + y) * static_cast<size_t>(image.width) + static_cast<size_t>(left);
    std::copy_n(&rgb[3 * columns * static_cast<size_t>(y)], 3 * columns, &image.pixels[3 * at]);
  }
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
  Image image = make_image(width, height);
  if (config.input.has_animation) {
    decode_first_frame(file, config, image, name);
  } else if (config.input.has_alpha) {
    std::vector<uint8_t> rgba = decode_rgba(file, config, width, height, name);
    paste_pixels(rgba, true, image.pixels.data());
  } else {
    decode_into(file, config, MODE_RGB, image.pixels.data(), image.pixels.size(), width * 3, name);
  }
  return image;
}

}  // namespace dvlm::formats
