// What every .cu file includes: CUDA, or the emulator in its place (ZIYA_EMULATOR), and what both lack.
#pragma once

#if defined(ZIYA_EMULATOR)
#include "../emulator/device.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>
#endif

#include "error.h"

// The one way to launch. Blocks may start before the kernel ahead of them has ended: see wait_for_previous_kernel.
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  LAUNCH_CLUSTERS(kernel, 1, grid, block, shared_bytes, stream, __VA_ARGS__)
// The same, of which so many neighbouring blocks run at once and reach each other's shared memory.
#define LAUNCH_CLUSTERS(kernel, cluster, grid, block, shared_bytes, stream, ...) \
  ::ziya::ZIYA_DEVICE::launch_kernel(#kernel, kernel, cluster, grid, block, shared_bytes, stream, __VA_ARGS__)

namespace ziya::ZIYA_DEVICE {

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
__host__ __device__ constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }

#if !defined(ZIYA_EMULATOR)
inline std::atomic<bool> starts_early{true};  // kernels, before the one ahead of them ends
// But those that this thread launches begin when all that they wait for has ended, because some of it may be another device's.
inline thread_local bool waits_for_all = false;
#endif

}  // namespace ziya::ZIYA_DEVICE

#if defined(__CUDACC__) || defined(ZIYA_EMULATOR)
#include "ptx.h"

namespace ziya::ZIYA_DEVICE {

constexpr int warp_size = 32;
constexpr uint32_t all_lanes = 0xffffffffu;

#if !defined(ZIYA_EMULATOR)
inline bool can_start_early() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "the device's properties");
  return major >= 9;
}

// Lets a kernel have so much shared memory. Once for each, because the driver may wait for copies in flight; and with the largest carve-out
// for all, because a kernel whose block needs much may otherwise not begin beside one that was launched with little.
inline void prepare_kernel(const char* name, const void* kernel, size_t shared_bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, size_t> prepared;
  int device = 0;
  check(cudaGetDevice(&device), "the device");
  const std::lock_guard lock(mutex);
  const auto [at, is_new] = prepared.try_emplace({device, kernel}, 0);
  if (is_new)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared), name);
  constexpr size_t shared_bytes_unasked = 48 << 10;
  if (shared_bytes <= std::max(at->second, shared_bytes_unasked)) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)), name);
  at->second = shared_bytes;
}

// Blocks that a multiprocessor has place for at once.
template <class... Parameters>
int resident_blocks(const char* name, void (*kernel)(Parameters...), int threads, size_t shared_bytes) {
  prepare_kernel(name, reinterpret_cast<const void*>(kernel), shared_bytes);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes), name);
  return blocks;
}

template <class... Parameters, class... Arguments>
void launch_kernel(const char* name, void (*kernel)(Parameters...), unsigned cluster, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Arguments... arguments) {
  prepare_kernel(name, reinterpret_cast<const void*>(kernel), shared_bytes);
  static const bool can = can_start_early();
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {cluster, 1, 1};
  }
  if (can && starts_early && !waits_for_all) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}
#endif

// A block's shared memory is one struct, whose size its launcher gives; all of it is dynamic.
template <class T>
__device__ __forceinline__ T& block_shared() {
#if defined(ZIYA_EMULATOR)
  return *reinterpret_cast<T*>(block->shared());
#else
  extern __shared__ __align__(1024) unsigned char arena[];
  return *reinterpret_cast<T*>(arena);
#endif
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value += __shfl_xor_sync(all_lanes, value, mask);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value = fmaxf(value, __shfl_xor_sync(all_lanes, value, mask));
  return value;
}

__device__ __forceinline__ float4 plus(const float4& a, const float4& b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

__device__ __forceinline__ float2 halves_to_floats(uint32_t pair) {
  __half2 halves;
  memcpy(&halves, &pair, sizeof(pair));
  return __half22float2(halves);
}

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + expf(-x)); }

// By the tanh that approximates it: 0.5 x (1 + tanh(u)) is x / (1 + exp(-2 u)), where u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float tanh_gelu(float x) {
  return __fdividef(x, 1.0f + expf(-1.5957691216f * x * fmaf(x * x, 0.044715f, 1.0f)));
}

// x times the normal distribution function, of which erfcf keeps all digits where it is near 0.
__device__ __forceinline__ float exact_gelu(float x) { return 0.5f * x * erfcf(-0.7071067812f * x); }

__device__ __forceinline__ float to_float(half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(float value) { return value; }

__device__ __forceinline__ half to_half_saturated(float value) {
  constexpr float largest = 65504.0f;
#if !defined(NDEBUG)
  if (isnan(value)) return __float2half_rn(value);  // so that a kernel that is wrong shows as what it is
#endif
  return __float2half_rn(fmaxf(fminf(value, largest), -largest));  // NaN becomes the largest
}

__device__ __forceinline__ uint32_t floats_to_halves(float x, float y) {
  const half pair[2] = {to_half_saturated(x), to_half_saturated(y)};
  uint32_t result;
  memcpy(&result, pair, sizeof(result));
  return result;
}

__device__ __forceinline__ half half_of_bits(uint16_t bits) {
  half result;
  memcpy(&result, &bits, sizeof(bits));
  return result;
}

__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(half* to, float value) { *to = to_half_saturated(value); }

// Eight values at an address that is a multiple of 16 bytes.
__device__ __forceinline__ void load8(const half* from, float (&to)[8]) {
  const uint4 words = *reinterpret_cast<const uint4*>(from);
  const float2 a = halves_to_floats(words.x), b = halves_to_floats(words.y);
  const float2 c = halves_to_floats(words.z), d = halves_to_floats(words.w);
  to[0] = a.x, to[1] = a.y, to[2] = b.x, to[3] = b.y, to[4] = c.x, to[5] = c.y, to[6] = d.x, to[7] = d.y;
}
__device__ __forceinline__ void load8(const float* from, float (&to)[8]) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}
__device__ __forceinline__ void store8(half* to, const float (&from)[8]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(floats_to_halves(from[0], from[1]), floats_to_halves(from[2], from[3]),
                                             floats_to_halves(from[4], from[5]), floats_to_halves(from[6], from[7]));
}

}  // namespace ziya::ZIYA_DEVICE
#endif
