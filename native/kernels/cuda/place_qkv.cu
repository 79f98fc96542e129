// qkv (tokens, (heads + 2 kv_heads) * head_size) += bias; queries scaled by 1 / sqrt(head_size), and keys and values written to the paged
// cache: what rope.cu does, where positions do not rotate.
// The trick: none; a thread a column.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int place_threads = 256;

__host__ __device__ int qkv_columns(const HeadShape& shape) { return (shape.heads + 2 * shape.kv_heads) * shape.head_size; }

__global__ void place_qkv_kernel(StepView step, HeadShape shape, float query_scale, const float* bias, ActivationView qkv, KvView kv) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x, column = blockIdx.y * place_threads + threadIdx.x;
  if (token >= step.counts->tokens || column >= qkv_columns(shape)) return;
  const int head = column / shape.head_size;
  const bool is_query = head < shape.heads, is_value = head >= shape.heads + shape.kv_heads;
  float* at = qkv.row(token) + column;
  const float value = *at + bias[column];
  *at = is_query ? value * query_scale : value;
  if (is_query) return;
  const TokenPlace place = step.tokens[token];
  const int block_id = step.words[place.first_block + place.position / block_tokens];
  const int kv_head = (head - shape.heads) % shape.kv_heads;
  half* to = (is_value ? kv.values : kv.keys) + kv.offset(block_id, kv_head, place.position % block_tokens);
  to[column % shape.head_size] = to_half_saturated(value);
}

}  // namespace

void place_qkv(const StepView& step, int tokens, const HeadShape& shape, const float* bias, const ActivationView& qkv, const KvView& kv,
               cudaStream_t stream) {
  const float query_scale = 1.0f / sqrtf(float(shape.head_size));
  const dim3 grid(tokens, ceil_div(qkv_columns(shape), place_threads));
  LAUNCH(place_qkv_kernel, grid, place_threads, 0, stream, step, shape, query_scale, bias, qkv, kv);
}

}  // namespace ziya::ZIYA_DEVICE
