// out (rows, columns) fp16 = in / sqrt(mean(in^2) + eps) * weight, in fp32.
// Weights are padded with zeros to whole units of 8.
// The trick: the row stays in cache between its two passes; the sum's order depends on the columns alone.
#include "block_reduce.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int rms_norm_threads = 256;

__global__ void rms_norm_kernel(StepView step, int first_row, ActivationView in, const float* weight, float eps,
                                ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  int from = blockIdx.x;
  if (first_row >= 0) {  // rows of the step, not tokens
    if (first_row + from >= step.counts->rows) return;
    from = step.rows[first_row + from].token;
  }
  const float* x = in.row(from);
  float squares = 0;
  for (int i = threadIdx.x; i < in.columns; i += rms_norm_threads) squares = fmaf(x[i], x[i], squares);
  squares = block_shared<BlockReduce<rms_norm_threads, float>>().sum(squares);
  const float scale = 1.0f / sqrtf(squares / float(in.columns) + eps);
  for (int k = threadIdx.x * unit_halves; k < in.columns; k += rms_norm_threads * unit_halves) {
    float values[unit_halves], weights[unit_halves];
    load8(x + k, values);
    load8(weight + k, weights);
#pragma unroll
    for (int i = 0; i < unit_halves; i++) values[i] = values[i] * scale * weights[i];
    store8(out.unit(blockIdx.x, k), values);
  }
}

constexpr int of_tokens = -1;

}  // namespace

void rms_norm(const ActivationView& in, const float* weight, float eps, int rows, const ActivationView& out,
              cudaStream_t stream) {
  LAUNCH(rms_norm_kernel, rows, rms_norm_threads, sizeof(BlockReduce<rms_norm_threads, float>), stream, StepView{}, of_tokens, in, weight, eps,
         out);
}

void rms_norm_rows(const StepView& step, int first_row, const ActivationView& in, const float* weight, float eps, int rows,
                   const ActivationView& out, cudaStream_t stream) {
  LAUNCH(rms_norm_kernel, rows, rms_norm_threads, sizeof(BlockReduce<rms_norm_threads, float>), stream, step, first_row, in, weight, eps, out);
}

}  // namespace ziya::ZIYA_DEVICE
