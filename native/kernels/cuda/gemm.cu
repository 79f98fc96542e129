// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T) for 1 ... 256 rows at once: decode, verify and prefill alike.
// The trick: the weights are the 64-row operand of wgmma and the tokens its columns, so that one token costs no more than
// eight and every weight passes once. Ready-swizzled tiles stream through a ring of shared memory by bulk copies; blocks
// take equal stripes of (row tile, K) and the last of a tile's blocks adds the parts in the order of K. Stripes depend on
// the weight's shape and the GPU alone, never on the rows: a row's sum has one order in any batch.
#include "gemm_stripes.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int consumer_barrier = 1, group_barrier = 2;
constexpr int ring_bytes_max = 160 << 10;
constexpr int stages_max = 10;
constexpr int loads_in_flight = 16;  // more would spill beside the sums

// Each of the warpgroups multiplies the same weights with n rows of its own.
template <int rows_a_group, int warpgroups>
struct Shape {
  static constexpr int n = rows_a_group, sums = n / 2, rows = n * warpgroups;
  static constexpr int consumers = warpgroups * warpgroup;
  static constexpr int threads = consumers + warp_size;
};

template <class S>
struct alignas(1024) Stage {
  half weights[stage_tiles][tile_halves];
  half inputs[stage_tiles][S::rows * tile_inputs];
};

template <class S>
struct Shared {
  static constexpr int fitting = ring_bytes_max / int(sizeof(Stage<S>));
  static constexpr int stages = fitting < stages_max ? fitting : stages_max;
  Stage<S> ring[stages];
  float tile[S::consumers / warpgroup][S::n * tile_rows];
  uint64_t full[stages], empty[stages];
  int is_last;
};

template <class S>
__device__ void load_weights(const Product& product, Stage<S>& stage, uint64_t* full, int unit) {
  mbarrier_arrive_expect(full, sizeof(Stage<S>));
  bulk_copy_once(stage.weights, product.weight.tiles + int64_t(unit) * stage_tiles * tile_halves, sizeof(stage.weights), full);
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
__device__ __forceinline__ void multiply_stage(const Stage<S>& stage, float (&sums)[S::sums], bool accumulate) {
  const half* inputs = stage.inputs[0] + threadIdx.x / warpgroup * S::n * tile_inputs;
  wgmma_fence();
#pragma unroll
  for (int t = 0; t < stage_tiles; t++) {
#pragma unroll
    for (int k = 0; k < tile_inputs; k += wgmma_inputs)
      wgmma<S::n>(sums, matrix_descriptor(stage.weights[t] + k), matrix_descriptor(inputs + t * S::rows * tile_inputs + k),
                  accumulate || t > 0 || k > 0);
  }
  wgmma_commit();
}

template <class S>
__device__ __forceinline__ void release(Shared<S>& shared, int stage) {
  if (threadIdx.x % warp_size == 0) mbarrier_arrive(&shared.empty[stage]);
}

// Through shared memory, so that the loop needs no registers beside the sums and neighbouring lanes write neighbouring rows.
template <class S>
__device__ void store_tile(const Product& product, Shared<S>& shared, int tile, const float (&sums)[S::sums]) {
  const int group = threadIdx.x / warpgroup, thread = threadIdx.x % warpgroup;
  const int lane = thread % warp_size, row = thread / warp_size * 16 + lane / 4;
  float* values = shared.tile[group];
#pragma unroll
  for (int i = 0; i < S::sums; i++)
    values[staged(i / 4 * 8 + lane % 4 * 2 + i % 2, row + i % 4 / 2 * 8)] = sums[i];
  named_barrier_sync(group_barrier + group, warpgroup);
  const int first_token = product.first_row + group * S::n, tokens = min(S::n, product.rows - group * S::n);
  if (product.epilogue == Epilogue::swiglu)
    store_features(product, values, first_token, tokens, tile);
  else
    store_rows(product, values, first_token, tokens, tile);
  named_barrier_sync(group_barrier + group, warpgroup);
}

// A block's stripe begins and ends inside a tile at most once each.
template <class S>
__device__ float* partial(const Product& product, int block, bool is_at_begin) {
  const int64_t slot = int64_t(block) * 2 + (is_at_begin ? 0 : 1);
  return product.partials + slot * (gemm_rows_max / 2 * warpgroup) + threadIdx.x;
}

// Leaves this block's part of a tile; returns whether all other parts are there.
template <class S>
__device__ bool leave_partial(const Product& product, Shared<S>& shared, int tile, int parts, bool is_at_begin,
                              const float (&sums)[S::sums]) {
  float* to = partial<S>(product, blockIdx.x, is_at_begin);
#pragma unroll
  for (int i = 0; i < S::sums; i++) to[i * S::consumers] = sums[i];
  __threadfence();
  named_barrier_sync(consumer_barrier, S::consumers);
  if (threadIdx.x == 0) {
    shared.is_last = atomicAdd(&product.arrivals[tile], 1) == parts - 1;
    if (shared.is_last) product.arrivals[tile] = 0;
  }
  named_barrier_sync(consumer_barrier, S::consumers);
  const bool is_last = shared.is_last;
  __threadfence();
  return is_last;
}

template <class S>
__device__ void finish_tile(const Product& product, Shared<S>& shared, const Stripes& stripes, int begin, int end,
                            float (&sums)[S::sums]) {
  const int tile = begin / stripes.tile_units;
  const int tile_begin = tile * stripes.tile_units, tile_end = tile_begin + stripes.tile_units;
  if (begin > tile_begin || end < tile_end) {
    const int first = stripes.owner(tile_begin), last = stripes.owner(tile_end - 1);
    if (!leave_partial<S>(product, shared, tile, last - first + 1, begin == stripes.begin(blockIdx.x), sums)) return;
    for (int block = first; block <= last; block++) {
      const float* from = partial<S>(product, block, stripes.begin(block) >= tile_begin);
#pragma unroll
      for (int i = 0; i < S::sums; i++) {
        if (i % loads_in_flight == 0) keep_memory_order();
        sums[i] = (block > first ? sums[i] : 0.0f) + __ldcg(from + i * S::consumers);
      }
    }
  }
  store_tile<S>(product, shared, tile, sums);
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
    int before = 0;
    for (int unit = begin; unit < end; unit++) {
      mbarrier_wait(&shared.full[place.stage], place.phase);
      multiply_stage<S>(shared.ring[place.stage], sums, unit > begin);
      if (unit > begin) {
        wgmma_wait<1>();
        release(shared, before);
      }
      before = place.stage;
      place.advance<Shared<S>::stages>();
    }
    wgmma_wait<0>();
    release(shared, before);
    finish_tile<S>(product, shared, stripes, begin, end, sums);
    begin = end;
  }
}

