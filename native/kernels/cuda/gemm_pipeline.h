// What gemm.cu and gemm_fp8.cu share: out (rows, outputs) = epilogue(in (rows, inputs) * weight^T) for 1 ... 256 rows at once, decode, verify and
// prefill alike. They differ in what a tile of weights is, in how it is multiplied, and in whether the sums are scaled at their end: Weights, which
// each of them gives to the shapes that it launches.
// The trick: the weights are the 64-row operand of wgmma and the tokens its columns, so that one token costs no more than
// eight and every weight passes once. Two row tiles are multiplied beside each other, a warpgroup each, so that inputs come from the
// L2 cache once for both. Ready-swizzled tiles stream through a ring of shared memory by bulk copies; blocks take equal stripes of
// (pair of row tiles, K) and the last of a pair's blocks adds the parts in the order of K. Stripes depend on the weight's shape
// and the GPU alone, never on the rows: a row's sum has one order in any batch.
#pragma once

#include "gemm_stripes.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int consumer_barrier = 1, group_barrier = 2;
constexpr int ring_bytes_max = 208 << 10;
constexpr int stored_tokens_max = 32;  // at once, through shared memory
constexpr int loads_in_flight = 16;  // more would spill beside the sums
constexpr int consumers = groups * warpgroup;

// n rows, multiplied by as few instructions as there are for so many.
template <class OfWeights, int rows>
struct Shape {
  using Weights = OfWeights;
  static constexpr int n = rows, sums = n / 2;
  static constexpr int stored = n < stored_tokens_max ? n : stored_tokens_max;
};
__host__ __device__ constexpr int multiplied_at_once(int n) {
  int at_once = 8;
  while (at_once * 2 <= n) at_once *= 2;
  return at_once;
}

// rows of the sums from `first` on, which are the first of them that are left. `weights`: a descriptor of shared memory, or registers.
template <int rows, int first, class Operand, int sums_count>
__device__ __forceinline__ void multiply_rows(const Operand& weights, const half* inputs, float (&sums)[sums_count], bool accumulate) {
  constexpr int n = multiplied_at_once(rows);
  wgmma<n>(reinterpret_cast<float(&)[n / 2]>(sums[first / 2]), weights, matrix_descriptor(inputs + first * tile_inputs), accumulate);
  if constexpr (rows > n) multiply_rows<rows - n, first + n>(weights, inputs, sums, accumulate);
}

template <class S>
struct alignas(1024) Stage {
  typename S::Weights::Element weights[groups][stage_tiles][tile_halves];
  half inputs[stage_tiles][S::n * tile_inputs];
};

template <class S>
struct Shared {
  static constexpr int stages = ring_bytes_max / int(sizeof(Stage<S>));
  Stage<S> ring[stages];
  float stored[groups][S::stored * tile_rows];
  uint64_t full[stages], empty[stages];
  int is_last;
};

template <class S>
__device__ void load_weights(const Product& product, Stage<S>& stage, uint64_t* full, int unit) {
  const Stripes& stripes = product.stripes;
  const int pair = unit / stripes.tile_units, k = unit % stripes.tile_units * stage_tiles;
  mbarrier_arrive_expect(full, sizeof(Stage<S>));
#pragma unroll
  for (int group = 0; group < groups; group++) {
    const int row_tile = min(pair * groups + group, product.weight.row_tiles() - 1);  // the last one twice if they are odd
    bulk_copy_once(stage.weights[group], S::Weights::tiles(product.weight) + (int64_t(row_tile) * product.weight.k_tiles() + k) * tile_halves,
                   sizeof(stage.weights[group]), full);
  }
}

template <class S>
__device__ void load_inputs(const Product& product, Stage<S>& stage, uint64_t* full, int k_tile) {
  const half* from = static_cast<const half*>(product.in.data);
#pragma unroll
  for (int t = 0; t < stage_tiles; t++) {
    const int64_t row = int64_t(k_tile + t) * product.in.rows_padded + product.first_row;
    bulk_copy(stage.inputs[t], from + row * tile_inputs, sizeof(stage.inputs[t]), full);
  }
}

// One thread. Weights do not depend on the kernel before this one, so the ring fills while that one ends.
template <class S>
__device__ void produce(const Product& product, Shared<S>& shared) {
  constexpr int stages = Shared<S>::stages;
  const Stripes stripes = product.stripes;
  const int begin = stripes.begin(blockIdx.x), end = stripes.begin(blockIdx.x + 1);
  const int early = min(end - begin, stages);
  for (int i = 0; i < early; i++) load_weights(product, shared.ring[i], &shared.full[i], begin + i);
  wait_for_previous_kernel();
  RingPlace place;
  for (int unit = begin; unit < end; unit++) {
    Stage<S>& stage = shared.ring[place.stage];
    uint64_t* full = &shared.full[place.stage];
    if (unit - begin >= early) {
      mbarrier_wait(&shared.empty[place.stage], place.phase ^ 1);
      load_weights(product, stage, full, unit);
    }
    load_inputs(product, stage, full, unit % stripes.tile_units * stage_tiles);
    place.advance<stages>();
  }
  let_next_kernel_start();
}

