// E4M3, the fp8 of weights: a sign, 4 bits of exponent and 3 of mantissa; 448 is the largest, and there is no infinity. A row of weights is
// codes and one fp32 scale: weight = code * scale. Every code's value is exact in fp16, so that a product multiplies it as it does fp16 weights
// and the scale once, at its end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "half.h"

namespace ziya {

constexpr float fp8_max = 448.0f;

// fp16 has the code's bits at the same place, and an exponent whose bias is larger by 8: so its bits as they are say a 256th of the value.
constexpr float fp8_as_half_scale = 256.0f;
static inline uint16_t fp8_as_half(uint8_t code) { return uint16_t((code & 0x80u) << 8 | (code & 0x7fu) << 7); }

// Rounds to the nearest, ties to even; what is beyond fp8_max becomes that. Branch-free, as half.h is. Not for NaN.
static inline uint8_t float_to_fp8(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 24 & 0x80u;
  const float magnitude = std::min(std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0x7fffffffu), fp8_max);
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  // Below the smallest normal, adding 2^14 lines the result's bits up at the bottom of the mantissa, rounded by the FPU.
  const uint32_t subnormal = std::bit_cast<uint32_t>(magnitude + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f);
  const uint32_t odd = bits >> 20 & 1u;
  const uint32_t normal = (bits - (120u << 23) + 0x7ffffu + odd) >> 20;
  return uint8_t(sign | (magnitude < 0x1p-6f ? subnormal : normal));
}

// Of a row of finite halves.
static inline float row_scale(const uint16_t* fp16, int count) {
  uint16_t largest = 0;
  for (int i = 0; i < count; i++) largest = std::max<uint16_t>(largest, fp16[i] & 0x7fff);
  return largest == 0 ? 1.0f : half_to_float(largest) / fp8_max;
}

// Writes the codes of a row or a piece of one, which may lie where the halves do.
static inline void quantize(const uint16_t* fp16, int count, float scale, uint8_t* codes) {
  constexpr int at_once = 256;
  uint8_t converted[at_once];
  for (int begin = 0; begin < count; begin += at_once) {
    const int columns = std::min(at_once, count - begin);
    for (int i = 0; i < columns; i++) converted[i] = float_to_fp8(half_to_float(fp16[begin + i]) / scale);
    std::copy_n(converted, columns, codes + begin);
  }
}

}  // namespace ziya
