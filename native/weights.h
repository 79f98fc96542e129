// A model's weights on the device, and how they get there from the files of a Hugging Face folder. File headers are
// parsed and checked in TypeScript; what arrives here is a list of tensors with their places.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "devices.h"

namespace ziya {

enum class Dtype { f16, bf16, f32 };

struct TensorSource {
  std::string name;  // Hugging Face's
  std::string path;
  Dtype dtype = Dtype::f16;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
  std::vector<int64_t> shape;
};

struct LayerWeights {
  std::unique_ptr<Vector> attention_norm;  // (hidden)
  std::unique_ptr<Matrix> qkv;             // ((heads + 2 kv_heads) * head_size, hidden)
  std::unique_ptr<Matrix> attention_out;   // (hidden, heads * head_size)
  std::unique_ptr<Vector> mlp_norm;        // (hidden)
  std::unique_ptr<Matrix> gate_up;         // (2 intermediate, hidden), MatrixLayout::gate_up
  std::unique_ptr<Matrix> down;            // (hidden, intermediate)
};

struct Weights {
  std::unique_ptr<Matrix> embedding;  // (vocab, hidden)
  std::vector<LayerWeights> layers;
  std::unique_ptr<Vector> final_norm;  // (hidden)
  std::unique_ptr<Matrix> head;        // (vocab, hidden); null when it is the embedding on the same device
  const Matrix& output() const { return head ? *head : *embedding; }
};

struct LoadProgress {
  std::function<void(uint64_t bytes_done, uint64_t bytes_total)>
      report;  // called from any loading thread, one at a time
  const std::atomic<bool>& cancelled;
};

// Zero weights in the right shapes.
Weights allocate_weights(const ModelShape& shape, const Devices& devices);

int64_t parameter_count(const ModelShape& shape);

// Throws EngineError weights_missing_tensor, weights_read, weights_out_of_range, weights_overflow, weights_not_finite,
// bad_shape, out_of_memory; engine_closed when cancelled.
Weights load_weights(const ModelShape& shape, const std::vector<TensorSource>& tensors, int threads,
                     const LoadProgress& progress, const Devices& devices);

}  // namespace ziya
