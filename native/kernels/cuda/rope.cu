// Queries (tokens, heads, head_size) and keys rotated by their position, (i, i + head_size / 2) as a pair (Hugging Face's
// halves, not Meta's neighbours); queries scaled by 1 / sqrt(head_size); keys and values written to the paged cache.
// The trick: the angles are a table of fp32 made on the host, because an fp16 angle is off by whole turns at position 16k.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int rope_threads = 256;
constexpr int pairs_a_thread = 2;  // so that one token's heads are the work of many multiprocessors

struct Rotated {
  float first, second;
};

__device__ __forceinline__ Rotated rotate(float first, float second, float cosine, float sine, float scale) {
  return {(first * cosine - second * sine) * scale, (second * cosine + first * sine) * scale};
}

__host__ __device__ int pairs_of(const HeadShape& shape) { return (shape.heads + 2 * shape.kv_heads) * (shape.head_size / 2); }

__global__ void rope_kernel(StepView step, HeadShape shape, float query_scale, const float* angles, ActivationView qkv,
                            KvView kv) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x;
  if (token >= step.counts->tokens) return;
  const TokenPlace place = step.tokens[token];
  const int block_id = step.words[place.first_block + place.position / block_tokens];
  const int slot = place.position % block_tokens;
  const int pairs = shape.head_size / 2;
  const float* cosines = angles + int64_t(place.position) * shape.head_size;
  float* row = qkv.row(token);

  const int first_pair = blockIdx.y * rope_threads * pairs_a_thread + threadIdx.x;
#pragma unroll
  for (int k = 0; k < pairs_a_thread; k++) {
    const int i = first_pair + k * rope_threads;
    if (i >= pairs_of(shape)) return;
    const int head = i / pairs, pair = i % pairs;
    float* first = row + head * shape.head_size + pair;
    float* second = first + pairs;
    const bool is_query = head < shape.heads, is_value = head >= shape.heads + shape.kv_heads;
    if (!is_value) {
      const Rotated rotated = rotate(*first, *second, cosines[pair], cosines[pairs + pair], is_query ? query_scale : 1.0f);
      *first = rotated.first;
      *second = rotated.second;
    }
    if (is_query) continue;
    const int kv_head = (head - shape.heads) % shape.kv_heads;
    half* to = (is_value ? kv.values : kv.keys) + kv.offset(block_id, kv_head, slot) + pair;
    to[0] = to_half_saturated(*first);
    to[pairs] = to_half_saturated(*second);
  }
}

}  // namespace

void rope(const StepView& step, int tokens, const HeadShape& shape, const float* angles, const ActivationView& qkv,
          const KvView& kv, cudaStream_t stream) {
  const float query_scale = 1.0f / sqrtf(float(shape.head_size));
  const dim3 grid(tokens, ceil_div(pairs_of(shape), rope_threads * pairs_a_thread));
  LAUNCH(rope_kernel, grid, rope_threads, 0, stream, step, shape, query_scale, angles, qkv, kv);
}

}  // namespace ziya::ZIYA_DEVICE
