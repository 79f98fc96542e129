// The product of gemm_pipeline.h for fp8 weights: half the bytes pass from memory and through L2. Activations stay fp16, and so do the products'
// operands: a code's value is exact there.
// The trick: the weights are the operand that wgmma takes from registers, and lie in memory as its threads hold it. So a thread reads 16 bytes,
// converts eight pairs and multiplies; while it converts, the other warpgroup's products keep the tensor cores busy. A row's scale is
// multiplied once, when the parts of K are added, so that a sum's order is fp16's.
#include "gemm_pipeline.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int registers = 4;                           // a thread's operand of one product
constexpr int chunk_products = thread_codes / 8;       // of a thread's neighbouring codes
constexpr int chunks = tile_halves / warpgroup_codes;  // of a tile
constexpr int tile_products = chunks * chunk_products;
// More would spill beside the sums of 256 rows.
template <class S>
constexpr int tiles_at_once = S::n < gemm_rows_max ? stage_tiles : 1;

// Of some tiles, in the order of K.
template <class S>
struct Operands {
  uint32_t values[tiles_at_once<S> * tile_products][registers];
};

template <class S>
__device__ __forceinline__ void load_operands(const Stage<S>& stage, int first_tile, Operands<S>& operands) {
  const uint8_t* from = stage.weights[threadIdx.x / warpgroup][first_tile] + threadIdx.x % warpgroup * thread_codes;
#pragma unroll
  for (int i = 0; i < tiles_at_once<S> * chunks; i++) {
    const uint4 codes = *reinterpret_cast<const uint4*>(from + i * warpgroup_codes);
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int j = 0; j < chunk_products * registers; j++)
      operands.values[i * chunk_products + j / registers][j % registers] = codes_to_halves(uint16_t(words[j / 2] >> 16 * (j % 2)));
  }
}

template <class S>
__device__ __forceinline__ void multiply_tiles(const Stage<S>& stage, int first_tile, const Operands<S>& operands, float (&sums)[S::sums],
                                               bool accumulate) {
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < tiles_at_once<S> * tile_products; i++)
    multiply_rows<S::n, 0>(operands.values[i], stage.inputs[first_tile + i / tile_products] + i % tile_products * wgmma_inputs, sums,
                           accumulate || i > 0);
  wgmma_commit();
}

struct Fp8Weights {
  using Element = uint8_t;
  static __device__ const uint8_t* tiles(const WeightView& weight) { return weight.codes; }

  // So many stages of the ring. Products are waited for before the next operands, which need their registers.
  template <class S>
  static __device__ __forceinline__ void multiply(Shared<S>& shared, RingPlace& place, int stages, float (&sums)[S::sums]) {
    Operands<S> operands;
    for (int i = 0; i < stages; i++) {
      mbarrier_wait(&shared.full[place.stage], place.phase);
#pragma unroll
      for (int tile = 0; tile < stage_tiles; tile += tiles_at_once<S>) {
        load_operands<S>(shared.ring[place.stage], tile, operands);
        multiply_tiles<S>(shared.ring[place.stage], tile, operands, sums, i > 0 || tile > 0);
        wgmma_wait<0>();
      }
      release(shared, place.stage);
      place.advance<Shared<S>::stages>();
    }
  }

  // A thread has two rows of its tile.
  template <int sums_count>
  static __device__ __forceinline__ void scale_rows(const Product& product, int pair, float (&sums)[sums_count]) {
    const int row_tile = pair * groups + int(threadIdx.x) / warpgroup, thread = threadIdx.x % warpgroup;
    if (row_tile >= product.weight.row_tiles()) return;
    const float* scales = product.weight.scales + row_tile * tile_rows + thread / warp_size * 16 + thread % warp_size / 4;
    const float first = scales[0], second = scales[8];
#pragma unroll
    for (int i = 0; i < sums_count; i++) sums[i] *= i / 2 % 2 == 0 ? first : second;
  }
};

}  // namespace

void gemm_fp8(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows, const ActivationView& out,
              const GemmWorkspace& workspace, cudaStream_t stream) {
  launch_rows<Fp8Weights>(epilogue, in, weight, arrivals, rows, out, workspace, stream);
}

}  // namespace ziya::ZIYA_DEVICE
