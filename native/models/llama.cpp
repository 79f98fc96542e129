// Seven kernels a layer; logits only for the rows that are sampled, a bounded number at a time. Each device computes its
// layers and hands the residual stream to the next.
#include "models/llama.h"

#include <algorithm>

#include "engine_error.h"

namespace ziya {
Model::Stage::Stage(const ModelShape& shape, const StepLimits& limits, const DeviceRange& range)
    : kernels(range.kernels),
      layers(range.layers),
      residual(kernels.make_activations(limits.batch_tokens_max, shape.hidden_size)),
      normed(kernels.make_activations(limits.batch_tokens_max, shape.hidden_size)),
      qkv(kernels.make_activations(limits.batch_tokens_max, shape.qkv_columns())),
      attended(kernels.make_activations(limits.batch_tokens_max, shape.attention_columns())),
      inner(kernels.make_activations(limits.batch_tokens_max, shape.intermediate_size)) {}

Model::Model(const ModelShape& shape, const StepLimits& limits, Weights weights, const Devices& devices)
    : shape_(shape), weights_(std::move(weights)), kv_cache_(shape, limits.blocks, devices) {
  for (const DeviceRange& range : devices.ranges()) stages_.emplace_back(shape, limits, range);
  const int rows = std::min(limits.batch_tokens_max, logit_rows_max);
  normed_rows_ = devices.last().make_activations(rows, shape.hidden_size);
  logits_ = devices.last().make_activations(rows, shape.vocab_size);
}

StepResult Model::step(const StepBatch& batch, const std::atomic<bool>& cancelled) {
  StepResult result = begin(batch, cancelled);
  finish(result);
  return result;
}

StepResult Model::begin(const StepBatch& batch, const std::atomic<bool>& cancelled) {
  StepResult result;
  for (const Stage& stage : stages_) run_stage(stage, batch, cancelled, result);
  stages_.back().kernels.end_step();
  return result;
}

void Model::finish(StepResult& result) { stages_.back().kernels.finish_step(result); }

void Model::run_stage(const Stage& stage, const StepBatch& batch, const std::atomic<bool>& cancelled, StepResult& result) {
  const bool is_first = &stage == &stages_.front(), is_last = &stage == &stages_.back();
  stage.kernels.begin_step(batch);
  if ((is_first || is_last) && batch.has_references()) stage.kernels.resolve_references(stages_.back().kernels);
  if (!is_first) {
    const Stage& before = *(&stage - 1);
    stage.kernels.receive(before.kernels, *before.residual, int(batch.tokens.size()), *stage.residual);
  }
  if (!stage.kernels.begin_recording()) return;
  if (is_first) stage.kernels.embed(*weights_.embedding, *stage.residual);
  for (int layer = stage.layers.begin; layer < stage.layers.end; layer++) {
    if (cancelled.load(std::memory_order_relaxed))
      throw EngineError("engine_closed", "the engine was closed during a step");
    run_layer(stage, layer);
  }
  if (is_last) sample_rows(stage, batch, result);
  stage.kernels.end_recording();
}

void Model::run_layer(const Stage& stage, int index) {
  const LayerWeights& weights = weights_.layers[index];
  KvLayer& kv = kv_cache_.layer(index);
  Kernels& kernels = stage.kernels;
  kernels.rms_norm(*stage.residual, *weights.attention_norm, *stage.normed);
  kernels.qkv_rope(*stage.normed, *weights.qkv, *stage.qkv, kv);
  kernels.attention(*stage.qkv, kv, *stage.attended);
  kernels.project_add(*stage.attended, *weights.attention_out, *stage.residual);
  kernels.rms_norm(*stage.residual, *weights.mlp_norm, *stage.normed);
  kernels.gate_up_swiglu(*stage.normed, *weights.gate_up, *stage.inner);
  kernels.project_add(*stage.inner, *weights.down, *stage.residual);
}

void Model::sample_rows(const Stage& last, const StepBatch& batch, StepResult& result) {
  Kernels& kernels = last.kernels;
  const int rows = int(batch.rows.size());
  if (batch.want_logits) result.logits.resize(size_t(rows) * shape_.vocab_size);
  for (int begin = 0; begin < rows; begin += logits_->rows_max) {
    const RowRange range = {begin, std::min(rows, begin + logits_->rows_max)};
    kernels.rms_norm_rows(*last.residual, *weights_.final_norm, range, *normed_rows_);
    kernels.logits(*normed_rows_, weights_.output(), range.count(), *logits_);
    if (batch.want_logits)
      kernels.download(*logits_, range.count(), result.logits.data() + int64_t(begin) * shape_.vocab_size);
    kernels.sample(*logits_, range);
  }
}

}  // namespace ziya
