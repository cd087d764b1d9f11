// Pixels as cameras and programs hold them.
#pragma once
#include <cstdint>
#include <string>

#include "image/image.h"

namespace dvlm {

// 8 bits per channel. nv12: a plane of luma, then one of half its height and width with U and V in turn.
enum class PixelFormat : uint8_t { rgb, bgr, rgba, bgra, gray, nv12 };

struct PixelFrame {
  const uint8_t* data = nullptr;    // the top row
  const uint8_t* chroma = nullptr;  // nv12: its second plane; null: right behind the last row of the first
  int64_t stride = 0;               // bytes from a row to the next, in both planes; 0: no gaps
  int width = 0, height = 0;
  PixelFormat format = PixelFormat::rgb;
};

// Alpha is pasted on white, as that of picture files. nv12 is BT.601 in its narrow range (16 to 235), each
// chroma sample for its four pixels. Throws Error, which begins with `name`, for sizes beyond the limits,
// strides that are too short, no data, and odd sides of nv12.
Image image_of(const PixelFrame& frame, const std::string& name, const DecodeLimits& limits = {});

}  // namespace dvlm
