// fp16 <-> fp32 by integer arithmetic, exact and branch-free so that compilers vectorise the loops around it.
#pragma once

#include <bit>
#include <cstdint>

// What a GPU computes by the same function.
#if defined(__CUDACC__)
#define ZIYA_EVERYWHERE __host__ __device__
#else
#define ZIYA_EVERYWHERE
#endif

namespace ziya {

constexpr uint16_t half_exponent_mask = 0x7c00;  // all ones: infinity or NaN
constexpr float half_max = 65504.0f;

// Finite halves only: the weights are checked at load, the cache is saturated.
static inline float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000u) << 16;
  const float magnitude = std::bit_cast<float>(uint32_t(half & 0x7fffu) << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

// Round to nearest even; the caller has bounded |value| so that it does not round beyond half_max.
static inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Below the smallest normal, adding 0.5 lines the result's bits up at the bottom of the mantissa, rounded by the FPU.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + odd) >> 13;
  const uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  return uint16_t(result | ((bits >> 16) & 0x8000u));
}

// NaN becomes half_max: one broken sequence must not poison the blocks it leaves behind.
static inline uint16_t float_to_half_saturated(float value) {
  const float low = value < half_max ? value : half_max;
  return float_to_half(low > -half_max ? low : -half_max);
}

}  // namespace ziya
