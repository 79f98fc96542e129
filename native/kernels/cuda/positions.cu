// residual (tokens, hidden) += table[the token's position]: fp16 rows of the table, to fp32.
// The trick: none; a block a token, 16 bytes a thread.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int positions_threads = 128;

__global__ void add_positions_kernel(StepView step, WeightView table, ActivationView residual) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int token = blockIdx.x;
  if (token >= step.counts->tokens) return;
  const int row = table.packed_row(step.tokens[token].position);
  float* to = residual.row(token);
  for (int k = threadIdx.x * unit_halves; k < table.inputs; k += positions_threads * unit_halves) {
    float values[unit_halves];
    load8(table.tiles + weight_offset(row, k, table.k_tiles()), values);
    for (int i = 0; i < unit_halves; i++)
      if (k + i < table.inputs) to[k + i] += values[i];
  }
}

}  // namespace

void add_positions(const StepView& step, int tokens, const WeightView& table, const ActivationView& residual, cudaStream_t stream) {
  LAUNCH(add_positions_kernel, tokens, positions_threads, 0, stream, step, table, residual);
}

}  // namespace ziya::ZIYA_DEVICE
