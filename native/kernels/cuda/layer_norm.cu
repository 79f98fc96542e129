// out (rows, columns) fp16 = (in - mean(in)) / sqrt(mean((in - mean)^2) + eps) * weight + bias, in fp32.
// Weights and biases are padded with zeros to whole units of 8.
// The trick: the row stays in cache between its three passes, so that the deviation is of what the mean was taken from; the sums'
// order depends on the columns alone.
#include "block_reduce.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int layer_norm_threads = 256;
using LayerNormReduce = BlockReduce<layer_norm_threads, float>;

__global__ void layer_norm_kernel(StepView step, int first_row, ActivationView in, LayerNormWeights weights, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  int from = blockIdx.x;
  if (first_row >= 0) {  // rows of the step, not tokens
    if (first_row + from >= step.counts->rows) return;
    from = step.rows[first_row + from].token;
  }
  const float* x = in.row(from);
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < in.columns; i += layer_norm_threads) sum += x[i];
  const float mean = block_shared<LayerNormReduce>().sum(sum) / float(in.columns);
  for (int i = threadIdx.x; i < in.columns; i += layer_norm_threads) squares = fmaf(x[i] - mean, x[i] - mean, squares);
  squares = block_shared<LayerNormReduce>().sum(squares);
  const float scale = 1.0f / sqrtf(squares / float(in.columns) + weights.eps);
  for (int k = threadIdx.x * unit_halves; k < in.columns; k += layer_norm_threads * unit_halves) {
    float values[unit_halves], weight[unit_halves], bias[unit_halves];
    load8(x + k, values);
    load8(weights.weight + k, weight);
    load8(weights.bias + k, bias);
#pragma unroll
    for (int i = 0; i < unit_halves; i++) values[i] = fmaf((values[i] - mean) * scale, weight[i], bias[i]);
    store8(out.unit(blockIdx.x, k), values);
  }
}

constexpr int layer_norm_of_tokens = -1;

}  // namespace

void layer_norm(const ActivationView& in, const LayerNormWeights& weights, int rows, const ActivationView& out, cudaStream_t stream) {
  LAUNCH(layer_norm_kernel, rows, layer_norm_threads, sizeof(LayerNormReduce), stream, StepView{}, layer_norm_of_tokens, in, weights, out);
}

void layer_norm_rows(const StepView& step, int first_row, const ActivationView& in, const LayerNormWeights& weights, int rows,
                     const ActivationView& out, cudaStream_t stream) {
  LAUNCH(layer_norm_kernel, rows, layer_norm_threads, sizeof(LayerNormReduce), stream, step, first_row, in, weights, out);
}

}  // namespace ziya::ZIYA_DEVICE
