// out (tokens, heads * head_size) = softmax(q * keys^T) * values over positions 0 ... the token's own, from the paged cache, by
// tensor cores: decoding, verifying and prefilling alike. q is already scaled.
// The trick: columns of the products are (token, query head) of one KV head, so the heads of a group read their cache once,
// for one token or for 16; keys and values are the rows, in tiles of 64 positions. A column's order of arithmetic is that of
// its own position: tiles and splits begin at fixed positions, a tile folds into its split's softmax, the splits into the
// result in their order, by the same code whether one block has them all or merge_kernel reads them. What lies beyond a
// column's position adds exactly nothing. So a decoded token and its recomputation by prefill are the same bytes.
// Of an fp8 cache half the bytes come into shared memory, and a lane makes its operands of codes, which lie there as it needs them: see layout.h.
// For sm_80 and later.
#include <type_traits>

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int tile_positions = 64;
constexpr int ring_stages = 2;
constexpr int mma_rows = 16, mma_columns = 8;
constexpr int row_tiles = tile_positions / mma_rows;
constexpr int line_units = 8;  // of 16 bytes in the 32 banks of shared memory
constexpr int merge_warps = 4;
constexpr int merge_blocks_a_multiprocessor = 4;  // of a recorded launch
constexpr float log2_of_e = 1.44269504f;
static_assert(split_positions % tile_positions == 0 && tile_positions % block_tokens == 0);

// Of the positions of a tile.
template <class Number>
struct Scales {};
template <>
struct Scales<uint8_t> {
  alignas(16) half key_scales[tile_positions], value_scales[tile_positions];
};

// Keys and values of 64 positions in shared memory.
template <class Number_, int head_size>
struct Tile : Scales<Number_> {
  using Number = Number_;
  static constexpr bool is_fp8 = sizeof(Number) == sizeof(uint8_t);
  static constexpr int unit_numbers = 16 / sizeof(Number);
  static constexpr int units = head_size / unit_numbers;  // of a row
  Number keys[tile_positions * head_size], values[tile_positions * head_size];

  // Where a unit of a row stands, so that the same unit of 8 neighbouring rows is in 8 different groups of banks.
  static __device__ __forceinline__ int place(int row, int unit) {
    constexpr int rows_a_line = units < line_units ? line_units / units : 1;
    constexpr int swizzled_units = units < line_units ? units : line_units;
    return (row * units + (unit ^ row / rows_a_line % swizzled_units)) * unit_numbers;
  }
};

// A warp alone multiplies what is cached, and makes halves of codes in its registers; several would each do so, and have the tile converted before.
template <class Number, int padded_head_size, int warps_, int column_tiles_>
struct Shape {
  static constexpr int head_size = padded_head_size, warps = warps_, column_tiles = column_tiles_;
  static constexpr int threads = warps * warp_size;
  static constexpr int k_steps = head_size / mma_rows;
  static constexpr int warp_columns = column_tiles * mma_columns;
  static constexpr bool is_converted = sizeof(Number) != sizeof(half) && warps > 1;
  using Cached = Tile<Number, head_size>;
  using Multiplied = std::conditional_t<is_converted, Tile<half, head_size>, Cached>;
};

template <class S, bool is_converted = S::is_converted>
struct Ring {
  typename S::Cached stages[ring_stages];
  __device__ const typename S::Multiplied& multiplied(int stage) const { return stages[stage]; }
};
template <class S>
struct Ring<S, true> {
  typename S::Cached stages[ring_stages];
  typename S::Multiplied converted;
  __device__ const typename S::Multiplied& multiplied(int) const { return converted; }
};

