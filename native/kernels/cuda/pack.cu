// Rows as they are in the files, (rows, inputs) -> the weight tiles of layout.h. Also activations from fp32 to fp16.
// The trick: a thread moves one 16-byte unit, whose place in the tile is the swizzle's; odd ends are filled with zeros.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int pack_threads = 256;

__global__ void pack_kernel(const half* from, int first_row, WeightView to) {
  wait_for_previous_kernel();
  const int row = blockIdx.y;
  const int k = int(blockIdx.x * pack_threads + threadIdx.x) * unit_halves;
  if (k >= to.k_tiles() * tile_inputs) return;
  Unit unit;
  for (int i = 0; i < unit_halves; i++)
    unit.halves[i] = k + i < to.inputs ? from[int64_t(row) * to.inputs + k + i] : __float2half_rn(0);
  store_unit(to, to.packed_row(first_row + row), k, unit);
}

__global__ void convert_kernel(ActivationView from, ActivationView to) {
  wait_for_previous_kernel();
  for (int i = threadIdx.x; i < from.columns; i += pack_threads) store(to.at(blockIdx.x, i), from.row(blockIdx.x)[i]);
}

}  // namespace

void pack(const half* from, int first_row, int rows, const WeightView& to, cudaStream_t stream) {
  const dim3 grid(ceil_div(to.k_tiles() * row_units, pack_threads), rows);
  LAUNCH(pack_kernel, grid, pack_threads, 0, stream, from, first_row, to);
}

void convert(const ActivationView& from, const ActivationView& to, int rows, cudaStream_t stream) {
  LAUNCH(convert_kernel, rows, pack_threads, 0, stream, from, to);
}

}  // namespace ziya::ZIYA_DEVICE