template <class S>
__global__ void __launch_bounds__(S::threads, 1) gemm_kernel(Product product) {
  Shared<S>& shared = block_shared<Shared<S>>();
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shared<S>::stages; i++) {
      mbarrier_init(&shared.full[i], 1);
      mbarrier_init(&shared.empty[i], S::consumers / warp_size);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  if (threadIdx.x < S::consumers)
    consume<S>(product, shared);
  else if (threadIdx.x == S::consumers)
    produce<S>(product, shared);
}

template <class S>
void launch(const Product& product, int blocks, cudaStream_t stream) {
  LAUNCH(gemm_kernel<S>, blocks, S::threads, sizeof(Shared<S>), stream, product);
}

}  // namespace

size_t gemm_partials_bytes(int blocks) { return size_t(blocks) * 2 * (gemm_rows_max / 2) * warpgroup * sizeof(float); }

void gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows,
          const ActivationView& out, const GemmWorkspace& workspace, cudaStream_t stream) {
  const Stripes stripes = stripes_of(weight, workspace.blocks);
  for (int row = rows.begin; row < rows.end; row += gemm_rows_max) {
    const int count = rows.end - row < gemm_rows_max ? rows.end - row : gemm_rows_max;
    const Product product = {weight, in, out, row, count, epilogue, stripes, workspace.partials, arrivals};
    switch (gemm_rows(count)) {
      case 8: launch<Shape<8, 1>>(product, stripes.blocks, stream); break;
      case 16: launch<Shape<16, 1>>(product, stripes.blocks, stream); break;
      case 32: launch<Shape<32, 1>>(product, stripes.blocks, stream); break;
      case 64: launch<Shape<64, 1>>(product, stripes.blocks, stream); break;
      case 128: launch<Shape<128, 1>>(product, stripes.blocks, stream); break;
      default: launch<Shape<128, 2>>(product, stripes.blocks, stream); break;
    }
  }
}

}  // namespace ziya::ZIYA_DEVICE
