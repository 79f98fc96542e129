// out (tokens, heads * head_size) = softmax(q * keys^T) * values over positions 0 ... the token's own, from the paged cache, by
// tensor cores: decoding, verifying and prefilling alike. q is already scaled.
// The trick: columns of the products are (token, query head) of one KV head, so the heads of a group read their cache once,
// for one token or for 16; keys and values are the rows, in tiles of 64 positions. A column's order of arithmetic is that of
// its own position: tiles and splits begin at fixed positions, a tile folds into its split's softmax, the splits into the
// result in their order, by the same code whether one block has them all or merge_kernel reads them. What lies beyond a
// column's position adds exactly nothing. So a decoded token and its recomputation by prefill are the same bytes.
// For sm_80 and later.
#include <type_traits>

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int tile_positions = 64;
constexpr int stages = 2;
constexpr int mma_rows = 16, mma_columns = 8;
constexpr int row_tiles = tile_positions / mma_rows;
constexpr int line_units = 8;  // of 16 bytes in the 32 banks of shared memory
constexpr int merge_warps = 4;
constexpr int merge_blocks_a_multiprocessor = 4;  // of a recorded launch
constexpr float log2_of_e = 1.44269504f;
static_assert(split_positions % tile_positions == 0 && tile_positions % block_tokens == 0);

template <int padded_head_size, int warps_, int column_tiles_>
struct Shape {
  static constexpr int head_size = padded_head_size, warps = warps_, column_tiles = column_tiles_;
  static constexpr int threads = warps * warp_size;
  static constexpr int units = head_size / unit_halves;  // of a row
  static constexpr int k_steps = head_size / mma_rows;
  static constexpr int warp_columns = column_tiles * mma_columns;
};

template <class S>
struct Stage {
  half keys[tile_positions * S::head_size], values[tile_positions * S::head_size];
};

template <class S>
struct Shared {
  Stage<S> ring[stages];
  float totals[S::k_steps * S::column_tiles * 4][S::threads];
};

struct Problem {
  StepView step;
  HeadShape shape;
  ActivationView qkv;
  KvView kv;
  AttentionParts parts;
  ActivationView out;
};

// Where a unit of a row stands in a tile, so that the same unit of 8 neighbouring rows is in 8 different groups of banks.
template <class S>
__device__ __forceinline__ int place(int row, int unit) {
  constexpr int rows_a_line = S::units < line_units ? line_units / S::units : 1;
  constexpr int swizzled_units = S::units < line_units ? S::units : line_units;
  return (row * S::units + (unit ^ row / rows_a_line % swizzled_units)) * unit_halves;
}

// The columns of one block: some of the query heads of a KV head, for a tile of tokens.
struct Columns {
  int first_token, tokens, first_head, heads, heads_a_token, kv_head, first_position, first_block;

  __device__ int token(int column) const { return column / heads_a_token; }
  __device__ int head(int column) const { return first_head + column % heads_a_token; }
  __device__ bool is_used(int column) const { return token(column) < tokens && column % heads_a_token < heads; }
  // The last position that the column sees; one before the first for an unused one.
  __device__ int position(int column) const { return is_used(column) ? first_position + token(column) : -1; }
};

__device__ Columns columns_of(const Problem& problem, const AttentionItem& item, int head_group) {
  const int group = problem.shape.group(), groups = column_groups(group);
  const TokenPlace place = problem.step.tokens[item.first_token];
  const int kv_head = head_group / groups, heads_before = head_group % groups * mma_columns;
  return {item.first_token,  item.tokens, kv_head * group + heads_before, min(group - heads_before, mma_columns),
          heads_a_column_group(group), kv_head, place.position, place.first_block};
}

// Positions begin ... begin + 63 up to `last`, and zeros.
template <class S>
__device__ void load_tile(const Problem& problem, const Columns& columns, int begin, int last, Stage<S>& stage) {
  const KvView& kv = problem.kv;
#pragma unroll
  for (int page = 0; page < tile_positions; page += block_tokens) {
    const int block_id = problem.step.words[columns.first_block + min(begin + page, last) / block_tokens];
    const int64_t from = kv.offset(block_id, columns.kv_head, 0);
#pragma unroll
    for (int i = threadIdx.x; i < block_tokens * S::units; i += S::threads) {
      const int slot = i / S::units, unit = i % S::units;
      const bool is_inside = begin + page + slot <= last && unit * unit_halves < kv.head_stride;
      const int64_t source = from + (is_inside ? slot * kv.head_stride + unit * unit_halves : 0);
      const int to = place<S>(page + slot, unit);
      cp_async_16(stage.keys + to, kv.keys + source, is_inside);
      cp_async_16(stage.values + to, kv.values + source, is_inside);
    }
  }
  cp_async_commit();
}

