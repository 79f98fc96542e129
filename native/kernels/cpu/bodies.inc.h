// The bodies of the CPU kernels over a vector of `width` floats. Included by one translation unit an instruction set,
// after it has defined the vector's operations in ziya's unnamed namespace. Uses no standard containers or algorithms:
// see bodies.h.
//
// Batch invariance: every sum below is one chain of fma over k = 0, 1, 2, …, however many rows or panels its tile has
// and wherever it pauses in memory, so a token's results do not depend on what is computed beside it.
#pragma once

namespace ziya {
namespace {

static_assert(width <= width_max);

// The prefill path's blocks: a slice of a pair in L1 as fp32 (16 KiB), the rows' slices and the sums in L2.
constexpr int blocked_k = 2048 / width;
constexpr int blocked_rows = 174;
constexpr int blocked_pairs = 256 / width;
constexpr int few_rows = 8 * rows_max;  // up to here it is faster to convert again in registers than to write slices
constexpr int prefetch_bytes = 1024;    // how far ahead of the panels being multiplied

inline int least(int a, int b) { return a < b ? a : b; }

inline void prefetch_lines(const void* from, int bytes) {
  for (int line = 0; line < bytes; line += 64) prefetch(static_cast<const char*>(from) + line);
}

inline float sum_lanes(Floats a) {
  float lanes[width];
  store(lanes, a);
  for (int half = width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

inline float max_lanes(Floats a) {
  float lanes[width];
  store(lanes, a);
  float result = lanes[0];
  for (int i = 1; i < width; i++) result = lanes[i] > result ? lanes[i] : result;
  return result;
}

// Cephes' expf: 2 ulp; 0 below the smallest normal, bounded above.
inline Floats exponential(Floats x) {
  constexpr float lowest = -87.33f;
  const Floats bounded = sub(set1(0), max(sub(set1(0), max(x, set1(lowest))), set1(-88.0f)));
  const Floats n = round(mul(bounded, set1(1.44269504f)));
  Floats r = fma(n, set1(-0.693359375f), bounded);
  r = fma(n, set1(2.12194440e-4f), r);
  Floats y = set1(1.9875691500e-4f);
  y = fma(y, r, set1(1.3981999507e-3f));
  y = fma(y, r, set1(8.3334519073e-3f));
  y = fma(y, r, set1(4.1665795894e-2f));
  y = fma(y, r, set1(1.6666665459e-1f));
  y = fma(y, r, set1(5.0000001201e-1f));
  y = add(fma(y, mul(r, r), r), set1(1));
  return zero_where_below(x, lowest, mul(y, pow2(n)));
}

// 0.5 x (1 + tanh(u)) is x / (1 + exp(-2 u)), where u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Floats tanh_gelu(Floats x) {
  const Floats cubic = fma(mul(x, x), set1(0.044715f), set1(1));
  return div(x, add(set1(1), exponential(mul(mul(x, cubic), set1(-1.5957691216f)))));
}

// 0.5 x erfc(-x / sqrt(2)), where erfc(z) of z >= 0 is Abramowitz and Stegun's 7.1.26: it is off by 1.5e-7 at most. Not a number stays none.
inline Floats exact_gelu(Floats x) {
  const Floats size = max(x, sub(set1(0), x)), z = mul(size, set1(0.7071067812f));
  const Floats t = div(set1(1), fma(z, set1(0.3275911f), set1(1)));
  Floats y = set1(1.061405429f);
  y = fma(y, t, set1(-1.453152027f));
  y = fma(y, t, set1(1.421413741f));
  y = fma(y, t, set1(-0.284496736f));
  y = fma(y, t, set1(0.254829592f));
  const Floats erfc = mul(mul(y, t), exponential(mul(z, sub(set1(0), z))));
  return mul(set1(0.5f), sub(add(x, size), mul(size, erfc)));
}

inline Floats silu(Floats x) { return div(x, add(set1(1), exponential(sub(set1(0), x)))); }

// sums (R, C * width) = [sums +] x (R, k_count) * w, where w has C vectors at w + k * k_stride + c * c_stride and is
// prefetched `ahead` bytes before its use, if that is not 0.
template <int R, int C, int ahead, class Weight>
inline __attribute__((always_inline)) void tile(const float* x, int64_t x_stride, const Weight* w, int64_t k_stride,
                                                int64_t c_stride, int k_count, float* sums, int64_t sums_stride,
                                                bool accumulate) {
  Floats sum[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) sum[r][c] = accumulate ? load(sums + r * sums_stride + c * width) : set1(0);

  const float* row[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) row[r] = x + r * x_stride;

  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    Floats weight[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) weight[c] = load(w + c * c_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Floats value = set1(row[r][k]);
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) sum[r][c] = fma(value, weight[c], sum[r][c]);
    }
    w += k_stride;
  };
  int64_t k = 0;
  for (; k + 4 <= k_count; k += 4) {
    if constexpr (ahead > 0) {
#pragma GCC unroll 16
      for (int c = 0; c < C; c++)
        prefetch_lines(reinterpret_cast<const char*>(w + c * c_stride) + ahead, 4 * width * int(sizeof(Weight)));
    }
    step(k);
    step(k + 1);
    step(k + 2);
    step(k + 3);
  }
  for (; k < k_count; k++) step(k);

#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) store(sums + r * sums_stride + c * width, sum[r][c]);
}

// The tile of as many rows as there are, at most R.
template <int R, int C, class Weight>
inline void tile_of(int rows, const float* x, int64_t x_stride, const Weight* w, int64_t k_stride, int64_t c_stride,
                    int k_count, float* sums, int64_t sums_stride, bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) {
      tile_of<R - 1, C>(rows, x, x_stride, w, k_stride, c_stride, k_count, sums, sums_stride, accumulate);
      return;
    }
  }
  tile<R, C, 0>(x, x_stride, w, k_stride, c_stride, k_count, sums, sums_stride, accumulate);
}

