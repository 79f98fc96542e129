// Random weights for measurements: weight (row, column) = normal(0, deviation), drawn by Philox counted by row and column, so
// that it does not depend on the grid. The trick: one draw of 128 bits is two Box-Muller pairs, four neighbouring weights.
#include "launchers.h"
#include "philox.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int fill_threads = 256;
constexpr int drawn_together = 4;

__device__ void normal_pair(uint32_t a, uint32_t b, float* to) {
  const float radius = sqrtf(-2.0f * logf((float(a >> 8) + 0.5f) * 0x1p-24f));
  const float angle = 6.28318530718f * float(b >> 8) * 0x1p-24f;
  to[0] = radius * cosf(angle);
  to[1] = radius * sinf(angle);
}

__global__ void fill_kernel(WeightView to, uint64_t seed, float deviation) {
  wait_for_previous_kernel();
  const int row = blockIdx.x;
  for (int k = threadIdx.x * unit_halves; k < to.inputs; k += fill_threads * unit_halves) {
    Unit unit;
    for (int i = 0; i < unit_halves; i += drawn_together) {
      const Random128 bits = philox({uint32_t(row), uint32_t(k + i), 0, 0}, seed);
      float normal[drawn_together];
      normal_pair(bits.word[0], bits.word[1], normal);
      normal_pair(bits.word[2], bits.word[3], normal + 2);
      for (int j = 0; j < drawn_together; j++)
        unit.halves[i + j] = k + i + j < to.inputs ? __float2half_rn(normal[j] * deviation) : __float2half_rn(0);
    }
    store_unit(to, to.packed_row(row), k, unit);
  }
}

// Sixteen sizes from 0.5 to below 2, of either sign.
__global__ void fill_fp8_kernel(WeightView to, uint64_t seed, float deviation) {
  wait_for_previous_kernel();
  const int row = blockIdx.x, packed_row = to.packed_row(row);
  if (threadIdx.x == 0) const_cast<float*>(to.scales)[packed_row] = deviation;
  for (int k = threadIdx.x * unit_halves; k < to.inputs; k += fill_threads * unit_halves) {
    const Random128 bits = philox({uint32_t(row), uint32_t(k), 0, 0}, seed);
    for (int i = 0; i < unit_halves && k + i < to.inputs; i += 2) {
      const uint32_t pair = (bits.word[i / 2] & 0x8f8fu) + 0x3030u;
      *reinterpret_cast<uint16_t*>(const_cast<uint8_t*>(to.codes) + code_offset(packed_row, k + i, to.k_tiles())) = uint16_t(k + i + 1 < to.inputs ? pair : pair & 0xffu);
    }
  }
}

}  // namespace

void fill(const WeightView& to, uint64_t seed, float deviation, cudaStream_t stream) {
  if (to.codes != nullptr)
    LAUNCH(fill_fp8_kernel, to.outputs, fill_threads, 0, stream, to, seed, deviation);
  else
    LAUNCH(fill_kernel, to.outputs, fill_threads, 0, stream, to, seed, deviation);
}

}  // namespace ziya::ZIYA_DEVICE
