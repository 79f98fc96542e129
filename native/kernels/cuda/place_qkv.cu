// qkv (tokens, (heads + 2 kv_heads) * head_size) += bias; queries scaled by 1 / sqrt(head_size), and keys and values written to the paged
// cache: what rope.cu does, where positions do not rotate.
// The trick: none; a warp a head.
#include "kv_store.h"

namespace ziya::ZIYA_DEVICE {
namespace {

template <class Number>
__global__ void __launch_bounds__(kv_store_threads)
    place_qkv_kernel(StepView step, HeadShape shape, float query_scale, const float* bias, ActivationView qkv, KvView kv) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x, head = head_of_warp(step, shape);
  if (head < 0) return;
  const bool is_query = head < shape.heads;
  float* row = qkv.row(token) + head * shape.head_size;
  HeadColumns columns = {};
#pragma unroll
  for (int i = 0; i < columns_a_lane_max; i++) {
    const int column = column_of_lane(i, shape.head_size);
    if (column < 0) continue;
    const float value = row[column] + bias[head * shape.head_size + column];
    row[column] = is_query ? value * query_scale : value;
    columns.values[i] = value;
  }
  if (!is_query) store_head<Number>(step, step.tokens[token], kv, head - shape.heads, shape.head_size, columns);
}

}  // namespace

void place_qkv(const StepView& step, int tokens, const HeadShape& shape, const float* bias, const ActivationView& qkv, const KvView& kv,
               cudaStream_t stream) {
  const float query_scale = 1.0f / sqrtf(float(shape.head_size));
  if (kv.is_fp8())
    LAUNCH(place_qkv_kernel<uint8_t>, head_grid(tokens, shape), kv_store_threads, 0, stream, step, shape, query_scale, bias, qkv, kv);
  else
    LAUNCH(place_qkv_kernel<half>, head_grid(tokens, shape), kv_store_threads, 0, stream, step, shape, query_scale, bias, qkv, kv);
}

}  // namespace ziya::ZIYA_DEVICE