template <class S>
__device__ __forceinline__ void release(Shared<S>& shared, int stage) {
  if (threadIdx.x % warp_size == 0) mbarrier_arrive(&shared.empty[stage]);
}

template <class S>
__device__ void store_tile(const Product& product, Shared<S>& shared, int pair, const float (&sums)[S::sums]) {
  const int group = threadIdx.x / warpgroup, row_tile = pair * groups + group;
  if (row_tile < product.weight.row_tiles())
    store_in_parts<S::stored>(product, shared.stored[group], group_barrier + group, row_tile, product.first_row, product.rows, sums);
}

// A block's stripe begins and ends inside a tile at most once each.
template <class S>
__device__ float* partial(const Product& product, int block, bool is_at_begin) {
  const int64_t slot = int64_t(block) * 2 + (is_at_begin ? 0 : 1);
  return product.partials + slot * (gemm_rows_max / 2 * consumers) + threadIdx.x;
}

// Leaves this block's part of a tile; returns whether all other parts are there.
template <class S>
__device__ bool leave_partial(const Product& product, Shared<S>& shared, int pair, int parts, bool is_at_begin,
                              const float (&sums)[S::sums]) {
  float* to = partial<S>(product, blockIdx.x, is_at_begin);
#pragma unroll
  for (int i = 0; i < S::sums; i++) to[i * consumers] = sums[i];
  __threadfence();
  named_barrier_sync(consumer_barrier, consumers);
  if (threadIdx.x == 0) {
    shared.is_last = atomicAdd(&product.arrivals[pair], 1) == parts - 1;
    if (shared.is_last) product.arrivals[pair] = 0;
  }
  named_barrier_sync(consumer_barrier, consumers);
  const bool is_last = shared.is_last;
  __threadfence();
  return is_last;
}

template <class S>
__device__ void finish_tile(const Product& product, Shared<S>& shared, const Stripes& stripes, int begin, int end,
                            float (&sums)[S::sums]) {
  const int pair = begin / stripes.tile_units;
  const int tile_begin = pair * stripes.tile_units, tile_end = tile_begin + stripes.tile_units;
  if (begin > tile_begin || end < tile_end) {
    const int first = stripes.owner(tile_begin), last = stripes.owner(tile_end - 1);
    if (!leave_partial<S>(product, shared, pair, last - first + 1, begin == stripes.begin(blockIdx.x), sums)) return;
    for (int block = first; block <= last; block++) {
      const float* from = partial<S>(product, block, stripes.begin(block) >= tile_begin);
#pragma unroll
      for (int i = 0; i < S::sums; i++) {
        if (i % loads_in_flight == 0) keep_memory_order();
        sums[i] = (block > first ? sums[i] : 0.0f) + __ldcg(from + i * consumers);
      }
    }
  }
  S::Weights::scale_rows(product, pair, sums);
  store_tile<S>(product, shared, pair, sums);
}

template <class S>
__device__ void consume(const Product& product, Shared<S>& shared) {
  wait_for_previous_kernel();
  const Stripes stripes = product.stripes;
  const int stripe_end = stripes.begin(blockIdx.x + 1);
  float sums[S::sums];
  RingPlace place;
  for (int begin = stripes.begin(blockIdx.x); begin < stripe_end;) {
    const int end = min((begin / stripes.tile_units + 1) * stripes.tile_units, stripe_end);
    S::Weights::template multiply<S>(shared, place, end - begin, sums);
    finish_tile<S>(product, shared, stripes, begin, end, sums);
    begin = end;
  }
}

template <class S>
__global__ void __launch_bounds__(threads, 1) gemm_kernel(Product product) {
  Shared<S>& shared = block_shared<Shared<S>>();
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shared<S>::stages; i++) {
      mbarrier_init(&shared.full[i], 1);
      mbarrier_init(&shared.empty[i], consumers / warp_size);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  if (threadIdx.x < consumers) {
    raise_registers<consumer_registers>();
    consume<S>(product, shared);
  } else {
    lower_registers<producer_registers>();
    if (threadIdx.x == consumers) produce<S>(product, shared);
  }
}

// By the first of the shapes that has place for so many rows.
template <class Weights, int... rows>
void launch(const Product& product, cudaStream_t stream) {
  bool is_launched = false;
  const auto launch_one = [&]<class S>(S) {
    if (is_launched || product.rows > S::n) return;
    is_launched = true;
    LAUNCH(gemm_kernel<S>, product.stripes.blocks, threads, sizeof(Shared<S>), stream, product);
  };
  (launch_one(Shape<Weights, rows>()), ...);
}

template <class Weights>
void launch_rows(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows,
                 const ActivationView& out, const GemmWorkspace& workspace, cudaStream_t stream) {
  const Stripes stripes = stripes_of(weight, workspace.blocks);
  for (int row = rows.begin; row < rows.end; row += gemm_rows_max) {
    const int count = rows.end - row < gemm_rows_max ? rows.end - row : gemm_rows_max;
    const Product product = {weight, in, out, row, count, epilogue, stripes, workspace.partials, arrivals};
    launch<Weights, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256>(product, stream);
  }
}

}  // namespace
}  // namespace ziya::ZIYA_DEVICE