// All rows, in tiles of nearly one size: a last tile of one row would cost as much as a full one.
template <int C, class Weight>
void tiles(int rows, const float* x, int64_t x_stride, const Weight* w, int64_t k_stride, int64_t c_stride, int k_count,
           float* sums, int64_t sums_stride, bool accumulate) {
  const int count = (rows + rows_max - 1) / rows_max;
  for (int t = 0; t < count; t++) {
    const int row = rows * t / count;
    tile_of<rows_max, C>(rows * (t + 1) / count - row, x + row * x_stride, x_stride, w, k_stride, c_stride, k_count,
                         sums + row * sums_stride, sums_stride, accumulate);
  }
}

// fp8 weights were multiplied as the halves that their bits say.
template <class Weight>
inline Floats scaled(const MatmulArgs& args, int column, const float* sums) {
  if constexpr (sizeof(Weight) == sizeof(uint8_t)) return mul(load(sums), load(args.scales + column));
  return load(sums);
}

template <class Weight>
inline void finish_pair(const MatmulArgs& args, int row, int pair, const float* sums) {
  float* out = args.out + row * args.out_stride + pair * (args.epilogue == Epilogue::swiglu ? width : 2 * width);
  const Floats first = scaled<Weight>(args, pair * 2 * width, sums);
  const Floats second = scaled<Weight>(args, pair * 2 * width + width, sums + width);
  switch (args.epilogue) {
    case Epilogue::store:
      store(out, first);
      store(out + width, second);
      break;
    case Epilogue::add:
      store(out, add(load(out), first));
      store(out + width, add(load(out + width), second));
      break;
    case Epilogue::swiglu:
      store(out, mul(silu(first), second));
      break;
  }
}

template <class Weight, int R, int pairs>
void multiply(const MatmulArgs& args, int row, int pair) {
  constexpr int columns = pairs * 2 * width;
  const int64_t panel_size = int64_t(args.k) * width;
  float sums[R * columns];
  tile<R, 2 * pairs, prefetch_bytes>(args.x + row * args.x_stride, args.x_stride, static_cast<const Weight*>(args.w) + 2 * pair * panel_size,
                                     width, panel_size, args.k, sums, columns, false);
  for (int r = 0; r < R; r++)
    for (int p = 0; p < pairs; p++) finish_pair<Weight>(args, row + r, pair + p, sums + r * columns + p * 2 * width);
}

template <class Weight, int R>
inline void multiply_rows(const MatmulArgs& args, int row, int rows, int pair) {
  if constexpr (R > 1) {
    if (rows < R) return multiply_rows<Weight, R - 1>(args, row, rows, pair);
  }
  multiply<Weight, R, 1>(args, row, pair);
}

