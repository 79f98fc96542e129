// A model's weights on its devices, and how they get there from the files of a Hugging Face folder. A model has slots, which
// it names; file headers are parsed and checked in TypeScript, which says of each tensor where it lies and which rows of which
// slot it is. No architecture is known here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"

namespace ziya {

enum class Dtype { f16, bf16, f32 };

struct TensorSource {
  std::string slot = {};  // as the model's architecture calls it: "layer.3.qkv"
  int64_t first_row = 0;  // of the slot's rows, as which a vector has its values
  std::string name;       // Hugging Face's, for what has to be said of it
  std::string path;
  Dtype dtype = Dtype::f16;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
  std::vector<int64_t> shape;  // (rows, columns), or (columns)
};

// Memory for weights on one device: a matrix or a vector.
struct WeightSlot {
  std::string name;
  Kernels& kernels;
  std::unique_ptr<Matrix> matrix;
  std::unique_ptr<Vector> vector;
  int rows() const { return matrix ? matrix->outputs : vector->columns; }
  int columns() const { return matrix ? matrix->inputs : 1; }
};

class Weights {
 public:
  // Zeros, until they are loaded. What several devices need is added for each of them, under one name.
  Matrix& add_matrix(const std::string& name, Kernels& kernels, int outputs, int inputs, MatrixLayout layout = MatrixLayout::plain,
                     WeightFormat format = WeightFormat::fp16, Share share = Share::whole);
  Vector& add_vector(const std::string& name, Kernels& kernels, int columns, Share share = Share::whole);
  // Adds NAME.a and NAME.b of an adapter, for so many of the other slot's outputs. Returns them.
  std::pair<Matrix&, Matrix&> add_adapter(const std::string& name, const WeightSlot& changed, int first_output, int outputs, int rank);

  const std::vector<WeightSlot>& slots() const { return slots_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<WeightSlot> slots_;
  int64_t bytes_ = 0;
};

struct LoadProgress {
  std::function<void(uint64_t bytes_done, uint64_t bytes_total)>
      report;  // called from any loading thread, one at a time
  const std::atomic<bool>& cancelled;
};

// How many numbers these tensors have together.
int64_t parameter_count(const std::vector<TensorSource>& tensors);

// Fills every row of every slot, once. Returns a digest of all values as they are computed with, the same however they lie in files
// and on however many devices; it is no defence against who wants two to have one. Leaves of the files in the page cache what was
// there. Throws EngineError weights_missing_tensor, weights_unknown_tensor, weights_read,
// weights_out_of_range, weights_overflow, weights_not_finite, bad_shape, out_of_memory; engine_closed when cancelled.
uint64_t load_weights(const Weights& weights, const std::vector<TensorSource>& tensors, int threads, const LoadProgress& progress);

}  // namespace ziya
