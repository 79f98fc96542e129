// Queries (tokens, heads, head_size) and keys rotated by their position, (i, i + head_size / 2) as a pair (Hugging Face's
// halves, not Meta's neighbours); queries scaled by 1 / sqrt(head_size); keys and values written to the paged cache.
// The trick: the angles are a table of fp32 made on the host, because an fp16 angle is off by whole turns at position 16k.
// A warp has a head, so that it knows the largest of it where the cache is fp8.
#include "kv_store.h"

namespace ziya::ZIYA_DEVICE {
namespace {

struct Rotated {
  float first, second;
};

__device__ __forceinline__ Rotated rotate(float first, float second, float cosine, float sine, float scale) {
  return {(first * cosine - second * sine) * scale, (second * cosine + first * sine) * scale};
}

template <class Number>
__global__ void __launch_bounds__(kv_store_threads)
    rope_kernel(StepView step, HeadShape shape, float query_scale, const float* angles, ActivationView qkv, KvView kv) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x, head = head_of_warp(step, shape);
  if (head < 0) return;
  const TokenPlace place = step.tokens[token];
  const int pairs = shape.head_size / 2;
  const float* cosines = angles + int64_t(place.position) * shape.head_size;
  float* row = qkv.row(token) + head * shape.head_size;
  const bool is_query = head < shape.heads, is_value = head >= shape.heads + shape.kv_heads;

  HeadColumns columns = {};
#pragma unroll
  for (int i = 0; i < columns_a_lane_max; i += 2) {
    const int pair = column_of_lane(i, shape.head_size);
    if (pair < 0) continue;
    Rotated now = {row[pair], row[pairs + pair]};
    if (!is_value) {
      now = rotate(now.first, now.second, cosines[pair], cosines[pairs + pair], is_query ? query_scale : 1.0f);
      row[pair] = now.first;
      row[pairs + pair] = now.second;
    }
    columns.values[i] = now.first;
    columns.values[i + 1] = now.second;
  }
  if (!is_query) store_head<Number>(step, place, kv, head - shape.heads, shape.head_size, columns);
}

}  // namespace

void rope(const StepView& step, int tokens, const HeadShape& shape, const float* angles, const ActivationView& qkv,
          const KvView& kv, cudaStream_t stream) {
  const float query_scale = 1.0f / sqrtf(float(shape.head_size));
  if (kv.is_fp8())
    LAUNCH(rope_kernel<uint8_t>, head_grid(tokens, shape), kv_store_threads, 0, stream, step, shape, query_scale, angles, qkv, kv);
  else
    LAUNCH(rope_kernel<half>, head_grid(tokens, shape), kv_store_threads, 0, stream, step, shape, query_scale, angles, qkv, kv);
}

}  // namespace ziya::ZIYA_DEVICE
