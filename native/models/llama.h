// The Llama forward pass, written once over the kernels of whatever device.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "kv_cache.h"
#include "weights.h"

namespace ziya {

class Model {
 public:
  Model(const ModelShape& shape, const StepLimits& limits, Weights weights, const Devices& devices);

  // The batch is already checked. `cancelled` is looked at between layers; a cancelled step throws engine_closed.
  StepResult step(const StepBatch& batch, const std::atomic<bool>& cancelled);

  // The same in two halves, so that a step is enqueued behind one that was not finished yet, whose tokens it may refer to. The
  // oldest is finished first, perhaps by another thread; no more than unfinished_steps_max are begun.
  StepResult begin(const StepBatch& batch, const std::atomic<bool>& cancelled);
  void finish(StepResult& result);
  // Whether there is anything to wait for between the two.
  bool is_asynchronous() const { return stages_.back().kernels.is_asynchronous(); }

  int64_t kv_bytes() const { return kv_cache_.bytes(); }

 private:
  // What one device computes, and with what.
  struct Stage {
    Stage(const ModelShape& shape, const StepLimits& limits, const DeviceRange& range);
    Kernels& kernels;
    const LayerRange layers;
    std::unique_ptr<Activations> residual;  // (tokens, hidden)
    std::unique_ptr<Activations> normed;    // (tokens, hidden)
    std::unique_ptr<Activations> qkv;       // (tokens, (heads + 2 kv_heads) * head_size)
    std::unique_ptr<Activations> attended;  // (tokens, heads * head_size)
    std::unique_ptr<Activations> inner;     // (tokens, intermediate)
  };
  void run_stage(const Stage& stage, const StepBatch& batch, const std::atomic<bool>& cancelled, StepResult& result);
  void run_layer(const Stage& stage, int index);
  void sample_rows(const Stage& last, const StepBatch& batch, StepResult& result);

  const ModelShape shape_;
  Weights weights_;
  KvCache kv_cache_;
  std::vector<Stage> stages_;
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden), on the last device
  std::unique_ptr<Activations> logits_;       // (logit_rows_max, vocab), there too
};

}  // namespace ziya
