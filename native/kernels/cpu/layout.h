// How the CPU has weights, activations, keys and values in memory.
#pragma once

#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "memory.h"

namespace ziya {

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Panels [outputs / width][inputs][width], padded with zeros to whole pairs. In a gate_up matrix even panels are gate. A lora_a matrix has
// rows, each padded to row_stride: its few rows would fill no panel.
struct CpuMatrix : Matrix {
  CpuMatrix(int outputs, int inputs, MatrixLayout layout, int width)
      : Matrix(outputs, inputs),
        layout(layout),
        width(width),
        pairs(layout == MatrixLayout::gate_up ? (outputs / 2 + width - 1) / width
                                              : (outputs + 2 * width - 1) / (2 * width)),
        memory((layout == MatrixLayout::lora_a ? size_t(outputs) * row_stride() : size_t(pairs) * 2 * width * inputs) * sizeof(uint16_t)) {}

  int row_stride() const { return int(round_up(inputs, 32)); }
  uint16_t* at(int row) const {
    if (layout == MatrixLayout::lora_a) return memory.as<uint16_t>() + int64_t(row) * row_stride();
    int panel = row / width, lane = row % width;
    if (layout == MatrixLayout::gate_up) {
      const int up = row >= outputs / 2;
      const int local = row - up * (outputs / 2);
      panel = local / width * 2 + up;
      lane = local % width;
    }
    return memory.as<uint16_t>() + int64_t(panel) * inputs * width + lane;
  }

  const MatrixLayout layout;
  const int width;
  const int pairs;
  Memory memory;
};

struct CpuVector : Vector {
  explicit CpuVector(int columns) : Vector(columns), values(round_up(columns, 32)) {}
  std::vector<float> values;  // padded with zeros
};

// Rows are padded with zeros, so that a kernel may read and write whole vectors; the odd 16 floats keep rows of a
// power-of-two length out of one another's cache sets.
struct CpuActivations : Activations {
  CpuActivations(int rows_max, int columns)
      : Activations(rows_max, columns),
        stride(round_up(columns, 32) + 16),
        memory(size_t(rows_max) * stride * sizeof(float)) {}
  float* row(int64_t index) const { return memory.as<float>() + index * stride; }

  const int64_t stride;
  Memory memory;
};

// An AdapterPart: its panel p adds to the columns first_column + p * panel_step on, `outputs` in all.
struct CpuAdapterPart {
  const CpuMatrix& a;
  const CpuMatrix& b;
  float scale;
  int first_column, panel_step;
  int first_rank;  // its columns among those that its adapter has in this product
};

struct CpuAdapterProduct : AdapterProduct {
  std::vector<std::vector<CpuAdapterPart>> of_adapters;
};

// keys [block][kv_head][head_size][block_tokens], values [block][kv_head][block_tokens][value_stride]
struct CpuKvLayer : KvLayer {
  CpuKvLayer(int blocks, int64_t key_block, int64_t value_block)
      : keys(blocks * key_block * sizeof(uint16_t)), values(blocks * value_block * sizeof(uint16_t)) {}
  Memory keys, values;
};

inline const CpuMatrix& cpu(const Matrix& m) { return static_cast<const CpuMatrix&>(m); }
inline const CpuActivations& cpu(const Activations& a) { return static_cast<const CpuActivations&>(a); }
inline const float* cpu(const Vector& v) { return static_cast<const CpuVector&>(v).values.data(); }

}  // namespace ziya
