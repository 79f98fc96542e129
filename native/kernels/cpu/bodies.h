// The inner loops of the CPU kernels, as a table of functions over raw pointers. One translation unit an instruction
// set fills it from the same source (bodies.inc.h); nothing else may be compiled with that unit's flags, or the linker
// could keep an AVX copy of a shared inline function.
#pragma once

#include <cstdint>

namespace ziya {

enum class Epilogue { store, add, swiglu };

// out (rows, outputs) = x (rows, k) * w^T, with w as panels [outputs / width][k][width]: fp16; or fp8 where there are scales (outputs), which each
// sum is multiplied by.
// A pair is two neighbouring panels; for swiglu these are gate and up of the same `width` outputs.
struct MatmulArgs {
  const float* x;
  int64_t x_stride;
  int rows;
  const void* w;
  const float* scales;  // null: w is fp16
  int k;
  float* out;
  int64_t out_stride;
  Epilogue epilogue;
};

// out (tokens, ranks) = scale * x (tokens, k) * a^T, with a as rows; k is a multiple of 32, padded with zeros.
struct ShrinkArgs {
  const float* x;
  int64_t x_stride;
  int tokens;
  const uint16_t* a;
  int k;
  float scale;
  float* out;
  int64_t out_stride;
};

// out (tokens, outputs) += x (tokens, rank) * b^T, with b as panels, of which panel p adds to the `width` columns from p * panel_step on.
struct ExpandArgs {
  const float* x;
  int64_t x_stride;
  int tokens;
  const uint16_t* b;
  int rank;
  int outputs;
  float* out;
  int64_t out_stride;
  int panel_step;
};

// Keys or values of one KV head, from block 0 on: halves; or codes of fp8, which are read as the halves that their bits say, each position with a
// scale, a half.
struct CachedHead {
  const uint16_t* halves;
  const uint8_t* codes;  // null: halves
  const uint16_t* scales;
  int64_t block_stride;
  int64_t scale_block_stride;
};

// The queries of `tokens` neighbouring tokens and one group of heads, which share one KV head.
struct AttentionTask {
  const float* q;  // (tokens, q_stride) at the group's first head; already scaled by 1 / sqrt(head_size)
  int64_t q_stride;
  int tokens;
  int group;
  int head_size;
  int value_stride;    // head_size rounded up to the width
  int first_position;  // of the first token
  const int32_t* blocks;
  CachedHead keys;     // [head_size][block_tokens] in a block
  CachedHead values;   // [block_tokens][value_stride]
  float number_scale;  // of what is read of either, beside a position's
  float* out;  // (tokens, out_stride) at the group's first head
  int64_t out_stride;
};

constexpr int width_max = 16;  // of any instruction set

struct Bodies {
  const char* name;
  int width;  // floats in a vector, and outputs in a panel
  int matmul_scratch_floats;
  void (*matmul)(const MatmulArgs& args, int pair_begin, int pair_end, float* scratch);

  // columns_padded is a multiple of width; the padding of x and weight is zero.
  void (*rms_norm)(const float* x, const float* weight, int columns, int columns_padded, float eps, float* out);

  // The same, with a bias that is padded as weight is. out is not x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int columns, int columns_padded, float eps, float* out);

  // out = gelu(x + bias), by the error function or by tanh; count is a multiple of width.
  void (*gelu)(const float* x, const float* bias, int count, bool is_exact, float* out);

  // out = silu(gate) * up, whose panels alternate, each with its bias added where there are biases; count is a multiple of width.
  void (*swiglu)(const float* gate_up, const float* gate_bias, const float* up_bias, int count, float* out);

  void (*shrink)(const ShrinkArgs& args, int rank_begin, int rank_end);
  void (*expand)(const ExpandArgs& args, int panel_begin, int panel_end);

  // scratch: tokens * group * (2 * value_stride + attention_fold + 2) floats
  void (*attention)(const AttentionTask& task, float* scratch);

  // count is a multiple of width.
  float (*maximum)(const float* x, int count);
  // out[i] = exp((x[i] - shift) * scale); returns the sum. out may be x.
  float (*exp_sum)(const float* x, int count, float shift, float scale, float* out);
};

constexpr int attention_fold = 64;  // positions whose softmax is folded at once, from position 0 on

const Bodies& scalar_bodies();
#if defined(__x86_64__)
const Bodies& avx2_bodies();
const Bodies& avx512_bodies();
#endif

}  // namespace ziya