template <class S>
struct Shared {
  Ring<S> ring;
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

// Of a block, by the first of the threads that load it.
__device__ __forceinline__ void load_scales(const KvView& kv, int64_t first_row, int page, int thread, Scales<uint8_t>& tile) {
  if (thread >= block_tokens / unit_halves) return;
  const int slot = thread * unit_halves;
  cp_async_16(tile.key_scales + page + slot, kv.keys.scales + first_row + slot, true);
  cp_async_16(tile.value_scales + page + slot, kv.values.scales + first_row + slot, true);
}

// Positions begin ... begin + 63 up to `last`, and zeros.
template <class S>
__device__ void load_tile(const Problem& problem, const Columns& columns, int begin, int last, typename S::Cached& tile) {
  using T = typename S::Cached;
  const KvView& kv = problem.kv;
  // Where threads are more than a block's units, several blocks are loaded at once. All counts are known to the compiler, which does not know that
  // there are so few threads.
  constexpr int page_units = block_tokens * T::units;
  constexpr int pages_at_once = S::threads > page_units ? S::threads / page_units : 1;
  constexpr int page_threads = S::threads / pages_at_once;
  const int thread = threadIdx.x % page_threads;
#pragma unroll
  for (int first_page = 0; first_page < tile_positions; first_page += pages_at_once * block_tokens) {
    const int page = first_page + threadIdx.x / page_threads * block_tokens;
    if (pages_at_once * block_tokens > tile_positions && page >= tile_positions) break;
    const int block_id = problem.step.words[columns.first_block + min(begin + page, last) / block_tokens];
    const int64_t from = kv.offset(block_id, columns.kv_head, 0);
    if constexpr (T::is_fp8) load_scales(kv, kv.row(block_id, columns.kv_head, 0), page, thread, tile);
#pragma unroll
    for (int first = 0; first < page_units; first += page_threads) {
      const int i = first + thread;
      if (page_units % page_threads != 0 && i >= page_units) break;
      const int slot = i / T::units, unit = i % T::units;
      const bool is_inside = begin + page + slot <= last && unit * T::unit_numbers < kv.head_stride;
      const int64_t source = from + (is_inside ? slot * kv.head_stride + unit * T::unit_numbers : 0);
      const int to = T::place(page + slot, unit);
      cp_async_16(tile.keys + to, kv.keys.numbers<typename T::Number>() + source, is_inside);
      cp_async_16(tile.values + to, kv.values.numbers<typename T::Number>() + source, is_inside);
    }
  }
  cp_async_commit();
}

// Two units of halves of one of codes, whose columns stand as key_place or value_place says.
template <bool are_values, class From, class To>
__device__ __forceinline__ void convert_unit(const From& from, int row, int unit, half scale, To& to) {
  const uint4 codes = *reinterpret_cast<const uint4*>((are_values ? from.values : from.keys) + From::place(row, unit));
  const half twice[2] = {scale, scale};
  uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w}, scales, halves[2][4];
  memcpy(&scales, twice, sizeof(scales));
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const uint32_t pair = are_values ? __byte_perm(words[i], 0, h == 0 ? 0x20 : 0x31) : words[i] >> 16 * h;
      halves[h][i] = multiply_halves(codes_to_halves(uint16_t(pair)), scales);
    }
#pragma unroll
  for (int h = 0; h < 2; h++)
    *reinterpret_cast<uint4*>((are_values ? to.values : to.keys) + To::place(row, 2 * unit + h)) =
        make_uint4(halves[h][0], halves[h][1], halves[h][2], halves[h][3]);
}

// By all threads of the block.
template <class S>
__device__ __forceinline__ void convert_tile(const typename S::Cached& from, typename S::Multiplied& to) {
  constexpr int units = S::Cached::units;
#pragma unroll
  for (int first = 0; first < tile_positions * units; first += S::threads) {
    const int i = first + threadIdx.x;
    if (tile_positions * units % S::threads != 0 && i >= tile_positions * units) break;
    convert_unit<false>(from, i / units, i % units, from.key_scales[i / units], to);
    convert_unit<true>(from, i / units, i % units, from.value_scales[i / units], to);
  }
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

// Whose keys' scales were left out of the products.
template <class S>
__device__ __forceinline__ void scale_scores(const Scales<uint8_t>& tile, int m, Scores<S>& scores) {
  const half* scales = tile.key_scales + m * mma_rows + threadIdx.x % warp_size / 4;
  const float of_rows[2] = {to_float(scales[0]), to_float(scales[8])};
#pragma unroll
  for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) scores[m][n][i] *= of_rows[i / 2];
}

// The first operand of mma: 16 positions and 16 columns of keys.
template <class T>
__device__ __forceinline__ void load_keys(const T& tile, int m, int k, uint32_t (&keys)[4]) {
  const int lane = threadIdx.x % warp_size;
  if constexpr (T::is_fp8) {
    uint32_t codes[2];  // of a lane's two positions, four columns each: see key_place
    ldmatrix_x2(codes, tile.keys + T::place(m * mma_rows + lane % 16, k));
#pragma unroll
    for (int i = 0; i < 4; i++) keys[i] = codes_to_halves(uint16_t(codes[i % 2] >> i / 2 * 16));
  } else {
    ldmatrix_x4(keys, tile.keys + T::place(m * mma_rows + lane % 16, k * 2 + lane / 16));
  }
}

