// How the CPU has weights, activations, keys and values in memory.
#pragma once

#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "memory.h"

namespace ziya {

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Panels [outputs / width][inputs][width], padded with zeros to whole pairs. In a gate_up matrix even panels are gate. A lora_a matrix has
// rows, each padded to row_stride: its few rows would fill no panel. fp8 codes lie as halves do, with the scales of the halves that their bits
// say (fp8_as_half) beside them, in the order of the panels.
struct CpuMatrix : Matrix {
  CpuMatrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, int width)
      : Matrix(outputs, inputs, format),
        layout(layout),
        width(width),
        pairs(layout == MatrixLayout::gate_up ? (outputs / 2 + width - 1) / width
                                              : (outputs + 2 * width - 1) / (2 * width)),
        memory((layout == MatrixLayout::lora_a ? size_t(outputs) * row_stride() : size_t(pairs) * 2 * width * inputs) *
               (format == WeightFormat::fp8 ? sizeof(uint8_t) : sizeof(uint16_t))),
        scales(format == WeightFormat::fp8 ? size_t(pairs) * 2 * width * sizeof(float) : 0) {}

  int row_stride() const { return int(round_up(inputs, 32)); }
  // Where a row stands among those of all panels.
  int packed_row(int row) const {
    if (layout != MatrixLayout::gate_up) return row;
    const int up = row >= outputs / 2;
    const int local = row - up * (outputs / 2);
    return (local / width * 2 + up) * width + local % width;
  }
  template <class Weight>
  Weight* at(int row) const {
    if (layout == MatrixLayout::lora_a) return memory.as<Weight>() + int64_t(row) * row_stride();
    const int packed = packed_row(row);
    return memory.as<Weight>() + int64_t(packed / width) * inputs * width + packed % width;
  }
  uint16_t* at(int row) const { return at<uint16_t>(row); }

  const MatrixLayout layout;
  const int width;
  const int pairs;
  Memory memory, scales;
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

// Keys or values of one layer: halves; or codes, and their scales as halves [block][kv_head][block_tokens].
struct CpuCache {
  CpuCache(KvFormat format, int64_t numbers, int64_t scales)
      : numbers(numbers * (format == KvFormat::fp8 ? sizeof(uint8_t) : sizeof(uint16_t))),
        scales(format == KvFormat::fp8 ? scales * sizeof(uint16_t) : 0) {}
  Memory numbers, scales;
};

// keys [block][kv_head][head_size][block_tokens], values [block][kv_head][block_tokens][value_stride]
struct CpuKvLayer : KvLayer {
  CpuKvLayer(KvFormat format, int64_t heads, int64_t key_head, int64_t value_head)
      : keys(format, heads * key_head, heads * block_tokens), values(format, heads * value_head, heads * block_tokens) {}
  CpuCache keys, values;
};

inline const CpuMatrix& cpu(const Matrix& m) { return static_cast<const CpuMatrix&>(m); }
inline const CpuActivations& cpu(const Activations& a) { return static_cast<const CpuActivations&>(a); }
inline const float* cpu(const Vector& v) { return static_cast<const CpuVector&>(v).values.data(); }

}  // namespace ziya
