// Seven kernels a layer; logits only for the rows that are sampled, a bounded number at a time.
#include "model.h"

#include <algorithm>

#include "engine_error.h"

namespace ziya {
namespace {

constexpr int logit_rows_max = 64;

}  // namespace

Model::Model(const ModelShape& shape, const StepLimits& limits, Weights weights, Kernels& kernels)
    : shape_(shape), kernels_(kernels), weights_(std::move(weights)), kv_cache_(shape, limits.blocks, kernels) {
  const int tokens = limits.tokens_max;
  residual_ = kernels.make_activations(tokens, shape.hidden_size);
  normed_ = kernels.make_activations(tokens, shape.hidden_size);
  qkv_ = kernels.make_activations(tokens, shape.qkv_columns());
  attended_ = kernels.make_activations(tokens, shape.attention_columns());
  inner_ = kernels.make_activations(tokens, shape.intermediate_size);
  normed_rows_ = kernels.make_activations(std::min(tokens, logit_rows_max), shape.hidden_size);
  logits_ = kernels.make_activations(std::min(tokens, logit_rows_max), shape.vocab_size);
}

StepResult Model::step(const StepBatch& batch, const std::atomic<bool>& cancelled) {
  StepResult result;
  kernels_.begin_step(batch);
  kernels_.embed(*weights_.embedding, *residual_);
  for (int layer = 0; layer < shape_.layers; layer++) {
    if (cancelled.load(std::memory_order_relaxed))
      throw EngineError("engine_closed", "the engine was closed during a step");
    run_layer(layer);
  }
  sample_rows(batch, result);
  kernels_.finish_step(result);
  return result;
}

void Model::run_layer(int index) {
  const LayerWeights& weights = weights_.layers[index];
  KvLayer& kv = kv_cache_.layer(index);
  kernels_.rms_norm(*residual_, *weights.attention_norm, *normed_);
  kernels_.qkv_rope(*normed_, *weights.qkv, *qkv_, kv);
  kernels_.attention(*qkv_, kv, *attended_);
  kernels_.project_add(*attended_, *weights.attention_out, *residual_);
  kernels_.rms_norm(*residual_, *weights.mlp_norm, *normed_);
  kernels_.gate_up_swiglu(*normed_, *weights.gate_up, *inner_);
  kernels_.project_add(*inner_, *weights.down, *residual_);
}

void Model::sample_rows(const StepBatch& batch, StepResult& result) {
  const int rows = int(batch.rows.size());
  if (batch.want_logits) result.logits.resize(size_t(rows) * shape_.vocab_size);
  for (int begin = 0; begin < rows; begin += logits_->rows_max) {
    const RowRange range = {begin, std::min(rows, begin + logits_->rows_max)};
    kernels_.rms_norm_rows(*residual_, *weights_.final_norm, range, *normed_rows_);
    kernels_.logits(*normed_rows_, weights_.output(), range.count(), *logits_);
    if (batch.want_logits)
      kernels_.download(*logits_, range.count(), result.logits.data() + int64_t(begin) * shape_.vocab_size);
    kernels_.sample(*logits_, range);
  }
}

}  // namespace ziya
