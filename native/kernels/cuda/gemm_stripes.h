// What gemm.cu and prefill_gemm.cu share, so that an output's sum has one order in both: the stripes of K, and the epilogues.
#pragma once

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int warpgroup = 128;
constexpr int wgmma_inputs = 16;

// A block's stripe of the units (row tile, stage of K), counted tile after tile: of the weight's shape and the GPU alone.
struct Stripes {
  int units, blocks, tile_units;

  __device__ int begin(int block) const { return int(int64_t(units) * block / blocks); }
  __device__ int owner(int unit) const { return int((int64_t(unit + 1) * blocks - 1) / units); }
};

inline Stripes stripes_of(const WeightView& weight, int multiprocessors) {
  const int tile_units = weight.k_tiles() / stage_tiles, units = weight.row_tiles() * tile_units;
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

__device__ void store_rows(const Product& product, const float* values, int first_token, int tokens, int tile) {
  for (int i = threadIdx.x % warpgroup; i < tokens * tile_rows; i += warpgroup) {
    const int token = i / tile_rows, row = i % tile_rows;
    if (tile * tile_rows + row >= product.weight.outputs) continue;
    float* to = product.out.row(first_token + token) + tile * tile_rows + row;
    const float value = values[staged(token, row)];
    *to = product.epilogue == Epilogue::add ? *to + value : value;
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

}  // namespace
}  // namespace ziya::ZIYA_DEVICE