// A warp's queries as the second operand of mma, and what its lane's columns see: lane i has columns i % 4 * 2, + 1 of each
// tile of 8 in its sums.
template <class S>
struct Queries {
  uint32_t halves[S::k_steps][S::column_tiles][2];
  int positions[S::column_tiles][2];
  int last_position;
};

template <class S>
__device__ void load_queries(const Problem& problem, const Columns& columns, Queries<S>& queries) {
  const int lane = threadIdx.x % warp_size, first = threadIdx.x / warp_size * S::warp_columns;
  queries.last_position = -1;
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++) {
    const int column = first + n * mma_columns + lane / 4;
    const bool is_used = columns.is_used(column);
    const float* query = problem.qkv.row(columns.first_token + (is_used ? columns.token(column) : 0)) +
                         (is_used ? columns.head(column) : 0) * problem.shape.head_size;
#pragma unroll
    for (int k = 0; k < S::k_steps; k++)
#pragma unroll
      for (int half_k = 0; half_k < 2; half_k++) {
        const int i = k * mma_rows + half_k * 8 + lane % 4 * 2;
        const bool is_inside = is_used && i < problem.shape.head_size;
        const float2 pair = is_inside ? *reinterpret_cast<const float2*>(query + i) : make_float2(0, 0);
        queries.halves[k][n][half_k] = floats_to_halves(pair.x, pair.y);
      }
#pragma unroll
    for (int c = 0; c < 2; c++) queries.positions[n][c] = columns.position(first + n * mma_columns + lane % 4 * 2 + c);
  }
  for (int column = first; column < first + S::warp_columns; column++)
    queries.last_position = max(queries.last_position, columns.position(column));
}

// The softmax so far, of scores in powers of two. `values` are not yet divided by `sum`, and `sum` is of the lane's rows
// until the split ends.
template <class S>
struct Running {
  float maximum[S::column_tiles][2], sum[S::column_tiles][2], values[S::k_steps][S::column_tiles][4];
};

template <class S>
__device__ void clear(Running<S>& running) {
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      running.maximum[n][c] = -INFINITY;
      running.sum[n][c] = 0;
    }
#pragma unroll
  for (int k = 0; k < S::k_steps; k++)
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) running.values[k][n][i] = 0;
}

template <class S>
using Scores = float[row_tiles][S::column_tiles][4];

template <class S>
__device__ __forceinline__ void multiply_keys(const Stage<S>& stage, const Queries<S>& queries, Scores<S>& scores) {
  const int lane = threadIdx.x % warp_size;
#pragma unroll
  for (int m = 0; m < row_tiles; m++) {
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) scores[m][n][i] = 0;
#pragma unroll
    for (int k = 0; k < S::k_steps; k++) {
      uint32_t keys[4];
      ldmatrix_x4(keys, stage.keys + place<S>(m * mma_rows + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < S::column_tiles; n++) mma_m16n8k16(scores[m][n], keys, queries.halves[k][n]);
    }
  }
}

__device__ __forceinline__ float column_max(float value) {
#pragma unroll
  for (int mask = 4; mask < warp_size; mask *= 2) value = fmaxf(value, __shfl_xor_sync(all_lanes, value, mask));
  return value;
}

__device__ __forceinline__ float column_sum(float value) {
#pragma unroll
  for (int mask = 4; mask < warp_size; mask *= 2) value += __shfl_xor_sync(all_lanes, value, mask);
  return value;
}

