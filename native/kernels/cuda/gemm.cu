// The product of gemm_pipeline.h for fp16 weights: tiles of them and of inputs are operands of wgmma as they lie in shared memory.
#include "gemm_pipeline.h"

namespace ziya::ZIYA_DEVICE {
namespace {

template <class S>
__device__ __forceinline__ void multiply_stage(const Stage<S>& stage, float (&sums)[S::sums], bool accumulate) {
  const int group = threadIdx.x / warpgroup;
  wgmma_fence();
#pragma unroll
  for (int t = 0; t < stage_tiles; t++) {
#pragma unroll
    for (int k = 0; k < tile_inputs; k += wgmma_inputs)
      multiply_rows<S::n, 0>(matrix_descriptor(stage.weights[group][t] + k), stage.inputs[t] + k, sums, accumulate || t > 0 || k > 0);
  }
  wgmma_commit();
}

struct HalfWeights {
  using Element = half;
  static __device__ const half* tiles(const WeightView& weight) { return weight.tiles; }

  // So many stages of the ring.
  template <class S>
  static __device__ __forceinline__ void multiply(Shared<S>& shared, RingPlace& place, int stages, float (&sums)[S::sums]) {
    int before = 0;
    for (int i = 0; i < stages; i++) {
      mbarrier_wait(&shared.full[place.stage], place.phase);
      multiply_stage<S>(shared.ring[place.stage], sums, i > 0);
      if (i > 0) {
        wgmma_wait<1>();
        release(shared, before);
      }
      before = place.stage;
      place.advance<Shared<S>::stages>();
    }
    wgmma_wait<0>();
    release(shared, before);
  }

  template <int sums_count>
  static __device__ __forceinline__ void scale_rows(const Product&, int, float (&)[sums_count]) {}
};

}  // namespace

size_t gemm_partials_bytes(int blocks) { return size_t(blocks) * 2 * (gemm_rows_max / 2) * consumers * sizeof(float); }

void gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows,
          const ActivationView& out, const GemmWorkspace& workspace, cudaStream_t stream) {
  launch_rows<HalfWeights>(epilogue, in, weight, arrivals, rows, out, workspace, stream);
}

}  // namespace ziya::ZIYA_DEVICE
