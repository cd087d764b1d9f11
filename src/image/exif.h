// The orientation that cameras note in their files.
#pragma once
#include <cstddef>
#include <span>

#include "image/image.h"

namespace dvlm {

// 1 to 8 as EXIF numbers them, of a JPEG, PNG or WebP file; 1 (upright) without one that can be read.
int exif_orientation(std::span<const std::byte> file);

// The picture as that orientation means it (Pillow's exif_transpose).
Image upright(Image image, int orientation);

}  // namespace dvlm