// Scores become weights; what was there is scaled to the new maximum.
template <class S>
__device__ __forceinline__ void fold_scores(const Queries<S>& queries, int begin, Scores<S>& scores, Running<S>& running) {
  const int first = begin + threadIdx.x % warp_size / 4;
  float keep[S::column_tiles][2];
  bool is_changed = false;
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      float high = -INFINITY;
#pragma unroll
      for (int m = 0; m < row_tiles; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float& score = scores[m][n][h * 2 + c];
          if (first + m * mma_rows + h * 8 > queries.positions[n][c]) score = -INFINITY;
          high = fmaxf(high, score);
        }
      const float before = running.maximum[n][c];
      const float maximum = fmaxf(before, column_max(high) * log2_of_e);
      const float base = maximum == -INFINITY ? 0 : maximum;  // nothing is seen yet: all weights are 0
      keep[n][c] = exp2_approximate(before - base);
      is_changed |= keep[n][c] != 1;
      running.maximum[n][c] = maximum;
      float sum = running.sum[n][c] * keep[n][c];
#pragma unroll
      for (int m = 0; m < row_tiles; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float& score = scores[m][n][h * 2 + c];
          score = exp2_approximate(fmaf(score, log2_of_e, -base));
          sum += score;
        }
      running.sum[n][c] = sum;
    }
  if (__ballot_sync(all_lanes, is_changed) == 0) return;  // times 1 is what it was
#pragma unroll
  for (int k = 0; k < S::k_steps; k++)
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) running.values[k][n][i] *= keep[n][i % 2];
}

template <class S>
__device__ __forceinline__ void add_values(const Stage<S>& stage, const Scores<S>& weights, Running<S>& running) {
  const int lane = threadIdx.x % warp_size;
#pragma unroll
  for (int m = 0; m < row_tiles; m++) {
    uint32_t halves[S::column_tiles][2];
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        halves[n][h] = transposed_8x8(floats_to_halves(weights[m][n][h * 2], weights[m][n][h * 2 + 1]));
#pragma unroll
    for (int k = 0; k < S::k_steps; k++) {
      uint32_t values[4];
      ldmatrix_x4_transposed(values, stage.values + place<S>(m * mma_rows + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
#pragma unroll
      for (int n = 0; n < S::column_tiles; n++) mma_m16n8k16(running.values[k][n], values, halves[n]);
    }
  }
}

// The one order of arithmetic for a tile of positions, of decoding and of prefilling.
template <class S>
__device__ __forceinline__ void attend_tile(const Stage<S>& stage, const Queries<S>& queries, int begin, Running<S>& running) {
  Scores<S> scores;
  multiply_keys<S>(stage, queries, scores);
  fold_scores<S>(queries, begin, scores, running);
  add_values<S>(stage, scores, running);
}

struct Fold {
  float keep, add;  // scale what was there, and what comes
};

// The one way to add the next split's softmax to that of the splits before it.
__device__ __forceinline__ Fold fold(float& maximum, float& sum, float next_maximum, float next_sum) {
  const float before = maximum;
  maximum = fmaxf(before, next_maximum);
  const Fold scales = {exp2_approximate(before - maximum), exp2_approximate(next_maximum - maximum)};
  sum = fmaf(sum, scales.keep, next_sum * scales.add);
  return scales;
}
__device__ __forceinline__ float folded(const Fold& scales, float value, float next) {
  return fmaf(value, scales.keep, next * scales.add);
}
// A sum of nothing more than what underflowed has either sign; adding 0 makes it one.
__device__ __forceinline__ float finished(float value, float sum) { return value / sum + 0.0f; }

template <class S>
__device__ void store_part(const Problem& problem, const Columns& columns, int split, const Running<S>& running) {
  const int lane = threadIdx.x % warp_size, first = threadIdx.x / warp_size * S::warp_columns;
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      const int column = first + n * mma_columns + lane % 4 * 2 + c;
      if (columns.position(column) < split * split_positions) continue;
      const int first_part = problem.step.tokens[columns.first_token + columns.token(column)].first_part;
      const int64_t at = int64_t(first_part + split) * problem.shape.heads + columns.head(column);
      if (lane / 4 == 0) problem.parts.scales[at] = make_float2(running.maximum[n][c], running.sum[n][c]);
#pragma unroll
      for (int k = 0; k < S::k_steps; k++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int i = k * mma_rows + h * 8 + lane / 4;
          if (i < problem.kv.head_stride) problem.parts.values[at * problem.kv.head_stride + i] = running.values[k][n][h * 2 + c];
        }
    }
}

// What a block that has all splits keeps between them; the values stand in the lanes' own places in shared memory.
template <class S>
struct Totals {
  float maximum[S::column_tiles][2], sum[S::column_tiles][2];
};

template <class S>
__device__ void fold_split(const Queries<S>& queries, int split, const Running<S>& next, Totals<S>& totals,
                           float (&values)[S::k_steps * S::column_tiles * 4][S::threads]) {
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      if (queries.positions[n][c] < split * split_positions) continue;
      const Fold scales = fold(totals.maximum[n][c], totals.sum[n][c], next.maximum[n][c], next.sum[n][c]);
#pragma unroll
      for (int k = 0; k < S::k_steps; k++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float& value = values[(k * S::column_tiles + n) * 4 + h * 2 + c][threadIdx.x];
          value = folded(scales, split > 0 ? value : 0.0f, next.values[k][n][h * 2 + c]);
        }
    }
}

