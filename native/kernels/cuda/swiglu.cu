// out (rows, columns) fp16 = silu(gate) * up, of what a product left of a gate_up matrix: rows of gate and up alternate by eights there. Each
// has its bias added before, where there are biases.
// The trick: none; 8 columns a thread, without biases by the very expression of the product's own epilogue, whose bytes these are.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int swiglu_threads = 128;

__device__ void add8(const float* bias, float (&values)[unit_halves]) {
  float biases[unit_halves];
  load8(bias, biases);
#pragma unroll
  for (int i = 0; i < unit_halves; i++) values[i] += biases[i];
}

__global__ void swiglu_kernel(ActivationView gate_up, GateUpBiasView bias, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int k = (blockIdx.y * swiglu_threads + threadIdx.x) * unit_halves;
  if (k >= out.columns) return;
  const float* row = gate_up.row(blockIdx.x) + 2 * k;
  float gate[unit_halves], up[unit_halves];
  load8(row, gate);
  load8(row + unit_halves, up);
  if (bias.gate != nullptr) {
    add8(bias.gate + k, gate);
    add8(bias.up + k, up);
  }
#pragma unroll
  for (int i = 0; i < unit_halves; i++) gate[i] = silu(gate[i]) * up[i];
  store8(out.unit(blockIdx.x, k), gate);
}

}  // namespace

void swiglu(const ActivationView& gate_up, const GateUpBiasView& bias, int rows, const ActivationView& out, cudaStream_t stream) {
  const dim3 grid(rows, ceil_div(out.columns, swiglu_threads * unit_halves));
  LAUNCH(swiglu_kernel, grid, swiglu_threads, 0, stream, gate_up, bias, out);
}

}  // namespace ziya::ZIYA_DEVICE
