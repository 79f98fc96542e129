// What comes behind a product that has a bias: to (rows, columns) fp32 += bias, and out fp16 = gelu(in + bias).
// The trick: none; 8 columns a thread. A product's own epilogue has no bias, so that the kernels of models without one are what they are.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int bias_threads = 128;

__host__ __device__ int bias_blocks(int columns) { return ceil_div(columns, bias_threads * unit_halves); }

__global__ void add_bias_kernel(const float* bias, ActivationView to) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int k = (blockIdx.y * bias_threads + threadIdx.x) * unit_halves;
  float* row = to.row(blockIdx.x);
  for (int i = k; i < min(k + unit_halves, to.columns); i++) row[i] += bias[i];
}

template <bool is_exact>
__global__ void gelu_kernel(const float* bias, ActivationView in, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int k = (blockIdx.y * bias_threads + threadIdx.x) * unit_halves;
  if (k >= in.columns) return;
  float values[unit_halves], biases[unit_halves];
  load8(in.row(blockIdx.x) + k, values);
  load8(bias + k, biases);
#pragma unroll
  for (int i = 0; i < unit_halves; i++) {
    const float sum = values[i] + biases[i];
    values[i] = is_exact ? exact_gelu(sum) : tanh_gelu(sum);
  }
  store8(out.unit(blockIdx.x, k), values);
}

}  // namespace

void add_bias(const float* bias, int rows, const ActivationView& to, cudaStream_t stream) {
  LAUNCH(add_bias_kernel, dim3(rows, bias_blocks(to.columns)), bias_threads, 0, stream, bias, to);
}

void gelu(const ActivationView& in, const float* bias, int rows, bool is_exact, const ActivationView& out, cudaStream_t stream) {
  const auto kernel = is_exact ? gelu_kernel<true> : gelu_kernel<false>;
  LAUNCH(kernel, dim3(rows, bias_blocks(in.columns)), bias_threads, 0, stream, bias, in, out);
}

}  // namespace ziya::ZIYA_DEVICE