template <class S>
__device__ void store_out(const Problem& problem, const Columns& columns, const Totals<S>& totals,
                          const float (&values)[S::k_steps * S::column_tiles * 4][S::threads]) {
  const int lane = threadIdx.x % warp_size, first = threadIdx.x / warp_size * S::warp_columns;
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++) {
    const int column = first + n * mma_columns + lane / 4;
    const int64_t token = columns.first_token + columns.token(column);
#pragma unroll
    for (int k = 0; k < S::k_steps; k++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int at = (k * S::column_tiles + n) * 4 + h * 2;
        const uint32_t pair = transposed_8x8(floats_to_halves(finished(values[at][threadIdx.x], totals.sum[n][0]),
                                                              finished(values[at + 1][threadIdx.x], totals.sum[n][1])));
        const int i = k * mma_rows + h * 8 + lane % 4 * 2;
        if (columns.is_used(column) && i < problem.shape.head_size)
          *reinterpret_cast<uint32_t*>(problem.out.at(token, columns.head(column) * problem.shape.head_size + i)) = pair;
      }
  }
}

template <class S>
__device__ void attend(const Problem& problem, const AttentionItem& item, int head_group, Shared<S>& shared) {
  const Columns columns = columns_of(problem, item, head_group);
  Queries<S> queries;
  load_queries<S>(problem, columns, queries);
  const bool is_part = problem.step.tokens[item.first_token].parts > 0;
  const int begin = item.first_split * split_positions, end = begin + item.splits * split_positions;
  const int last = min(columns.first_position + columns.tokens, end) - 1;
  Totals<S> totals;
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      totals.maximum[n][c] = -INFINITY;
      totals.sum[n][c] = 0;
    }
  load_tile<S>(problem, columns, begin, last, shared.ring[0]);
  int tile = begin;
  for (int split = item.first_split; split < item.first_split + item.splits; split++) {
    Running<S> running;
    clear<S>(running);
    const int split_end = min((split + 1) * split_positions - 1, last);
    for (; tile <= split_end; tile += tile_positions) {
      const int stage = tile / tile_positions % stages;
      if (tile + tile_positions <= last) {
        load_tile<S>(problem, columns, tile + tile_positions, last, shared.ring[stage ^ 1]);
        cp_async_wait<1>();
      } else {
        cp_async_wait<0>();
      }
      __syncthreads();
      if (tile <= queries.last_position) attend_tile<S>(shared.ring[stage], queries, tile, running);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int c = 0; c < 2; c++) running.sum[n][c] = column_sum(running.sum[n][c]);
    if (is_part)
      store_part<S>(problem, columns, split, running);
    else
      fold_split<S>(queries, split, running, totals, shared.totals);
  }
  if (!is_part) store_out<S>(problem, columns, totals, shared.totals);
}

template <class S>
__global__ void __launch_bounds__(S::threads) attention_kernel(Problem problem, bool are_wide) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const StepCounts counts = *problem.step.counts;
  const int head_groups = problem.shape.kv_heads * column_groups(problem.shape.group());
  const int first_item = are_wide ? counts.narrow_items : 0, items = are_wide ? counts.wide_items : counts.narrow_items;
  const auto* all = reinterpret_cast<const AttentionItem*>(problem.step.words + counts.first_item) + first_item;
  for (int work = blockIdx.x; work < items * head_groups; work += gridDim.x)
    attend<S>(problem, all[work / head_groups], work % head_groups, block_shared<Shared<S>>());
}

