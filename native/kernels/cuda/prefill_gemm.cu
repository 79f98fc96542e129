// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T) for many rows: tiles of 128 outputs x 256 rows, of which two
// warpgroups have 64 outputs each, and a third one's thread copies. Two blocks have the same rows and neighbouring outputs: each brings half of
// the rows to both, so that from the L2 cache come 32 KB a stage and block in place of 48.
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
constexpr int cluster = 2;
constexpr int shared_rows = tile_tokens / cluster;  // that a block brings to all of its cluster
constexpr uint16_t all_blocks = (1 << cluster) - 1;
constexpr int group_barrier = 1;
constexpr int loads_in_flight = 32;  // of the parts, beside the sums

struct alignas(1024) Stage {
  half weights[groups][tile_halves];
  half inputs[tile_tokens * tile_inputs];
};

struct Shared {
  Stage ring[stages];
  float stored[groups][stored_tokens * tile_rows];
  uint64_t full[stages], empty[stages];
};

// Stages are counted from the first on, in one register: where the n-th stands in the ring, and its phase there.
static_assert((stages & (stages - 1)) == 0);
__device__ __forceinline__ int place_of(int n) { return n % unsigned(stages); }
__device__ __forceinline__ int phase_of(int n) { return n / unsigned(stages) % 2; }

// A cluster's tiles, which are its blocks' beside each other. Neighbouring clusters have the same weights and different tokens.
struct Tiles {
  int tokens, count, row_tiles;

  __device__ int first_token(int tile) const { return tile % tokens * tile_tokens; }
  __device__ int row_tile(int tile, int group) const { return (tile / tokens * cluster + block_in_cluster()) * groups + group; }
};

__host__ __device__ int clusters_of_tiles(const WeightView& weight, int rows) {
  return ceil_div(rows, tile_tokens) * ceil_div(weight.row_tiles(), groups * cluster);
}
__device__ Tiles tiles_of(const Product& product) {
  return {ceil_div(product.rows, tile_tokens), clusters_of_tiles(product.weight, product.rows), product.weight.row_tiles()};
}

// One thread.
__device__ void produce(const Product& product, Shared& shared) {
  wait_for_previous_kernel();
  const Tiles tiles = tiles_of(product);
  const int k_tiles = product.weight.k_tiles();
  const half* inputs = static_cast<const half*>(product.in.data);
  int filled = 0;
  for (int tile = blockIdx.x / cluster; tile < tiles.count; tile += gridDim.x / cluster) {
    for (int k = 0; k < k_tiles; k++) {
      Stage& stage = shared.ring[place_of(filled)];
      uint64_t* full = &shared.full[place_of(filled)];
      if (filled >= stages) mbarrier_wait(&shared.empty[place_of(filled)], phase_of(filled) ^ 1);
      filled++;
      mbarrier_arrive_expect(full, sizeof(Stage));
#pragma unroll
      for (int group = 0; group < groups; group++) {
        const int row_tile = min(tiles.row_tile(tile, group), tiles.row_tiles - 1);  // the last one again where a tile has none of its own
        bulk_copy(stage.weights[group], product.weight.tiles + (int64_t(row_tile) * k_tiles + k) * tile_halves,
                  sizeof(stage.weights[group]), full);
      }
      const int first = block_in_cluster() * shared_rows;
      const int64_t row = int64_t(k) * product.in.rows_padded + tiles.first_token(tile) + first;
      bulk_copy_to_cluster(stage.inputs + first * tile_inputs, inputs + row * tile_inputs, sizeof(stage.inputs) / cluster, full, all_blocks);
    }
  }
  let_next_kernel_start();
  // The other block's last releases find this one's barriers.
  for (int last = max(filled - stages, 0); last < filled; last++) mbarrier_wait(&shared.empty[place_of(last)], phase_of(last));
}

// To each block of the cluster, because each brings some of the stage to all.
__device__ __forceinline__ void release(Shared& shared, int stage) {
  const int lane = threadIdx.x % warp_size;
  if (lane < cluster) mbarrier_arrive_at(&shared.empty[stage], lane);
}

// k_tiles of a part of K, from the ring. The sums begin at zero and each product adds to them, because the assembler lets none of the
// products overlap where the first may leave out what was there.
__device__ __forceinline__ void multiply_part(Shared& shared, int group, int k_tiles, int& used,
                                              float (&sums)[sums_a_thread]) {
#pragma unroll
  for (int i = 0; i < sums_a_thread; i++) sums[i] = 0;
#pragma unroll 1
  for (int k = 0; k < k_tiles; k++) {
    const Stage& stage = shared.ring[place_of(used)];
    mbarrier_wait(&shared.full[place_of(used)], phase_of(used));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < tile_inputs; i += wgmma_inputs)
      wgmma<tile_tokens>(sums, matrix_descriptor(stage.weights[group] + i), matrix_descriptor(stage.inputs + i), true);
    wgmma_commit();
    if (k > 0) {
      wgmma_wait<1>();
      release(shared, place_of(used - 1));
    }
    used++;
  }
  wgmma_wait<0>();
  release(shared, place_of(used - 1));
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
__device__ __forceinline__ void multiply_tile(const Product& product, Shared& shared, int row_tile, int group, int& used,
                                              float (&sums)[sums_a_thread]) {
  const Stripes& stripes = product.stripes;
  const int begin = row_tile / groups * stripes.tile_units, end = begin + stripes.tile_units;
  const int first = stripes.owner(begin), last = stripes.owner(end - 1);
  float* parts = product.partials + int64_t(blockIdx.x) * sums_a_thread * groups * warpgroup + threadIdx.x;
  for (int block = first; block <= last; block++) {
    const int units = min(stripes.begin(block + 1), end) - max(stripes.begin(block), begin);
    multiply_part(shared, group, units * stage_tiles, used, sums);
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
  int used = 0;
  float sums[sums_a_thread];
  for (int tile = blockIdx.x / cluster; tile < tiles.count; tile += gridDim.x / cluster) {
    const int row_tile = tiles.row_tile(tile, group);
    multiply_tile(product, shared, min(row_tile, tiles.row_tiles - 1), group, used, sums);
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
      mbarrier_init(&shared.empty[i], cluster * groups * warpgroup / warp_size);
    }
    mbarrier_fence_init();
  }
  cluster_sync();  // no block brings anything to another whose barriers are not there yet
  const int group = threadIdx.x / warpgroup;
  if (group < groups) {
    raise_registers<consumer_registers>();
    consume(product, shared, group);
  } else {
    lower_registers<producer_registers>();
    if (threadIdx.x == groups * warpgroup) produce(product, shared);
  }
}

}  // namespace

int prefill_rows(const WeightView& weight, int rows, int multiprocessors) {
  const int whole = rows / tile_tokens * tile_tokens;
  const int wanted = rows - whole <= tile_tokens / 2 ? whole : rows;
  return clusters_of_tiles(weight, wanted) >= multiprocessors / cluster ? wanted : 0;
}

void prefill_gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
                  const GemmWorkspace& workspace, cudaStream_t stream) {
  const int clusters = min(clusters_of_tiles(weight, rows), max(workspace.blocks / cluster, 1));
  const Product product = {weight, in, out, 0, rows, epilogue, stripes_of(weight, workspace.blocks), workspace.partials, nullptr};
  LAUNCH_CLUSTERS(prefill_gemm_kernel, cluster, clusters * cluster, threads, sizeof(Shared), stream, product);
}

}  // namespace ziya::ZIYA_DEVICE
