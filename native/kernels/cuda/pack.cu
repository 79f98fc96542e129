// Rows as they are in the files, (rows, inputs) -> the weight tiles of layout.h; rows of codes too. Also activations from fp32 to fp16.
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

__global__ void pack_fp8_kernel(const uint8_t* codes, const float* scales, int first_row, WeightView to) {
  wait_for_previous_kernel();
  const int row = blockIdx.y, packed_row = to.packed_row(first_row + row);
  const int k = int(blockIdx.x * pack_threads + threadIdx.x) * 2;
  if (k == 0) const_cast<float*>(to.scales)[packed_row] = scales[row];
  if (k >= to.inputs) return;
  const uint8_t* from = codes + int64_t(row) * to.inputs + k;
  const uint32_t second = k + 1 < to.inputs ? from[1] : 0;
  *reinterpret_cast<uint16_t*>(const_cast<uint8_t*>(to.codes) + code_offset(packed_row, k, to.k_tiles())) = uint16_t(from[0] | second << 8);
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

void pack_fp8(const uint8_t* codes, const float* scales, int first_row, int rows, const WeightView& to, cudaStream_t stream) {
  const dim3 grid(ceil_div(ceil_div(to.inputs, 2), pack_threads), rows);
  LAUNCH(pack_fp8_kernel, grid, pack_threads, 0, stream, codes, scales, first_row, to);
}

void convert(const ActivationView& from, const ActivationView& to, int rows, cudaStream_t stream) {
  LAUNCH(convert_kernel, rows, pack_threads, 0, stream, from, to);
}

}  // namespace ziya::ZIYA_DEVICE