// A warp a (token, head) adds its splits in their order.
__global__ void __launch_bounds__(merge_warps * warp_size) merge_kernel(Problem problem) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const StepCounts counts = *problem.step.counts;
  const int heads = problem.shape.heads, head_size = problem.shape.head_size, lane = threadIdx.x % warp_size;
  const int first = blockIdx.x * merge_warps + threadIdx.x / warp_size;
  for (int work = first; work < counts.merged_tokens * heads; work += gridDim.x * merge_warps) {
    const int token = problem.step.words[counts.first_merged + work / heads], head = work % heads;
    const TokenPlace place = problem.step.tokens[token];
    constexpr int columns_a_lane = tiled_head_size_max / warp_size;
    float maximum = -INFINITY, sum = 0, values[columns_a_lane] = {};
    for (int split = 0; split < place.parts; split++) {
      const int64_t at = int64_t(place.first_part + split) * heads + head;
      const float2 next = problem.parts.scales[at];
      const Fold scales = fold(maximum, sum, next.x, next.y);
#pragma unroll
      for (int c = 0; c < columns_a_lane; c++) {
        const int i = c * warp_size + lane;
        if (i < head_size) values[c] = folded(scales, values[c], problem.parts.values[at * problem.kv.head_stride + i]);
      }
    }
#pragma unroll
    for (int c = 0; c < columns_a_lane; c++) {
      const int i = c * warp_size + lane;
      if (i < head_size) store(problem.out.at(token, head * head_size + i), finished(values[c], sum));
    }
  }
}

template <int head_size>
using Narrow = Shape<head_size, 1, narrow_tile_columns / mma_columns>;
template <int head_size>
using Wide = Shape<head_size, wide_tile_columns / (2 * mma_columns), 2>;

// A recorded launch has as many blocks as begin at once: one more would begin its share when the others have ended.
template <class S>
void launch(const Problem& problem, bool are_wide, int items, int multiprocessors, cudaStream_t stream) {
  if (items == 0) return;
  const int head_groups = problem.shape.kv_heads * column_groups(problem.shape.group());
  const int blocks = multiprocessors > 0
                         ? multiprocessors * resident_blocks("attention_kernel", attention_kernel<S>, S::threads, sizeof(Shared<S>))
                         : items * head_groups;
  LAUNCH(attention_kernel<S>, blocks, S::threads, sizeof(Shared<S>), stream, problem, are_wide);
}

// The kernels' head sizes; smaller heads are padded with zeros in shared memory.
template <class Visit>
auto with_head_size(int head_size, const Visit& visit) {
  if (head_size <= 16) return visit(std::integral_constant<int, 16>());
  if (head_size <= 32) return visit(std::integral_constant<int, 32>());
  if (head_size <= 64) return visit(std::integral_constant<int, 64>());
  return visit(std::integral_constant<int, tiled_head_size_max>());
}

}  // namespace

size_t tiled_attention_shared_bytes(int head_size) {
  return with_head_size(head_size, [](auto padded) { return sizeof(Shared<Wide<decltype(padded)::value>>); });
}

void tiled_attention(const StepView& step, const AttentionLaunch& how, const HeadShape& shape, const ActivationView& qkv,
                     const KvView& kv, const AttentionParts& parts, const ActivationView& out, cudaStream_t stream) {
  const Problem problem = {step, shape, qkv, kv, parts, out};
  with_head_size(shape.head_size, [&](auto padded) {
    launch<Narrow<decltype(padded)::value>>(problem, false, how.counts.narrow_items, how.multiprocessors, stream);
    launch<Wide<decltype(padded)::value>>(problem, true, how.counts.wide_items, how.multiprocessors, stream);
  });
  const int merges = ceil_div(how.counts.merged_tokens * shape.heads, merge_warps);
  const int recorded = how.multiprocessors * merge_blocks_a_multiprocessor;
  if (merges > 0)
    LAUNCH(merge_kernel, recorded > 0 ? recorded : merges, merge_warps * warp_size, 0, stream, problem);
}

}  // namespace ziya::ZIYA_DEVICE