// Few rows: the weights pass from memory once, and are converted in registers.
template <class Weight>
void matmul_few(const MatmulArgs& args, int pair_begin, int pair_end) {
  int pair = pair_begin;
  // One row or two alone are chains of too few sums to hide the latency of fma: four panels at once.
  if (args.rows == 1)
    for (; pair + 2 <= pair_end; pair += 2) multiply<Weight, 1, 2>(args, 0, pair);
  if (args.rows == 2)
    for (; pair + 2 <= pair_end; pair += 2) multiply<Weight, 2, 2>(args, 0, pair);
  const int tile_count = (args.rows + rows_max - 1) / rows_max;
  for (; pair < pair_end; pair++) {
    for (int t = 0; t < tile_count; t++) {
      const int row = args.rows * t / tile_count;
      multiply_rows<Weight, rows_max>(args, row, args.rows * (t + 1) / tile_count - row, pair);
    }
  }
}

template <class Weight>
inline void convert_panels(const Weight* w, int64_t panel_size, int k_count, float* slice) {
  for (int k = 0; k < k_count; k++) {
    store(slice + 2 * k * width, load(w + k * width));
    store(slice + (2 * k + 1) * width, load(w + panel_size + k * width));
  }
}

constexpr int blocked_sums = blocked_rows * 2 * width;  // of one pair
constexpr int matmul_scratch_floats = blocked_k * 2 * width + blocked_pairs * blocked_sums;

// A block of rows times a block of panels. A slice of a pair is converted once and swept by all rows; the rows' own
// slices stay in L2 until every pair has passed.
template <class Weight>
void multiply_block(const MatmulArgs& args, int row_begin, int rows, int pair_begin, int pairs, float* scratch) {
  float* slice = scratch;
  float* sums = scratch + blocked_k * 2 * width;
  const int64_t panel_size = int64_t(args.k) * width;
  for (int k = 0; k < args.k; k += blocked_k) {
    const int k_count = least(blocked_k, args.k - k);
    for (int pair = 0; pair < pairs; pair++) {
      convert_panels(static_cast<const Weight*>(args.w) + 2 * (pair_begin + pair) * panel_size + int64_t(k) * width, panel_size,
                     k_count, slice);
      tiles<2>(rows, args.x + row_begin * args.x_stride + k, args.x_stride, slice, 2 * width, width, k_count,
               sums + pair * blocked_sums, 2 * width, k > 0);
    }
  }
  for (int pair = 0; pair < pairs; pair++)
    for (int row = 0; row < rows; row++)
      finish_pair<Weight>(args, row_begin + row, pair_begin + pair, sums + pair * blocked_sums + row * 2 * width);
}

template <class Weight>
void matmul_many(const MatmulArgs& args, int pair_begin, int pair_end, float* scratch) {
  const int blocks = (args.rows + blocked_rows - 1) / blocked_rows;  // of nearly one size, as tiles are
  for (int block = 0; block < blocks; block++) {
    const int row = args.rows * block / blocks, end = args.rows * (block + 1) / blocks;
    for (int pair = pair_begin; pair < pair_end; pair += blocked_pairs)
      multiply_block<Weight>(args, row, end - row, pair, least(blocked_pairs, pair_end - pair), scratch);
  }
}

template <class Weight>
void matmul_by(const MatmulArgs& args, int pair_begin, int pair_end, float* scratch) {
  if (args.rows <= few_rows)
    matmul_few<Weight>(args, pair_begin, pair_end);
  else
    matmul_many<Weight>(args, pair_begin, pair_end, scratch);
}

void matmul(const MatmulArgs& args, int pair_begin, int pair_end, float* scratch) {
  if (args.scales == nullptr)
    matmul_by<uint16_t>(args, pair_begin, pair_end, scratch);
  else
    matmul_by<uint8_t>(args, pair_begin, pair_end, scratch);
}

void rms_norm(const float* x, const float* weight, int columns, int columns_padded, float eps, float* out) {
  Floats sum[4] = {set1(0), set1(0), set1(0), set1(0)};
  for (int i = 0, lane = 0; i < columns_padded; i += width, lane = (lane + 1) & 3) {
    const Floats value = load(x + i);
    sum[lane] = fma(value, value, sum[lane]);
  }
  const float mean = sum_lanes(add(add(sum[0], sum[1]), add(sum[2], sum[3]))) / float(columns);
  const Floats scale = set1(1.0f / __builtin_sqrtf(mean + eps));
  for (int i = 0; i < columns_padded; i += width) store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
}

