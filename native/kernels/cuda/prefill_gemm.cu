// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T) for many rows: tiles of 128 outputs x 256 rows, of which two
// warpgroups have 64 outputs each, and a third one's thread copies.
// The trick: the operands are those of gemm.cu, so weights and activations stream by the same plain bulk copies; and where
// gemm.cu's stripes cut an output's K, the sums begin anew here too and are added in the same order, so that a row is the
// same bytes in a prefill and in a batch of one.
#include "gemm_stripes.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int tile_tokens = gemm_rows_max;
constexpr int sums_a_thread = tile_tokens / 2;
constexpr int stages = 4;
constexpr int stored_tokens = 32;  // at once, through shared memory
constexpr int group_barrier = 1;
constexpr int loads_in_flight = 16;  // more would spill beside the sums

struct alignas(1024) Stage {
  half weights[groups][tile_halves];
  half inputs[tile_tokens * tile_inputs];
};

struct Shared {
  Stage ring[stages];
  float stored[groups][stored_tokens * tile_rows];
  uint64_t full[stages], empty[stages];
};

// Neighbouring blocks have the same weights and different tokens.
struct Tiles {
  int tokens, pairs, row_tiles;

  __device__ int count() const { return tokens * pairs; }
  __device__ int first_token(int tile) const { return tile % tokens * tile_tokens; }
  __device__ int row_tile(int tile, int group) const { return tile / tokens * groups + group; }
};

__device__ Tiles tiles_of(const Product& product) {
  const int row_tiles = product.weight.row_tiles();
  return {ceil_div(product.rows, tile_tokens), ceil_div(row_tiles, groups), row_tiles};
}

// One thread.
__device__ void produce(const Product& product, Shared& shared) {
  wait_for_previous_kernel();
  const Tiles tiles = tiles_of(product);
  const int k_tiles = product.weight.k_tiles();
  const half* inputs = static_cast<const half*>(product.in.data);
  RingPlace place;
  int filled = 0;
  for (int tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    for (int k = 0; k < k_tiles; k++) {
      if (filled++ >= stages) mbarrier_wait(&shared.empty[place.stage], place.phase ^ 1);
      Stage& stage = shared.ring[place.stage];
      uint64_t* full = &shared.full[place.stage];
      mbarrier_arrive_expect(full, sizeof(Stage));
#pragma unroll
      for (int group = 0; group < groups; group++) {
        const int row_tile = min(tiles.row_tile(tile, group), tiles.row_tiles - 1);  // the last one twice if they are odd
        bulk_copy(stage.weights[group], product.weight.tiles + (int64_t(row_tile) * k_tiles + k) * tile_halves,
                  sizeof(stage.weights[group]), full);
      }
      const int64_t row = int64_t(k) * product.in.rows_padded + tiles.first_token(tile);
      bulk_copy(stage.inputs, inputs + row * tile_inputs, sizeof(stage.inputs), full);
      place.advance<stages>();
    }
  }
  let_next_kernel_start();
}

__device__ __forceinline__ void release(Shared& shared, int stage) {
  if (threadIdx.x % warp_size == 0) mbarrier_arrive(&shared.empty[stage]);
}

// k_tiles of a part of K, from the ring. The sums begin at zero and each product adds to them, because the assembler lets none of the
// products overlap where the first may leave out what was there.
__device__ __forceinline__ void multiply_part(Shared& shared, int group, int k_tiles, RingPlace& place,
                                              float (&sums)[sums_a_thread]) {
  int before = 0;
#pragma unroll
  for (int i = 0; i < sums_a_thread; i++) sums[i] = 0;
#pragma unroll 1
  for (int k = 0; k < k_tiles; k++) {
    const Stage& stage = shared.ring[place.stage];
    mbarrier_wait(&shared.full[place.stage], place.phase);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < tile_inputs; i += wgmma_inputs)
      wgmma<tile_tokens>(sums, matrix_descriptor(stage.weights[group] + i), matrix_descriptor(stage.inputs + i), true);
    wgmma_commit();
    if (k > 0) {
      wgmma_wait<1>();
      release(shared, before);
    }
    before = place.stage;
    place.advance<stages>();
  }
  wgmma_wait<0>();
  release(shared, before);
}

