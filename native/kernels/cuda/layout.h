// How weights, activations and the KV cache lie in device memory.
//
// Weights are tiles of 64 outputs x 64 inputs, [row tile][k tile][64][64], padded with zeros, each tile in the 128-byte
// swizzle that wgmma reads: the 16-byte unit u of row r stands at unit u ^ (r % 8). So a plain bulk copy brings a ready
// operand, and a warp that reads one row still reads whole lines of 128 bytes. There are two tiles of K at least, because
// a stage of the pipeline has two.
//
// Weights in fp8 are such tiles of 64 x 64 codes, each in the order in which the threads of a warpgroup hold the operand of wgmma in registers: a
// thread's 16 codes of two times 16 inputs are neighbours, and so are the threads'. A scale an output, of packed rows, lies beside them.
//
// Activations in fp16 lie alike, as the other operand: [k tile][rows][64], so that any 8, 16, ... 256 neighbouring rows of
// a k tile are one bulk copy.
#pragma once

#include <cstdint>

#include "../../fp8.h"
#include "../row.h"
#include "../shape.h"
#include "device.h"

namespace ziya::ZIYA_DEVICE {

constexpr int tile_rows = 64;
constexpr int tile_inputs = 64;
constexpr int tile_halves = tile_rows * tile_inputs;
constexpr int unit_halves = 8;  // 16 bytes
constexpr int row_units = tile_inputs / unit_halves;
constexpr int stage_tiles = 2;
constexpr int stage_inputs = stage_tiles * tile_inputs;
constexpr int gemm_rows_max = 256;

struct WeightView {
  const half* tiles;
  int outputs, inputs;
  bool interleaved;                // gate and up rows alternate by eights, so that one thread's accumulators hold both
  const uint8_t* codes = nullptr;  // of fp8 weights, in the place of tiles
  const float* scales = nullptr;   // of packed rows, padded to whole tiles

  __host__ __device__ int k_tiles() const { return round_up(inputs, stage_inputs) / tile_inputs; }
  __host__ __device__ int row_tiles() const { return ceil_div(packed_rows(), tile_rows); }
  __host__ __device__ int packed_rows() const { return interleaved ? 2 * round_up(outputs / 2, 8) : outputs; }

  // The same tiles as of a matrix whose outputs are the packed rows, in their order.
  __host__ __device__ WeightView as_packed() const { return {tiles, packed_rows(), inputs, false, codes, scales}; }

  // Where an output's row stands.
  __host__ __device__ int packed_row(int row) const {
    if (!interleaved) return row;
    const int up = row >= outputs / 2;
    const int local = row - up * (outputs / 2);
    return local / 8 * 16 + up * 8 + local % 8;
  }
};

// Offset in halves of 8 neighbouring inputs, k a multiple of 8, of a packed row.
__host__ __device__ inline int64_t weight_offset(int row, int k, int k_tiles) {
  const int64_t tile = int64_t(row / tile_rows) * k_tiles + k / tile_inputs;
  const int unit = (k % tile_inputs / unit_halves) ^ (row % 8);
  return tile * tile_halves + row % tile_rows * tile_inputs + unit * unit_halves;
}

// Offset of the codes of two neighbouring inputs, k even, of a packed row. In a tile: 32 inputs, thread (warp of 16 rows, row % 8, k % 8 / 2), 16
// inputs, the second 8 of them, the second 8 rows.
constexpr int thread_codes = 16;
constexpr int warpgroup_codes = 128 * thread_codes;
__host__ __device__ inline int64_t code_offset(int row, int k, int k_tiles) {
  const int64_t tile = int64_t(row / tile_rows) * k_tiles + k / tile_inputs;
  const int thread = row % tile_rows / 16 * 32 + row % 8 * 4 + k % 8 / 2;
  return tile * tile_halves + k % tile_inputs / 32 * warpgroup_codes + thread * thread_codes + k / 16 % 2 * 8 + k / 8 % 2 * 4 + row / 8 % 2 * 2;
}

// Eight neighbouring inputs of a row. Their alignment lets one instruction store them.
struct alignas(unit_halves * sizeof(half)) Unit {
  half halves[unit_halves];
};
__host__ __device__ inline void store_unit(const WeightView& to, int packed_row, int k, const Unit& unit) {
  *reinterpret_cast<Unit*>(const_cast<half*>(to.tiles) + weight_offset(packed_row, k, to.k_tiles())) = unit;
}

// Rows of fp32, or of fp16 in tiles. Columns are padded with zeros, which stay so, and rows to what one product may read.
struct ActivationView {
  void* data;
  int64_t stride;  // columns, padded to whole stages
  int columns, rows_padded;
  bool is_half;