inline float sum_of(const float* x, int count) {
  Floats sum[4] = {set1(0), set1(0), set1(0), set1(0)};
  for (int i = 0, lane = 0; i < count; i += width, lane = (lane + 1) & 3) sum[lane] = add(sum[lane], load(x + i));
  return sum_lanes(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

inline float sum_of_squares(const float* x, int count) {
  Floats sum[4] = {set1(0), set1(0), set1(0), set1(0)};
  for (int i = 0, lane = 0; i < count; i += width, lane = (lane + 1) & 3) {
    const Floats value = load(x + i);
    sum[lane] = fma(value, value, sum[lane]);
  }
  return sum_lanes(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

void layer_norm(const float* x, const float* weight, const float* bias, int columns, int columns_padded, float eps, float* out) {
  const Floats mean = set1(sum_of(x, columns_padded) / float(columns));
  for (int i = 0; i < columns_padded; i += width) store(out + i, sub(load(x + i), mean));
  for (int i = columns; i < columns_padded; i++) out[i] = 0;
  const Floats scale = set1(1.0f / __builtin_sqrtf(sum_of_squares(out, columns_padded) / float(columns) + eps));
  for (int i = 0; i < columns_padded; i += width)
    store(out + i, fma(mul(load(out + i), scale), load(weight + i), load(bias + i)));
}

void gelu(const float* x, const float* bias, int count, bool is_exact, float* out) {
  for (int i = 0; i < count; i += width) {
    const Floats sum = add(load(x + i), load(bias + i));
    store(out + i, is_exact ? exact_gelu(sum) : tanh_gelu(sum));
  }
}

void swiglu(const float* gate_up, const float* gate_bias, const float* up_bias, int count, float* out) {
  for (int i = 0; i < count; i += width) {
    Floats gate = load(gate_up + 2 * i), up = load(gate_up + 2 * i + width);
    if (gate_bias != nullptr) gate = add(gate, load(gate_bias + i)), up = add(up, load(up_bias + i));
    store(out + i, mul(silu(gate), up));
  }
}

// R tokens and K ranks. Each sum is of the even vectors and of the odd ones.
template <int R, int K>
void shrink_tile(const ShrinkArgs& args, int token, int rank) {
  const float* x = args.x + token * args.x_stride;
  const uint16_t* a = args.a + int64_t(rank) * args.k;
  Floats sum[R][K][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int j = 0; j < K; j++) sum[r][j][0] = sum[r][j][1] = set1(0);
  for (int k = 0; k < args.k; k += 2 * width) {
#pragma GCC unroll 8
    for (int j = 0; j < K; j++) {
      const Floats even = load(a + j * args.k + k), odd = load(a + j * args.k + k + width);
      prefetch(a + K * args.k + j * args.k + k);  // the ranks behind these
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        sum[r][j][0] = fma(load(x + r * args.x_stride + k), even, sum[r][j][0]);
        sum[r][j][1] = fma(load(x + r * args.x_stride + k + width), odd, sum[r][j][1]);
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int j = 0; j < K; j++)
      args.out[(token + r) * args.out_stride + rank + j] = args.scale * sum_lanes(add(sum[r][j][0], sum[r][j][1]));
}

template <int K>
void shrink_ranks(const ShrinkArgs& args, int rank) {
  int token = 0;
  for (; token + 2 <= args.tokens; token += 2) shrink_tile<2, K>(args, token, rank);
  if (token < args.tokens) shrink_tile<1, K>(args, token, rank);
}

void shrink(const ShrinkArgs& args, int rank_begin, int rank_end) {
  int rank = rank_begin;
  for (; rank + 4 <= rank_end; rank += 4) shrink_ranks<4>(args, rank);
  for (; rank < rank_end; rank++) shrink_ranks<1>(args, rank);
}

inline void add_panel(float* out, const float* sums, int count) {
  if (count >= width) {
    store(out, add(load(out), load(sums)));
    return;
  }
  for (int i = 0; i < count; i++) out[i] += sums[i];
}

// One token and C neighbouring panels, whose sums are as many chains: fewer would not hide the latency of fma.
template <int C>
void expand_token(const ExpandArgs& args, int panel) {
  float sums[C * width];
  const int64_t panel_size = int64_t(args.rank) * width;
  tile<1, C, prefetch_bytes>(args.x, args.x_stride, args.b + panel * panel_size, width, panel_size, args.rank, sums, C * width, false);
  for (int c = 0; c < C; c++)
    add_panel(args.out + int64_t(panel + c) * args.panel_step, sums + c * width, args.outputs - (panel + c) * width);
}

// C neighbouring panels and all tokens.
template <int C>
void expand_panels(const ExpandArgs& args, int panel) {
  constexpr int tokens_at_once = 64 / C;
  float sums[tokens_at_once * C * width];
  const int64_t panel_size = int64_t(args.rank) * width;
  const uint16_t* b = args.b + panel * panel_size;
  for (int token = 0; token < args.tokens; token += tokens_at_once) {
    const int count = least(tokens_at_once, args.tokens - token);
    const float* x = args.x + token * args.x_stride;
    tiles<C>(count, x, args.x_stride, b, width, panel_size, args.rank, sums, C * width, false);
    for (int t = 0; t < count; t++)
      for (int c = 0; c < C; c++)
        add_panel(args.out + (token + t) * args.out_stride + int64_t(panel + c) * args.panel_step, sums + (t * C + c) * width,
                  args.outputs - (panel + c) * width);
  }
}

void expand(const ExpandArgs& args, int panel_begin, int panel_end) {
  int panel = panel_begin;
  if (args.tokens == 1)
    for (; panel + 8 <= panel_end; panel += 8) expand_token<8>(args, panel);
  for (; panel + 2 <= panel_end; panel += 2) expand_panels<2>(args, panel);
  if (panel < panel_end) expand_panels<1>(args, panel);
}

float maximum(const float* x, int count) {
  Floats result = load(x);
  for (int i = width; i < count; i += width) result = max(result, load(x + i));
  return max_lanes(result);
}

float exp_sum(const float* x, int count, float shift, float scale, float* out) {
  Floats sum = set1(0);
  for (int i = 0; i < count; i += width) {
    const Floats value = exponential(mul(sub(load(x + i), set1(shift)), set1(scale)));
    store(out + i, value);
    sum = add(sum, value);
  }
  return sum_lanes(sum);
}

// The running softmax of one query: its values are scaled by 1 / sum at the end.
struct Fold {
  float* scores;  // (attention_fold) of this fold; become probabilities relative to maximum
  float* values;  // (value_stride)
  float* maximum;
  float* sum;
};

// Takes in the `visible` first scores; the rest, up to `count`, are the future.
void fold_scores(const Fold& fold, int visible, int count, int value_stride) {
  for (int i = visible > 0 ? visible : 0; i < count; i++) fold.scores[i] = visible > 0 ? -__builtin_inff() : 0.0f;
  if (visible <= 0) return;
  const float before = *fold.maximum;
  const float highest = maximum(fold.scores, count);
  const float now = highest > before ? highest : before;
  float keep[width];
  store(keep, exponential(set1(before - now)));
  *fold.sum = *fold.sum * keep[0] + exp_sum(fold.scores, count, now, 1.0f, fold.scores);
  *fold.maximum = now;
  if (keep[0] == 1.0f) return;
  for (int i = 0; i < value_stride; i += width) store(fold.values + i, mul(load(fold.values + i), set1(keep[0])));
}

struct AttentionScratch {
  AttentionScratch(float* scratch, int rows, int value_stride)
      : q(scratch),
        values(q + rows * value_stride),
        scores(values + rows * value_stride),
        maximum(scores + rows * attention_fold),
        sum(maximum + rows) {}
  float* q;        // (rows, value_stride)
  float* values;   // (rows, value_stride)
  float* scores;   // (rows, attention_fold)
  float* maximum;  // (rows)
  float* sum;      // (rows)
};

// Row t * group + g is head g of token t.
void begin_attention(const AttentionTask& task, const AttentionScratch& s) {
  for (int row = 0; row < task.tokens * task.group; row++) {
    const float* q = task.q + row / task.group * task.q_stride + row % task.group * task.head_size;
    for (int i = 0; i < task.head_size; i++) s.q[row * task.value_stride + i] = q[i] * task.number_scale;
    for (int i = 0; i < task.value_stride; i++) s.values[row * task.value_stride + i] = 0;
    s.maximum[row] = -__builtin_inff();
    s.sum[row] = 0;
  }
}

template <class Number>
inline const Number* block_of(const CachedHead& head, int block) {
  if constexpr (sizeof(Number) == sizeof(uint8_t))
    return head.codes + block * head.block_stride;
  else
    return head.halves + block * head.block_stride;
}

// Scores or weights of the 16 positions of a block, times what is cached of each. A power of two: it is the same before the sum and after it.
template <class Number>
inline void scale_positions(const CachedHead& head, int block, int rows, float* scores) {
  if constexpr (sizeof(Number) == sizeof(uint8_t)) {
    for (int i = 0; i < 16; i += width) {
      const Floats scales = load(head.scales + block * head.scale_block_stride + i);
      for (int row = 0; row < rows; row++) store(scores + row * attention_fold + i, mul(load(scores + row * attention_fold + i), scales));
    }
  }
}

// The values of one block's `count` first positions, weighed by the fold's probabilities.
template <class Number>
void add_values(const AttentionTask& task, const AttentionScratch& s, const Number* block, int b, int count) {
  const int rows = task.tokens * task.group;
  const float* weights = s.scores + b * 16;
  int column = 0;
  for (; column + 2 * width <= task.value_stride; column += 2 * width)
    tiles<2>(rows, weights, attention_fold, block + column, task.value_stride, width, count, s.values + column,
             task.value_stride, true);
  if (column < task.value_stride)
    tiles<1>(rows, weights, attention_fold, block + column, task.value_stride, width, count, s.values + column,
             task.value_stride, true);
}

template <class Number>
void prefetch_keys(const AttentionTask& task, int block) {
  prefetch_lines(block_of<Number>(task.keys, task.blocks[block]), task.head_size * 16 * int(sizeof(Number)));
}

template <class Number>
void prefetch_values(const AttentionTask& task, int block) {
  prefetch_lines(block_of<Number>(task.values, task.blocks[block]), task.value_stride * 16 * int(sizeof(Number)));
}

// Blocks lie anywhere, so each is asked for while the one before it is computed: keys, then values, then the next
// fold's.
template <class Number>
void fold_positions(const AttentionTask& task, const AttentionScratch& s, int begin, int positions, bool is_last) {
  const int rows = task.tokens * task.group;
  const int first = begin / 16, blocks = (positions + 15) / 16;
  for (int b = 0; b < blocks; b++) {
    const int block = task.blocks[first + b];
    if (b + 1 < blocks) prefetch_keys<Number>(task, first + b + 1);
    prefetch_values<Number>(task, first + b);
    tiles<16 / width>(rows, s.q, task.value_stride, block_of<Number>(task.keys, block), 16, width, task.head_size, s.scores + b * 16,
                      attention_fold, false);
    scale_positions<Number>(task.keys, block, rows, s.scores + b * 16);
  }
  for (int row = 0; row < rows; row++) {
    const int visible = least(task.first_position + row / task.group + 1 - begin, positions);
    fold_scores({s.scores + row * attention_fold, s.values + row * task.value_stride, s.maximum + row, s.sum + row},
                visible, blocks * 16, task.value_stride);
  }
  if (!is_last) prefetch_keys<Number>(task, first + blocks);
  for (int b = 0; b < blocks; b++) {
    const int block = task.blocks[first + b];
    scale_positions<Number>(task.values, block, rows, s.scores + b * 16);
    add_values(task, s, block_of<Number>(task.values, block), b, least(16, positions - b * 16));
  }
}

template <class Number>
void attend(const AttentionTask& task, float* scratch) {
  const AttentionScratch s(scratch, task.tokens * task.group, task.value_stride);
  begin_attention(task, s);
  const int end = task.first_position + task.tokens;
  for (int begin = 0; begin < end; begin += attention_fold)
    fold_positions<Number>(task, s, begin, least(attention_fold, end - begin), begin + attention_fold >= end);
  for (int row = 0; row < task.tokens * task.group; row++) {
    float* out = task.out + row / task.group * task.out_stride + row % task.group * task.head_size;
    const float scale = 1.0f / s.sum[row] * task.number_scale;
    for (int i = 0; i < task.head_size; i++) out[i] = s.values[row * task.value_stride + i] * scale;
  }
}

void attention(const AttentionTask& task, float* scratch) {
  if (task.keys.codes != nullptr)
    attend<uint8_t>(task, scratch);
  else
    attend<uint16_t>(task, scratch);
}

Bodies make_bodies(const char* name) {
  return {name, width, matmul_scratch_floats, matmul, rms_norm, layer_norm, gelu, swiglu, shrink, expand, attention, maximum, exp_sum};
}

}  // namespace
}  // namespace ziya