// 16 columns and 16 positions of values, those of codes with their scales, of positions in pairs.
template <class T>
__device__ __forceinline__ void load_values(const T& tile, int m, int k, const uint32_t (&scales)[2], uint32_t (&values)[4]) {
  const int lane = threadIdx.x % warp_size;
  if constexpr (T::is_fp8) {
    uint32_t codes[2];  // of two positions, a lane's two columns each: see value_place
    ldmatrix_x2_transposed(codes, tile.values + T::place(m * mma_rows + lane % 16, k));
#pragma unroll
    for (int i = 0; i < 4; i++)
      values[i] = multiply_halves(codes_to_halves(uint16_t(__byte_perm(codes[i / 2], 0, i % 2 == 0 ? 0x20 : 0x31))), scales[i / 2]);
  } else {
    ldmatrix_x4_transposed(values, tile.values + T::place(m * mma_rows + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
  }
}

template <class S>
__device__ __forceinline__ void multiply_keys(const typename S::Multiplied& tile, const Queries<S>& queries, Scores<S>& scores) {
#pragma unroll
  for (int m = 0; m < row_tiles; m++) {
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) scores[m][n][i] = 0;
#pragma unroll
    for (int k = 0; k < S::k_steps; k++) {
      uint32_t keys[4];
      load_keys(tile, m, k, keys);
#pragma unroll
      for (int n = 0; n < S::column_tiles; n++) mma_m16n8k16(scores[m][n], keys, queries.halves[k][n]);
    }
    if constexpr (S::Multiplied::is_fp8) scale_scores<S>(tile, m, scores);
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
__device__ __forceinline__ void add_values(const typename S::Multiplied& tile, const Scores<S>& weights, Running<S>& running) {
#pragma unroll
  for (int m = 0; m < row_tiles; m++) {
    uint32_t scales[2] = {};
    if constexpr (S::Multiplied::is_fp8)
      for (int h = 0; h < 2; h++)
        scales[h] = *reinterpret_cast<const uint32_t*>(tile.value_scales + m * mma_rows + h * 8 + threadIdx.x % 4 * 2);
    uint32_t halves[S::column_tiles][2];
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        halves[n][h] = transposed_8x8(floats_to_halves(weights[m][n][h * 2], weights[m][n][h * 2 + 1]));
#pragma unroll
    for (int k = 0; k < S::k_steps; k++) {
      uint32_t values[4];
      load_values(tile, m, k, scales, values);
#pragma unroll
      for (int n = 0; n < S::column_tiles; n++) mma_m16n8k16(running.values[k][n], values, halves[n]);
    }
  }
}

// The one order of arithmetic for a tile of positions, of decoding and of prefilling.
template <class S>
__device__ __forceinline__ void attend_tile(const typename S::Multiplied& tile, const Queries<S>& queries, int begin, Running<S>& running) {
  Scores<S> scores;
  multiply_keys<S>(tile, queries, scores);
  fold_scores<S>(queries, begin, scores, running);
  add_values<S>(tile, scores, running);
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
  // Looked up when it is asked, after each split: there is no register to keep it in.
  const auto is_part = [&] { return problem.step.tokens[item.first_token].parts > 0; };
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
  load_tile<S>(problem, columns, begin, last, shared.ring.stages[0]);
  int tile = begin;
  for (int split = item.first_split; split < item.first_split + item.splits; split++) {
    Running<S> running;
    clear<S>(running);
    const int split_end = min((split + 1) * split_positions - 1, last);
    for (; tile <= split_end; tile += tile_positions) {
      const int stage = tile / tile_positions % ring_stages;
      if (tile + tile_positions <= last) {
        load_tile<S>(problem, columns, tile + tile_positions, last, shared.ring.stages[stage ^ 1]);
        cp_async_wait<1>();
      } else {
        cp_async_wait<0>();
      }
      __syncthreads();
      if constexpr (S::is_converted) {
        convert_tile<S>(shared.ring.stages[stage], shared.ring.converted);
        __syncthreads();
      }
      if (tile <= queries.last_position) attend_tile<S>(shared.ring.multiplied(stage), queries, tile, running);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < S::column_tiles; n++)
#pragma unroll
      for (int c = 0; c < 2; c++) running.sum[n][c] = column_sum(running.sum[n][c]);
    if (is_part())
      store_part<S>(problem, columns, split, running);
    else
      fold_split<S>(queries, split, running, totals, shared.totals);
  }
  if (!is_part()) store_out<S>(problem, columns, totals, shared.totals);
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

template <class Number, int head_size>
using Narrow = Shape<Number, head_size, 1, narrow_tile_columns / mma_columns>;
template <class Number, int head_size>
using Wide = Shape<Number, head_size, wide_tile_columns / (2 * mma_columns), 2>;

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

template <class Number>
void launch_tiles(const Problem& problem, const AttentionLaunch& how, cudaStream_t stream) {
  with_head_size(problem.shape.head_size, [&](auto padded) {
    launch<Narrow<Number, decltype(padded)::value>>(problem, false, how.counts.narrow_items, how.multiprocessors, stream);
    launch<Wide<Number, decltype(padded)::value>>(problem, true, how.counts.wide_items, how.multiprocessors, stream);
  });
}

}  // namespace

size_t tiled_attention_shared_bytes(int head_size) {
  return with_head_size(head_size, [](auto padded) {
    return std::max(sizeof(Shared<Wide<half, decltype(padded)::value>>), sizeof(Shared<Wide<uint8_t, decltype(padded)::value>>));
  });
}

void tiled_attention(const StepView& step, const AttentionLaunch& how, const HeadShape& shape, const ActivationView& qkv,
                     const KvView& kv, const AttentionParts& parts, const ActivationView& out, cudaStream_t stream) {
  const Problem problem = {step, shape, qkv, kv, parts, out};
  if (kv.is_fp8())
    launch_tiles<uint8_t>(problem, how, stream);
  else
    launch_tiles<half>(problem, how, stream);
  const int merges = ceil_div(how.counts.merged_tokens * shape.heads, merge_warps);
  const int recorded = how.multiprocessors * merge_blocks_a_multiprocessor;
  if (merges > 0)
    LAUNCH(merge_kernel, recorded > 0 ? recorded : merges, merge_warps * warp_size, 0, stream, problem);
}

}  // namespace ziya::ZIYA_DEVICE