// Adds a part to those before it. `parts` are this thread's own places in device memory.
template <bool is_last, bool is_first>
__device__ __forceinline__ void add_part(float* parts, float (&sums)[sums_a_thread]) {
#pragma unroll
  for (int i = 0; i < sums_a_thread; i++) {
    if (i % loads_in_flight == 0) keep_memory_order();
    float* part = parts + i * groups * warpgroup;
    const float sum = (is_first ? 0.0f : *part) + sums[i];
    if (is_last)
      sums[i] = sum;
    else
      *part = sum;
  }
}

// The whole of K, in the parts that gemm.cu's blocks have of this row tile.
__device__ __forceinline__ void multiply_tile(const Product& product, Shared& shared, int row_tile, int group, RingPlace& place,
                                              float (&sums)[sums_a_thread]) {
  const Stripes& stripes = product.stripes;
  const int begin = row_tile / groups * stripes.tile_units, end = begin + stripes.tile_units;
  const int first = stripes.owner(begin), last = stripes.owner(end - 1);
  float* parts = product.partials + int64_t(blockIdx.x) * sums_a_thread * groups * warpgroup + threadIdx.x;
  for (int block = first; block <= last; block++) {
    const int units = min(stripes.begin(block + 1), end) - max(stripes.begin(block), begin);
    multiply_part(shared, group, units * stage_tiles, place, sums);
    if (block == last) break;
    if (block == first)
      add_part<false, true>(parts, sums);
    else
      add_part<false, false>(parts, sums);
  }
  if (last > first) add_part<true, false>(parts, sums);
}

__device__ void consume(const Product& product, Shared& shared, int group) {
  wait_for_previous_kernel();
  const Tiles tiles = tiles_of(product);
  RingPlace place;
  float sums[sums_a_thread];
  for (int tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    const int row_tile = tiles.row_tile(tile, group);
    multiply_tile(product, shared, min(row_tile, tiles.row_tiles - 1), group, place, sums);
    const int first_token = tiles.first_token(tile);
    if (row_tile < tiles.row_tiles)
      store_in_parts<stored_tokens>(product, shared.stored[group], group_barrier + group, row_tile, first_token, product.rows - first_token, sums);
  }
}

__global__ void __launch_bounds__(threads, 1) prefill_gemm_kernel(Product product) {
  Shared& shared = block_shared<Shared>();
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; i++) {
      mbarrier_init(&shared.full[i], 1);
      mbarrier_init(&shared.empty[i], groups * warpgroup / warp_size);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  const int group = threadIdx.x / warpgroup;
  if (group < groups) {
    raise_registers<consumer_registers>();
    consume(product, shared, group);
  } else {
    lower_registers<producer_registers>();
    if (threadIdx.x == groups * warpgroup) produce(product, shared);
  }
}

int tile_count(const WeightView& weight, int rows) { return ceil_div(rows, tile_tokens) * ceil_div(weight.row_tiles(), groups); }

}  // namespace

int prefill_rows(const WeightView& weight, int rows, int multiprocessors) {
  const int whole = rows / tile_tokens * tile_tokens;
  const int wanted = rows - whole <= tile_tokens / 2 ? whole : rows;
  return tile_count(weight, wanted) >= multiprocessors ? wanted : 0;
}

void prefill_gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
                  const GemmWorkspace& workspace, cudaStream_t stream) {
  const int tiles = tile_count(weight, rows);
  const Product product = {weight, in, out, 0, rows, epilogue, stripes_of(weight, workspace.blocks), workspace.partials, nullptr};
  LAUNCH(prefill_gemm_kernel, tiles < workspace.blocks ? tiles : workspace.blocks, threads, sizeof(Shared), stream, product);
}

}  // namespace ziya::ZIYA_DEVICE
