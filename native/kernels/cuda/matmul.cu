// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T), weight (outputs, inputs) in tiles. The reference of the
// tensor-core family, on any GPU.
// The trick: a warp an output and 16 bytes a lane, so a row of weights passes once for up to 8 rows of `in`; the order of
// the sum depends on the inputs alone, so a row's result does not depend on its neighbours. Codes of fp8 weights lie as the fast kernel wants them, so
// that here two at a time are read.
#include "inputs.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int warps = 4;
constexpr int rows_a_pass_max = 8;

// Eight neighbouring inputs of a packed row, of fp8 weights what their bits say as those of halves.
template <class Weight>
__device__ __forceinline__ void load_weights(const WeightView& weight, int packed_row, int k, float (&to)[unit_halves]) {
  const int k_tiles = weight.k_tiles();
  if constexpr (sizeof(Weight) == sizeof(half)) {
    load8(weight.tiles + weight_offset(packed_row, k, k_tiles), to);
  } else {
#pragma unroll
    for (int i = 0; i < unit_halves; i += 2) {
      const uint32_t codes = *reinterpret_cast<const uint16_t*>(weight.codes + code_offset(packed_row, k + i, k_tiles));
      const uint32_t apart = (codes & 0xffu) << 8 | (codes & 0xff00u) << 16;  // each the upper byte of a half
      const float2 pair = halves_to_floats((apart & 0x80008000u) | (apart & 0x7f007f00u) >> 1);
      to[i] = pair.x, to[i + 1] = pair.y;
    }
  }
}

template <class Weight, class In, int rows_a_pass>
__device__ void dot_rows(const WeightView& weight, int packed_row, const ActivationView& in, int first, int last,
                         float (&sums)[rows_a_pass]) {
#pragma unroll
  for (int r = 0; r < rows_a_pass; r++) sums[r] = 0;
  const int k_tiles = weight.k_tiles();
  for (int k = threadIdx.x % warp_size * unit_halves; k < k_tiles * tile_inputs; k += warp_size * unit_halves) {
    float w[unit_halves];
    load_weights<Weight>(weight, packed_row, k, w);
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
  if constexpr (sizeof(Weight) != sizeof(half)) {
    const float scale = weight.scales[packed_row] * fp8_as_half_scale;
#pragma unroll
    for (int r = 0; r < rows_a_pass; r++) sums[r] *= scale;
  }
}

template <Epilogue epilogue, class Weight, class In, int rows_a_pass>
__global__ void __launch_bounds__(warps * warp_size)
    matmul_kernel(ActivationView in, WeightView weight, int rows, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int output = blockIdx.x * warps + threadIdx.x / warp_size;
  const int outputs = epilogue == Epilogue::swiglu ? weight.outputs / 2 : weight.outputs;
  if (output >= outputs) return;
  const int first = blockIdx.y * rows_a_pass;
  float sums[rows_a_pass], ups[rows_a_pass];
  dot_rows<Weight, In>(weight, weight.packed_row(output), in, first, rows - 1, sums);
  if (epilogue == Epilogue::swiglu)
    dot_rows<Weight, In>(weight, weight.packed_row(outputs + output), in, first, rows - 1, ups);
  if (threadIdx.x % warp_size != 0) return;
#pragma unroll
  for (int r = 0; r < rows_a_pass; r++) {
    if (first + r >= rows) continue;
    if (epilogue == Epilogue::store) out.row(first + r)[output] = sums[r];
    if (epilogue == Epilogue::add) out.row(first + r)[output] += sums[r];
    if (epilogue == Epilogue::swiglu) store(out.at(first + r, output), silu(sums[r]) * ups[r]);
  }
}

template <Epilogue epilogue, class Weight, class In>
void launch(const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out, cudaStream_t stream) {
  const int outputs = epilogue == Epilogue::swiglu ? weight.outputs / 2 : weight.outputs;
  const dim3 grid(ceil_div(outputs, warps), ceil_div(rows, rows_a_pass_max));
  const int threads = warps * warp_size;
  if (rows == 1)
    LAUNCH((matmul_kernel<epilogue, Weight, In, 1>), grid, threads, 0, stream, in, weight, rows, out);
  else
    LAUNCH((matmul_kernel<epilogue, Weight, In, rows_a_pass_max>), grid, threads, 0, stream, in, weight, rows, out);
}

template <class Weight, class In>
void launch(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
            cudaStream_t stream) {
  if (epilogue == Epilogue::store) launch<Epilogue::store, Weight, In>(in, weight, rows, out, stream);
  if (epilogue == Epilogue::add) launch<Epilogue::add, Weight, In>(in, weight, rows, out, stream);
  if (epilogue == Epilogue::swiglu) launch<Epilogue::swiglu, Weight, In>(in, weight, rows, out, stream);
}

template <class Weight>
void launch_by_inputs(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
                      cudaStream_t stream) {
  if (in.is_half)
    launch<Weight, half>(epilogue, in, weight, rows, out, stream);
  else
    launch<Weight, float>(epilogue, in, weight, rows, out, stream);
}

}  // namespace

void matmul(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
            cudaStream_t stream) {
  if (weight.codes != nullptr)
    launch_by_inputs<uint8_t>(epilogue, in, weight, rows, out, stream);
  else
    launch_by_inputs<half>(epilogue, in, weight, rows, out, stream);
}

}  // namespace ziya::ZIYA_DEVICE
