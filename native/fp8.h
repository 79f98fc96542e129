// E4M3, the fp8 of weights and of the KV cache: a sign, 4 bits of exponent and 3 of mantissa; 448 is the largest, and there is no infinity. Every
// code's value is exact in fp16. A row of weights is codes and one fp32 scale: weight = code * scale, so that a product multiplies the codes as it
// does fp16 weights and the scale once, at its end. A head of a cached key or value is codes and a scale that is a power of two, so that all of
// its values are exact in fp16, too, and whoever multiplies by it, before a sum or after it, has the same bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "half.h"

namespace ziya {

constexpr float fp8_max = 448.0f;

// fp16 has the code's bits at the same place, and an exponent whose bias is larger by 8: so its bits as they are say a 256th of the value.
constexpr float fp8_as_half_scale = 256.0f;
ZIYA_EVERYWHERE static inline uint16_t fp8_as_half(uint8_t code) { return uint16_t((code & 0x80u) << 8 | (code & 0x7fu) << 7); }

// std::bit_cast, which is not for a GPU.
ZIYA_EVERYWHERE static inline uint32_t bits_of(float value) { return __builtin_bit_cast(uint32_t, value); }
ZIYA_EVERYWHERE static inline float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// Rounds to the nearest, ties to even; what is beyond fp8_max becomes that. Branch-free, as half.h is. Not for NaN.
ZIYA_EVERYWHERE static inline uint8_t float_to_fp8(float value) {
  const uint32_t sign = bits_of(value) >> 24 & 0x80u;
  const float unbounded = float_of(bits_of(value) & 0x7fffffffu);
  const float magnitude = unbounded < fp8_max ? unbounded : fp8_max;
  const uint32_t bits = bits_of(magnitude);
  // Below the smallest normal, adding 2^14 lines the result's bits up at the bottom of the mantissa, rounded by the FPU.
  const uint32_t subnormal = bits_of(magnitude + 0x1p14f) - bits_of(0x1p14f);
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

// The largest number of both fp16 and E4M3 times 2^8. NaN becomes that, too, as in fp16: see half.h.
constexpr float cached_max = 61440.0f;
ZIYA_EVERYWHERE static inline float cached_magnitude(float value) {
  const float magnitude = float_of(bits_of(value) & 0x7fffffffu);
  return magnitude < cached_max ? magnitude : cached_max;
}

// The scale of a head whose largest magnitude is this, as a half: the smallest power of two, of those from 2^-14 on, of which fp8_max times are no
// less. With 2^-14 the smallest code is 2^-23, which fp16 has as well.
ZIYA_EVERYWHERE static inline uint16_t cached_scale(float largest) {
  const uint32_t exponent = (bits_of(largest) + 0x1fffffu) >> 23;  // a mantissa beyond that of fp8_max, 1.75, carries
  return uint16_t((exponent > 121 ? exponent - 120 : 1) << 10);
}

ZIYA_EVERYWHERE static inline uint8_t cached_code(float value, uint16_t scale) {
  const float inverse = float_of((142u - (scale >> 10)) << 23);
  return uint8_t((bits_of(value) >> 24 & 0x80u) | float_to_fp8(cached_magnitude(value) * inverse));
}

}  // namespace ziya
