// What a .cu file finds under the emulator in place of CUDA's own headers: attributes, built-in variables, vector and half
// types, warp collectives, atomics, mathematics. Only what the kernels use.
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../../half.h"
#include "execution.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)
#define __syncthreads() ::ziya::emulator::block->block_barrier(__LINE__)
#define threadIdx (::ziya::emulator::block->current().index)
#define blockIdx (::ziya::emulator::block->index())
#define blockDim (::ziya::emulator::block->size())
#define gridDim (::ziya::emulator::block->grid())

namespace ziya::emulator {

struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) int2 { int32_t x, y; };

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

struct __half { uint16_t bits; };
struct alignas(4) __half2 { __half x, y; };
using half = __half;
using half2 = __half2;

inline float __half2float(__half h) {
  if ((h.bits & half_exponent_mask) != half_exponent_mask) return half_to_float(h.bits);
  return std::bit_cast<float>(uint32_t(h.bits & 0x8000u) << 16 | 0x7f800000u | uint32_t(h.bits & 0x3ffu) << 13);
}

inline __half __float2half_rn(float f) {
  constexpr float rounds_to_infinity = 65520.0f;
  if (std::fabs(f) < rounds_to_infinity) return {float_to_half(f)};
  const uint16_t sign = uint16_t(std::signbit(f)) << 15;
  return {uint16_t(sign | half_exponent_mask | (std::isnan(f) ? 0x200 : 0))};
}

inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }

inline void __syncwarp() { block->warp_barrier("__syncwarp"); }

template <class T>
T __shfl_sync(uint32_t, T value, int lane) {
  return block->exchange(value, "__shfl_sync")[lane & 31];
}
template <class T>
T __shfl_xor_sync(uint32_t, T value, int mask) {
  const int lane = block->current().lane();
  return block->exchange(value, "__shfl_xor_sync")[lane ^ mask];
}
template <class T>
T __shfl_up_sync(uint32_t, T value, int delta) {
  const int lane = block->current().lane();
  return block->exchange(value, "__shfl_up_sync")[lane >= delta ? lane - delta : lane];
}
inline uint32_t __ballot_sync(uint32_t, bool predicate) {
  const bool* lanes = block->exchange(predicate, "__ballot_sync");
  uint32_t result = 0;
  for (int lane = 0; lane < warp_threads; lane++) result |= uint32_t(lanes[lane]) << lane;
  return result;
}

// A block that counts itself in memory of the device says that what it wrote is there.
inline int atomicAdd(int* at, int value) {
  block->use_publication(at);
  return std::atomic_ref(*at).fetch_add(value);
}
inline uint32_t atomicAdd(uint32_t* at, uint32_t value) { return std::atomic_ref(*at).fetch_add(value); }
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long value) {
  return std::atomic_ref(*at).fetch_add(value);
}
inline int atomicOr(int* at, int value) { return std::atomic_ref(*at).fetch_or(value); }
inline void __threadfence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  block->publish();
}

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}

using std::fmaf;
using std::fmaxf;
using std::fminf;
using std::isfinite;
using std::max;
using std::min;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float exp2f(float x) { return std::exp2(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
// Four of the eight bytes of low and high, the lowest digit of the selector saying the lowest.
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) result |= uint32_t((uint64_t(high) << 32 | low) >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }

}  // namespace ziya::emulator
