// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T), weight (outputs, inputs) in tiles. The reference of the
// tensor-core family, on any GPU.
// The trick: a warp an output and 16 bytes a lane, so a row of weights passes once for up to 8 rows of `in`; the order of
// the sum depends on the inputs alone, so a row's result does not depend on its neighbours.
#include "inputs.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int warps = 4;
constexpr int rows_a_pass_max = 8;

template <class In, int rows_a_pass>
__device__ void dot_rows(const WeightView& weight, int packed_row, const ActivationView& in, int first, int last,
                         float (&sums)[rows_a_pass]) {
#pragma unroll
  for (int r = 0; r < rows_a_pass; r++) sums[r] = 0;
  const int k_tiles = weight.k_tiles();
  for (int k = threadIdx.x % warp_size * unit_halves; k < k_tiles * tile_inputs; k += warp_size * unit_halves) {
    float w[unit_halves];
    load8(weight.tiles + weight_offset(packed_row, k, k_tiles), w);
#pragma unroll
    for (int r = 0; r < rows_a_pass; r++) {
      float x[unit_halves];
      load_inputs<In>(in, min(first + r, last), k, x);
#pragma unroll
      for (int i = 0; i < unit_halves; i++) sums[r] = fmaf(x[i], w[i], sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < rows_a_pass; r++) sums[r] = warp_sum(sums[r]);
}

template <Epilogue epilogue, class In, int rows_a_pass>
__global__ void __launch_bounds__(warps * warp_size)
    matmul_kernel(ActivationView in, WeightView weight, int rows, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int output = blockIdx.x * warps + threadIdx.x / warp_size;
  const int outputs = epilogue == Epilogue::swiglu ? weight.outputs / 2 : weight.outputs;
  if (output >= outputs) return;
  const int first = blockIdx.y * rows_a_pass;
  float sums[rows_a_pass], ups[rows_a_pass];
  dot_rows<In>(weight, weight.packed_row(output), in, first, rows - 1, sums);
  if (epilogue == Epilogue::swiglu)
    dot_rows<In>(weight, weight.packed_row(outputs + output), in, first, rows - 1, ups);
  if (threadIdx.x % warp_size != 0) return;
#pragma unroll
  for (int r = 0; r < rows_a_pass; r++) {
    if (first + r >= rows) continue;
    if (epilogue == Epilogue::store) out.row(first + r)[output] = sums[r];
    if (epilogue == Epilogue::add) out.row(first + r)[output] += sums[r];
    if (epilogue == Epilogue::swiglu) store(out.at(first + r, output), silu(sums[r]) * ups[r]);
  }
}

template <Epilogue epilogue, class In>
void launch(const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out, cudaStream_t stream) {
  const int outputs = epilogue == Epilogue::swiglu ? weight.outputs / 2 : weight.outputs;
  const dim3 grid(ceil_div(outputs, warps), ceil_div(rows, rows_a_pass_max));
  const int threads = warps * warp_size;
  if (rows == 1)
    LAUNCH((matmul_kernel<epilogue, In, 1>), grid, threads, 0, stream, in, weight, rows, out);
  else
    LAUNCH((matmul_kernel<epilogue, In, rows_a_pass_max>), grid, threads, 0, stream, in, weight, rows, out);
}

template <class In>
void launch(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
            cudaStream_t stream) {
  if (epilogue == Epilogue::store) launch<Epilogue::store, In>(in, weight, rows, out, stream);
  if (epilogue == Epilogue::add) launch<Epilogue::add, In>(in, weight, rows, out, stream);
  if (epilogue == Epilogue::swiglu) launch<Epilogue::swiglu, In>(in, weight, rows, out, stream);
}

}  // namespace

void matmul(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
            cudaStream_t stream) {
  if (in.is_half)
    launch<half>(epilogue, in, weight, rows, out, stream);
  else
    launch<float>(epilogue, in, weight, rows, out, stream);
}

}  // namespace ziya::ZIYA_DEVICE
