// The Llama forward pass, written once over the kernels of whatever device.
#pragma once

#include <atomic>
#include <memory>

#include "kernels/kernels.h"
#include "kv_cache.h"
#include "weights.h"

namespace ziya {

class Model {
 public:
  Model(const ModelShape& shape, const StepLimits& limits, Weights weights, Kernels& kernels);

  // The batch is already checked. `cancelled` is looked at between layers; a cancelled step throws engine_closed.
  StepResult step(const StepBatch& batch, const std::atomic<bool>& cancelled);

  int64_t kv_bytes() const { return kv_cache_.bytes(); }

 private:
  void run_layer(int index);
  void sample_rows(const StepBatch& batch, StepResult& result);

  const ModelShape shape_;
  Kernels& kernels_;
  Weights weights_;
  KvCache kv_cache_;
  std::unique_ptr<Activations> residual_;     // (tokens, hidden)
  std::unique_ptr<Activations> normed_;       // (tokens, hidden)
  std::unique_ptr<Activations> qkv_;          // (tokens, (heads + 2 kv_heads) * head_size)
  std::unique_ptr<Activations> attended_;     // (tokens, heads * head_size)
  std::unique_ptr<Activations> inner_;        // (tokens, intermediate)
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden)
  std::unique_ptr<Activations> logits_;       // (logit_rows_max, vocab)
};

}  // namespace ziya
