// What the kernels of linear() on NEON share. Not for other rooms.
#pragma once
#include "kernels/linear_tiles.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <hwy/base.h>

// A file says what its processors have before it includes this.
#define DVLM_PUSH_NEON HWY_PUSH_ATTRIBUTES(DVLM_NEON_FEATURES)

DVLM_PUSH_NEON
namespace dvlm {
namespace {

constexpr int kLanes = 4, kVectors = kPanel / kLanes;

// The sums of a row and a panel become y: scales, bias, y itself; outputs that exist.
template <class Sum>
void finish_row(const LinearJob& job, int row, int panel, const Sum& sum_of) {
  const int output = panel * kPanel, outputs = std::min(kPanel, job.w->outputs() - output);
  alignas(16) float sums[kPanel];
  for (int v = 0; v < kVectors; ++v) {
    float32x4_t sum =
        vmulq_f32(vmulq_n_f32(sum_of(v), job.scales[row]), vld1q_f32(job.w->scales() + output + v * kLanes));
    if (job.w->bias()) sum = vaddq_f32(sum, vld1q_f32(job.w->bias() + output + v * kLanes));
    vst1q_f32(sums + v * kLanes, sum);
  }
  float* y = job.y.row(row) + output;
  for (int n = 0; n < outputs; ++n) y[n] = job.mode == LinearMode::add ? y[n] + sums[n] : sums[n];
}

// The scales of vector v of a panel, from the f16 line of int4.
inline float32x4_t group_scales(const std::byte* line, int v) {
  const auto halves = vld1_u16(reinterpret_cast<const uint16_t*>(line) + v * kLanes);
  return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// The zero points of a group, [32].
inline void spread_zero_points(const std::byte* line, int32_t* words) {
  const uint8x16_t halves = vld1q_u8(reinterpret_cast<const uint8_t*>(line));
  for (const uint8x16_t bytes : {vandq_u8(halves, vdupq_n_u8(15)), vshrq_n_u8(halves, 4)}) {
    for (const uint16x8_t wide : {vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes))}) {
      vst1q_s32(words, vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))));
      vst1q_s32(words + kLanes, vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(wide))));
      words += 2 * kLanes;
    }
  }
}

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
