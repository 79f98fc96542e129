// What gemm.cu and prefill_gemm.cu share, so that an output's sum has one order in both: the stripes of K, and the epilogues.
#pragma once

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int warpgroup = 128;
constexpr int groups = 2;  // that multiply, a row tile each; a third one's first thread copies
constexpr int threads = (groups + 1) * warpgroup;
constexpr int producer_registers = 24, consumer_registers = 240;
constexpr int wgmma_inputs = 16;

// A block's stripe of the units (pair of row tiles, stage of K), counted pair after pair: of the weight's shape and the GPU alone.
struct Stripes {
  int units, blocks, tile_units;

  __device__ int begin(int block) const { return int(int64_t(units) * block / blocks); }
  __device__ int owner(int unit) const { return int((int64_t(unit + 1) * blocks - 1) / units); }
};

inline Stripes stripes_of(const WeightView& weight, int multiprocessors) {
  const int tile_units = weight.k_tiles() / stage_tiles, units = ceil_div(weight.row_tiles(), groups) * tile_units;
  return {units, units < multiprocessors ? units : multiprocessors, tile_units};
}

struct Product {
  WeightView weight;
  ActivationView in, out;
  int first_row, rows;
  Epilogue epilogue;
  Stripes stripes;
  float* partials;
  int* arrivals;
};

struct RingPlace {
  int stage = 0, phase = 0;
  template <int stages>
  __device__ void advance() {
    if (++stage == stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// Rows of a tile neighbour each other in memory; the XOR keeps the lanes of a store in different banks.
__device__ __forceinline__ int staged(int token, int row) { return token * tile_rows + (row ^ token / 2 % 4 * 8); }

// Stores up to four rows of a token. A row of outputs begins at 16 bytes; what pads it stays zero.
__device__ __forceinline__ void store_quad(float* to, const float4& values, int rows) {
  if (rows >= 4) {
    *reinterpret_cast<float4*>(to) = values;
    return;
  }
  to[0] = values.x;
  if (rows > 1) to[1] = values.y;
  if (rows > 2) to[2] = values.z;
}

// Several loads are on their way before the first is added to: one after the other, each waits for the L2 cache.
__device__ void store_rows(const Product& product, const float* values, int first_token, int tokens, int tile) {
  constexpr int quads = tile_rows / 4, together = 4;
  const bool adds = product.epilogue == Epilogue::add;
  const int rows = min(product.weight.outputs - tile * tile_rows, tile_rows);
  const auto place = [&](int token, int row) { return product.out.row(first_token + token) + tile * tile_rows + row; };
  for (int first = threadIdx.x % warpgroup; first < tokens * quads; first += together * warpgroup) {
    float4 before[together];
#pragma unroll
    for (int j = 0; j < together; j++) {
      const int i = first + j * warpgroup, token = i / quads, row = i % quads * 4;
      before[j] = make_float4(0, 0, 0, 0);
      if (adds && token < tokens && row < rows) before[j] = *reinterpret_cast<const float4*>(place(token, row));
    }
#pragma unroll
    for (int j = 0; j < together; j++) {
      const int i = first + j * warpgroup, token = i / quads, row = i % quads * 4;
      if (token >= tokens || row >= rows) continue;
      const float4 own = *reinterpret_cast<const float4*>(values + staged(token, row));
      store_quad(place(token, row), adds ? plus(before[j], own) : own, rows - row);
    }
  }
}

// A tile has 8 rows of gate, then the 8 of up, and so on.
__device__ void store_features(const Product& product, const float* values, int first_token, int tokens, int tile) {
  constexpr int features = tile_rows / 2;
  for (int i = threadIdx.x % warpgroup; i < tokens * features; i += warpgroup) {
    const int token = i / features, feature = i % features, row = feature / 8 * 16 + feature % 8;
    if (tile * features + feature >= product.weight.outputs / 2) continue;
    store(product.out.at(first_token + token, tile * features + feature),
          silu(values[staged(token, row)]) * values[staged(token, row + 8)]);
  }
}

// A warpgroup's tile, some tokens at once: through shared memory, so that the loop before needs no registers beside the sums and
// neighbouring lanes write neighbouring rows.
template <int stored, int sums_count>
__device__ __forceinline__ void store_in_parts(const Product& product, float* values, int barrier, int row_tile, int first_token, int rows,
                                               const float (&sums)[sums_count]) {
  const int thread = threadIdx.x % warpgroup, lane = thread % warp_size, row = thread / warp_size * 16 + lane / 4;
#pragma unroll
  for (int begin = 0; begin < sums_count * 2; begin += stored) {
#pragma unroll
    for (int i = 0; i < stored / 2; i++)
      values[staged(i / 4 * 8 + lane % 4 * 2 + i % 2, row + i % 4 / 2 * 8)] = sums[begin / 2 + i];
    named_barrier_sync(barrier, warpgroup);
    const int tokens = min(stored, rows - begin);
    if (product.epilogue == Epilogue::swiglu)
      store_features(product, values, first_token + begin, tokens, row_tile);
    else
      store_rows(product, values, first_token + begin, tokens, row_tile);
    named_barrier_sync(barrier, warpgroup);
  }
}

}  // namespace
}  // namespace ziya::ZIYA_DEVICE
