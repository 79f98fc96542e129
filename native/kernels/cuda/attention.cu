// out (tokens, heads * head_size) = softmax(q * keys^T) * values over positions 0 ... the token's own, from the paged
// cache; q is already scaled. The reference of the split and tiled kernels.
// The trick: a warp a query head takes 32 positions at a time, a lane a key for the scores and a lane a column for the
// values, folding the running softmax from position 0 on, so neither batch nor chunk changes the order.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int warps = 4;
constexpr int head_size_max = 256;
constexpr int columns_a_lane = head_size_max / warp_size;

struct Shared {
  alignas(16) float query[warps][head_size_max];
  float weights[warps][warp_size];
};

__device__ float score(const float* query, const KvView& kv, int64_t row, half) {
  const half* key = kv.keys.halves + row * kv.head_stride;
  float sum = 0;
  for (int i = 0; i < kv.head_stride; i += unit_halves) {
    float k[unit_halves];
    load8(key + i, k);
#pragma unroll
    for (int j = 0; j < unit_halves; j++) sum = fmaf(query[i + j], k[j], sum);
  }
  return sum;
}

__device__ float code_to_float(uint8_t code) { return to_float(half_of_bits(fp8_as_half(code))) * fp8_as_half_scale; }

__device__ float score(const float* query, const KvView& kv, int64_t row, uint8_t) {
  const uint8_t* key = kv.keys.codes + row * kv.head_stride;
  float sum = 0;
  for (int i = 0; i < kv.head_stride; i++) sum = fmaf(query[i], code_to_float(key[key_place<uint8_t>(i)]), sum);
  return sum * to_float(kv.keys.scales[row]);
}

__device__ float value_at(const KvView& kv, int64_t row, int column, half) { return to_float(kv.values.halves[row * kv.head_stride + column]); }
__device__ float value_at(const KvView& kv, int64_t row, int column, uint8_t) {
  return code_to_float(kv.values.codes[row * kv.head_stride + value_place<uint8_t>(column)]) * to_float(kv.values.scales[row]);
}

template <class Number>
__global__ void __launch_bounds__(warps * warp_size)
    attention_kernel(StepView step, HeadShape shape, ActivationView qkv, KvView kv, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x, warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const int head = blockIdx.y * warps + warp;
  if (token >= step.counts->tokens || head >= shape.heads) return;
  Shared& shared = block_shared<Shared>();
  const TokenPlace place = step.tokens[token];
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const float* q = qkv.row(token) + head * shape.head_size;
  float* query = shared.query[warp];
  for (int i = lane; i < kv.head_stride; i += warp_size) query[i] = i < shape.head_size ? q[i] : 0;
  __syncwarp();

  float maximum = -INFINITY, sum = 0, values[columns_a_lane] = {};
  for (int begin = 0; begin <= place.position; begin += warp_size) {
    const int position = begin + lane;
    float own = -INFINITY;
    if (position <= place.position) {
      const int block_id = step.words[place.first_block + position / block_tokens];
      own = score(query, kv, kv.row(block_id, kv_head, position % block_tokens), Number());
    }
    const float before = maximum;
    maximum = fmaxf(maximum, warp_max(own));
    const float keep = expf(before - maximum);
    const float weight = expf(own - maximum);
    sum = sum * keep + warp_sum(weight);
    shared.weights[warp][lane] = weight;
    __syncwarp();
#pragma unroll
    for (int c = 0; c < columns_a_lane; c++) values[c] *= keep;
    for (int j = 0; j < warp_size && begin + j <= place.position; j++) {
      const int block_id = step.words[place.first_block + (begin + j) / block_tokens];
      const int64_t row = kv.row(block_id, kv_head, (begin + j) % block_tokens);
      const float w = shared.weights[warp][j];
#pragma unroll
      for (int c = 0; c < columns_a_lane; c++) {
        const int column = c * warp_size + lane;
        if (column < shape.head_size) values[c] = fmaf(w, value_at(kv, row, column, Number()), values[c]);
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int c = 0; c < columns_a_lane; c++) {
    const int column = c * warp_size + lane;
    if (column < shape.head_size) store(out.at(token, head * shape.head_size + column), values[c] / sum);
  }
}

}  // namespace

void attention(const StepView& step, int tokens, const HeadShape& shape, const ActivationView& qkv, const KvView& kv,
               const ActivationView& out, cudaStream_t stream) {
  const dim3 grid(tokens, ceil_div(shape.heads, warps));
  if (kv.is_fp8())
    LAUNCH(attention_kernel<uint8_t>, grid, warps * warp_size, sizeof(Shared), stream, step, shape, qkv, kv, out);
  else
    LAUNCH(attention_kernel<half>, grid, warps * warp_size, sizeof(Shared), stream, step, shape, qkv, kv, out);
}

}  // namespace ziya::ZIYA_DEVICE
