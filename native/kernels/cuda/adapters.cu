// What adapters add to a product, in two launches for all tokens, adapters and parts of a step: shrunk (tokens, ranks) = scale * in * a^T,
// then out (tokens, outputs) += shrunk * b^T.
// The trick: an item is up to 8 neighbouring tokens of one adapter, so a and b pass once for them; a block has four ranks of a part over all
// of its inputs, a thread of the second kernel one output over all of its ranks. So the order of each sum depends on the part alone.
#include "inputs.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int shrink_warps = 8, shrink_threads = shrink_warps * warp_size;
constexpr int shrink_ranks = 4;  // of a block
constexpr int expand_threads = 128;

struct ShrinkShared {
  float sums[shrink_warps][adapter_item_tokens][shrink_ranks];
};

struct Work {
  AdapterItem item;
  AdapterPartView part;
};

// A block may have no work, for a grid is as large as the largest adapter and the most items need.
__device__ __forceinline__ bool find_work(const StepView& step, const AdapterView& adapters, Work& work) {
  if (int(blockIdx.y) >= step.counts->adapter_items) return false;
  const int32_t* words = step.words + step.counts->first_adapter_item + blockIdx.y * adapter_item_words;
  work.item = {words[0], words[1], words[2]};
  const Span parts = adapters.of_adapters[work.item.adapter];
  if (int(blockIdx.z) >= parts.count) return false;
  work.part = adapters.parts[parts.begin + blockIdx.z];
  return true;
}

template <class In, int tokens>
__device__ __forceinline__ void shrink_item(const Work& work, const ActivationView& in, ShrinkShared& shared) {
  const auto& [item, part] = work;
  float sums[tokens][shrink_ranks] = {};
  for (int k = threadIdx.x * unit_halves; k < part.a_stride; k += shrink_threads * unit_halves) {
    float a[shrink_ranks][unit_halves];
#pragma unroll
    for (int j = 0; j < shrink_ranks; j++)
      load8(part.a + int64_t(min(int(blockIdx.x) * shrink_ranks + j, part.rank - 1)) * part.a_stride + k, a[j]);
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      float x[unit_halves];
      load_inputs<In>(in, item.first_token + min(t, item.tokens - 1), k, x);
#pragma unroll
      for (int j = 0; j < shrink_ranks; j++)
#pragma unroll
        for (int i = 0; i < unit_halves; i++) sums[t][j] = fmaf(x[i], a[j][i], sums[t][j]);
    }
  }
#pragma unroll
  for (int t = 0; t < tokens; t++)
#pragma unroll
    for (int j = 0; j < shrink_ranks; j++) {
      const float sum = warp_sum(sums[t][j]);
      if (threadIdx.x % warp_size == 0) shared.sums[threadIdx.x / warp_size][t][j] = sum;
    }
}

template <class In>
__global__ void __launch_bounds__(shrink_threads, 1)
    shrink_kernel(StepView step, AdapterView adapters, ActivationView in, float* shrunk) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  ShrinkShared& shared = block_shared<ShrinkShared>();
  Work work;
  if (!find_work(step, adapters, work) || int(blockIdx.x) * shrink_ranks >= work.part.rank) return;
  if (work.item.tokens == 1)
    shrink_item<In, 1>(work, in, shared);
  else
    shrink_item<In, adapter_item_tokens>(work, in, shared);
  __syncthreads();
  const int token = threadIdx.x / shrink_ranks, rank = blockIdx.x * shrink_ranks + threadIdx.x % shrink_ranks;
  if (token >= work.item.tokens || rank >= work.part.rank) return;
  float sum = 0;
  for (int warp = 0; warp < shrink_warps; warp++) sum += shared.sums[warp][token][threadIdx.x % shrink_ranks];
  shrunk[int64_t(work.item.first_token + token) * adapters.ranks + work.part.first_rank + rank] = work.part.scale * sum;
}

template <int tokens>
__device__ __forceinline__ void expand_item(const Work& work, bool alternates, const float* shrunk, int output, const ActivationView& out,
                                            const WeightView& weight) {
  const auto& [item, part] = work;
  float sums[tokens] = {};
  for (int k = 0; k < part.b_stride; k += unit_halves) {
    float b[unit_halves];
    load8(part.b + int64_t(output) * part.b_stride + k, b);
#pragma unroll
    for (int t = 0; t < tokens; t++)
#pragma unroll
      for (int i = 0; i < unit_halves; i++) sums[t] = fmaf(shrunk[t * part.b_stride + k + i], b[i], sums[t]);
  }
  const int column = alternates ? weight.packed_row(part.first_output + output) : part.first_output + output;
#pragma unroll
  for (int t = 0; t < tokens; t++)
    if (t < item.tokens) out.row(item.first_token + t)[column] += sums[t];
}

__global__ void __launch_bounds__(expand_threads)
    expand_kernel(StepView step, AdapterView adapters, const float* shrunk, ActivationView out) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  float* own = &block_shared<float>();  // (adapter_item_tokens, b_stride), padded with zeros as b is
  Work work;
  if (!find_work(step, adapters, work) || int(blockIdx.x) * expand_threads >= work.part.outputs) return;
  const auto& [item, part] = work;
  for (int i = threadIdx.x; i < adapter_item_tokens * part.b_stride; i += expand_threads) {
    const int token = i / part.b_stride, rank = i % part.b_stride;
    own[i] = token < item.tokens && rank < part.rank ? shrunk[int64_t(item.first_token + token) * adapters.ranks + part.first_rank + rank] : 0;
  }
  __syncthreads();
  const int output = blockIdx.x * expand_threads + threadIdx.x;
  if (output >= part.outputs) return;
  const bool alternates = adapters.weight.interleaved;
  if (item.tokens == 1)
    expand_item<1>(work, alternates, own, output, out, adapters.weight);
  else
    expand_item<adapter_item_tokens>(work, alternates, own, output, out, adapters.weight);
}

}  // namespace

void add_adapters(const StepView& step, int items, const AdapterView& adapters, const ActivationView& in, float* shrunk,
                  const ActivationView& out, cudaStream_t stream) {
  const dim3 ranks(ceil_div(adapters.rank_max, shrink_ranks), items, adapters.parts_max);
  if (in.is_half)
    LAUNCH(shrink_kernel<half>, ranks, shrink_threads, sizeof(ShrinkShared), stream, step, adapters, in, shrunk);
  else
    LAUNCH(shrink_kernel<float>, ranks, shrink_threads, sizeof(ShrinkShared), stream, step, adapters, in, shrunk);
  const dim3 outputs(ceil_div(adapters.outputs_max, expand_threads), items, adapters.parts_max);
  const size_t own_bytes = size_t(adapter_item_tokens) * round_up(adapters.rank_max, unit_halves) * sizeof(float);
  LAUNCH(expand_kernel, outputs, expand_threads, own_bytes, stream, step, adapters, shrunk, out);
}

}  // namespace ziya::ZIYA_DEVICE
