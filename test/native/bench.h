// The kernels of one random shape, and what every case of theirs needs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "reference.h"

namespace ziya::test {

constexpr int batch_tokens_max = 120;

using Floats = std::vector<float>;

struct Bench {
  Bench(const Device& device, Random& random, int threads = 0) : Bench(device, random, random_shape(random), threads) {}

  Bench(const Device& device, Random& random, const ModelShape& shape, int threads = 0, int tokens = batch_tokens_max)
      : random(random), precision(device.precision), shape(shape),
        limits{.batch_tokens_max = tokens, .sequences_max = batch_tokens_max, .blocks = 200, .adapters = 3},
        kernels(device.make(shape, limits, threads > 0 ? threads : random.between(1, 3))) {}

  Floats random_rows(int rows, int columns) {
    Floats values;
    for (int64_t i = 0; i < int64_t(rows) * columns; i++) values.push_back(random.normal());
    return values;
  }

  std::unique_ptr<Activations> activations(int rows, int columns, const Floats& values) {
    auto result = kernels->make_activations(limits.batch_tokens_max, columns);
    kernels->upload(*result, rows, values.data());
    return result;
  }

  std::unique_ptr<Activations> poisoned(int columns) {
    return activations(limits.batch_tokens_max, columns,
                       Floats(size_t(limits.batch_tokens_max) * columns, std::numeric_limits<float>::quiet_NaN()));
  }

  Floats rows_of(const Activations& from, int rows) {
    Floats values(size_t(rows) * from.columns);
    kernels->download(from, rows, values.data());
    return values;
  }

  struct RandomVector {
    std::unique_ptr<Vector> made;
    Doubles values;
  };
  RandomVector vector(int columns) {
    const Floats values = random_rows(1, columns);
    RandomVector result = {kernels->make_vector(columns), Doubles(values.begin(), values.end())};
    kernels->upload(*result.made, 0, columns, values.data());
    return result;
  }

  // A matrix uploaded in slices, and its values. Rows of fp8 weights are of different sizes.
  std::unique_ptr<Matrix> matrix(int outputs, int inputs, MatrixLayout layout, Doubles& values, WeightFormat format = WeightFormat::fp16) {
    for (int row = 0; row < outputs; row++) {
      const float size = format == WeightFormat::fp8 ? float(std::ldexp(1, random.between(-3, 3))) : 1;
      for (int i = 0; i < inputs; i++) values.push_back(rounded_to_half(random.normal(size / std::sqrt(float(inputs)))));
    }
    auto result = upload(outputs, inputs, layout, values, format);
    for (int row = 0; format == WeightFormat::fp8 && row < outputs; row++) round_row_to_fp8(&values[int64_t(row) * inputs], inputs);
    return result;
  }

  std::unique_ptr<Matrix> upload(int outputs, int inputs, MatrixLayout layout, const Doubles& values, WeightFormat format, Share share = Share::whole) {
    auto result = kernels->make_matrix(outputs, inputs, layout, format, share);
    std::vector<uint16_t> halves;
    for (const double value : values) halves.push_back(bits_of_half(value));
    for (int row = 0; row < outputs;) {
      const int rows = std::min(outputs - row, random.between(1, 100));
      kernels->upload_rows(*result, row, rows, [&](int begin, int count, uint16_t* fp16) {
        std::copy_n(halves.data() + int64_t(row + begin) * inputs, int64_t(count) * inputs, fp16);
      });
      row += rows;
    }
    return result;
  }

  static uint16_t bits_of_half(double value) {
    const double magnitude = std::abs(value);
    const int exponent = magnitude < std::ldexp(1.0, -14) ? -14 : std::ilogb(magnitude);
    const int mantissa = int(std::ldexp(magnitude, 10 - exponent));
    const int bits = mantissa < 1024 ? mantissa : ((exponent + 15) << 10) + mantissa - 1024;
    return uint16_t(bits | (value < 0 ? 0x8000 : 0));
  }

  // One sequence of `count` tokens at position 0.
  void begin(int count) {
    std::vector<int32_t> blocks;
    for (int i = 0; i * block_tokens < count; i++) blocks.push_back(i);
    batch = greedy_batch({{random_tokens(count, shape.vocab_size, random), 0, blocks}});
    kernels->begin_step(batch);
  }

  void expect_near(double got, double want, double scale, const std::string& what) const {
    const double error = std::abs(got - want);
    expect(error <= precision * scale + 1e-6, what + ": got " + std::to_string(got) + ", want " + std::to_string(want));
  }

  Random& random;
  const double precision;
  ModelShape shape;
  const StepLimits limits;
  std::unique_ptr<Kernels> kernels;
  StepBatch batch;
};

inline Doubles row_of(const Floats& rows, int row, int columns) {
  return Doubles(rows.begin() + int64_t(row) * columns, rows.begin() + int64_t(row + 1) * columns);
}

inline void expect_same_bits(const float* a, const float* b, int count, const std::string& what) {
  expect(std::memcmp(a, b, size_t(count) * sizeof(float)) == 0, what);
}

}  // namespace ziya::test
