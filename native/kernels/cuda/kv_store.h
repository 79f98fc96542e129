// How a warp writes a token's key or value of one head to the cache.
#pragma once

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {

constexpr int kv_store_warps = 4;  // of a block, a head each
constexpr int kv_store_threads = kv_store_warps * warp_size;
constexpr int cached_head_size_max = 256;
constexpr int columns_a_lane_max = cached_head_size_max / warp_size;

// Which head of queries, keys and values, one behind the other, the warp has of the block's token; -1 for none.
__device__ __forceinline__ int head_of_warp(const StepView& step, const HeadShape& shape) {
  const int head = blockIdx.y * kv_store_warps + threadIdx.x / warp_size;
  return int(blockIdx.x) < step.counts->tokens && head < shape.heads + 2 * shape.kv_heads ? head : -1;
}

// The blocks of which every warp has a head.
inline dim3 head_grid(int tokens, const HeadShape& shape) { return {unsigned(tokens), unsigned(ceil_div(shape.heads + 2 * shape.kv_heads, kv_store_warps))}; }

// What a lane has of a head: pairs of columns (i, i + head_size / 2), and 0 for those that the head has not.
struct HeadColumns {
  float values[columns_a_lane_max];
};

// The column that the i-th value is of; -1 for none.
__device__ __forceinline__ int column_of_lane(int i, int head_size) {
  const int pairs = (head_size + 1) / 2, pair = i / 2 * warp_size + int(threadIdx.x % warp_size), column = pair + i % 2 * pairs;
  return pair < pairs && column < head_size ? column : -1;
}

__device__ __forceinline__ void store_number(half* to, float value, uint16_t) { *to = to_half_saturated(value); }
__device__ __forceinline__ void store_number(uint8_t* to, float value, uint16_t scale) { *to = cached_code(value, scale); }

__device__ __forceinline__ uint16_t scale_of(const HeadColumns& head) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < columns_a_lane_max; i++) largest = fmaxf(largest, cached_magnitude(head.values[i]));
  return cached_scale(warp_max(largest));
}

// All of a warp are here. `head` counts keys' heads, then values'.
template <class Number>
__device__ __forceinline__ void store_head(const StepView& step, const TokenPlace& place, const KvView& kv, int head, int head_size,
                                           const HeadColumns& from) {
  const bool is_value = head >= kv.kv_heads;
  const int block_id = step.words[place.first_block + place.position / block_tokens];
  const int64_t row = kv.row(block_id, head % kv.kv_heads, place.position % block_tokens);
  uint16_t scale = 0;
  if constexpr (sizeof(Number) == sizeof(uint8_t)) {
    scale = scale_of(from);
    if (threadIdx.x % warp_size == 0) (is_value ? kv.values.scales : kv.keys.scales)[row] = half_of_bits(scale);
  }
  Number* numbers = (is_value ? kv.values.numbers<Number>() : kv.keys.numbers<Number>()) + row * kv.head_stride;
#pragma unroll
  for (int i = 0; i < columns_a_lane_max; i++) {
    const int column = column_of_lane(i, head_size);
    if (column >= 0) store_number(numbers + (is_value ? value_place<Number>(column) : key_place<Number>(column)), from.values[i], scale);
  }
}

}  // namespace ziya::ZIYA_DEVICE
