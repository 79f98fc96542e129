// Sums and extremes over a block, the same on every run: lanes first, then warps, always in one order.
#pragma once

#include "device.h"

namespace ziya::ZIYA_DEVICE {

template <int threads, class T>
struct BlockReduce {
  static constexpr int warps = threads / warp_size;
  static_assert(threads % warp_size == 0 && warps <= warp_size);
  T of_warps[warps];

  // Every thread of the block calls, and gets the result. `combine` must not depend on the order of its two arguments.
  template <class Combine>
  __device__ T reduce(T value, const Combine& combine) {
#pragma unroll
    for (int mask = warp_size / 2; mask > 0; mask /= 2) value = combine(value, __shfl_xor_sync(all_lanes, value, mask));
    __syncthreads();  // the last result has been read
    if (threadIdx.x % warp_size == 0) of_warps[threadIdx.x / warp_size] = value;
    __syncthreads();
    T result = of_warps[0];
    for (int warp = 1; warp < warps; warp++) result = combine(result, of_warps[warp]);
    return result;
  }

  __device__ T sum(T value) {
    return reduce(value, [](T a, T b) { return a + b; });
  }
  __device__ T largest(T value) {
    return reduce(value, [](T a, T b) { return a > b ? a : b; });
  }
  // The sum of all values of threads before this one.
  __device__ T exclusive_sum(T value) {
    const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
    T inclusive = value;
    for (int delta = 1; delta < warp_size; delta *= 2) {
      const T before = __shfl_up_sync(all_lanes, inclusive, delta);
      if (lane >= delta) inclusive = before + inclusive;
    }
    __syncthreads();
    if (lane == warp_size - 1) of_warps[warp] = inclusive;
    __syncthreads();
    T result = 0;
    for (int w = 0; w < warp; w++) result += of_warps[w];
    const T before = __shfl_up_sync(all_lanes, inclusive, 1);
    return lane > 0 ? result + before : result;
  }
};

}  // namespace ziya::ZIYA_DEVICE