  // Points at a row of fp32.
  __host__ __device__ float* row(int64_t index) const { return static_cast<float*>(data) + index * stride; }

  // Points at fp16: 8 neighbouring columns, the first a multiple of 8; or one.
  __host__ __device__ half* unit(int64_t row, int column) const {
    const int unit = (column % tile_inputs / unit_halves) ^ int(row % 8);
    return static_cast<half*>(data) + (int64_t(column / tile_inputs) * rows_padded + row) * tile_inputs + unit * unit_halves;
  }
  __host__ __device__ half* at(int64_t row, int column) const {
    return unit(row, column / unit_halves * unit_halves) + column % unit_halves;
  }
};

// The rows that the product of `rows` rows is computed with: 8, 16, 32, and then in steps of 32, since inputs pass through the L2 cache for
// each pair of row tiles.
__host__ __device__ constexpr int gemm_rows(int rows) {
  constexpr int step = 32;
  if (rows >= gemm_rows_max) return gemm_rows_max;
  return rows > 16 ? round_up(rows, step) : rows > 8 ? 16 : 8;
}
inline int padded_rows(int rows_max) { return round_up(rows_max, gemm_rows(rows_max)); }

// Rows of fp32 that devices have computed of one sum, alike on each.
struct PartsView {
  const float* parts[tensor_parallel_max] = {};
  int64_t stride;
  int count;
};

// An AdapterPart: its matrices as rows, which are padded with zeros to whole units.
struct AdapterPartView {
  const half* a;  // (rank, a_stride)
  const half* b;  // (outputs, b_stride)
  int rank, a_stride, outputs, b_stride;
  int first_output;
  int first_rank;  // its columns among those that its adapter has in this product
  float scale;
};

struct AdapterView {
  const AdapterPartView* parts;
  const Span* of_adapters;  // of parts
  WeightView weight;
  int ranks;  // columns of what is shrunk
  int parts_max, rank_max, outputs_max;
};

// Keys or values (blocks, kv_heads, block_tokens, head_stride): halves; or codes and their scales, halves (blocks, kv_heads, block_tokens).
struct CacheView {
  half* halves;
  uint8_t* codes;
  half* scales;

  template <class Number>
  __device__ Number* numbers() const {
    if constexpr (sizeof(Number) == sizeof(half))
      return halves;
    else
      return codes;
  }
};

struct KvView {
  CacheView keys, values;
  int kv_heads, head_stride;

  bool is_fp8() const { return keys.codes != nullptr; }
  // Of a token's head among those of all blocks: where its scale stands, and where its numbers begin.
  __device__ int64_t row(int block, int head, int slot) const { return (int64_t(block) * kv_heads + head) * block_tokens + slot; }
  __device__ int64_t offset(int block, int head, int slot) const { return row(block, head, slot) * head_stride; }
};

// Where a column's number stands in its row. Codes stand, 16 by 16, as ldmatrix hands them to the lane that has their halves in a product: of a key
// four columns of a lane are neighbours, of a value the columns of its two rows.
template <class Number>
__host__ __device__ constexpr int key_place(int column) {
  if (sizeof(Number) == sizeof(half)) return column;
  return column / 16 * 16 + column % 8 / 2 * 4 + column / 8 % 2 * 2 + column % 2;
}
template <class Number>
__host__ __device__ constexpr int value_place(int column) {
  if (sizeof(Number) == sizeof(half)) return column;
  return column / 16 * 16 + column % 8 * 2 + column / 8 % 2;
}

}  // namespace ziya::ZIYA_DEVICE
