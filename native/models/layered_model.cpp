#include "layered_model.h"

#include <algorithm>

namespace ziya {

LayeredModel::LayeredModel(const ModelShape& shape, const StepLimits& limits, const Devices& devices) : shape_(shape) {
  for (const DeviceRange& range : devices.ranges())
    stages_.push_back({int(stages_.size()), range.kernels, range.layers,
                       range.kernels.make_activations(limits.batch_tokens_max, shape.hidden_size)});
  logits_ = devices.last().make_activations(logit_rows(limits), shape.vocab_size);
}

const Matrix& LayeredModel::head_beside(const Matrix& embedding, const Devices& devices) {
  if (shape_.tied_embeddings && &devices.first() == &devices.last()) return embedding;
  return weights_.add_matrix(shape_.tied_embeddings ? "embedding" : "head", devices.last(), shape_.vocab_size, shape_.hidden_size);
}

StepResult LayeredModel::begin(const StepBatch& batch, const std::atomic<bool>& cancelled) {
  StepResult result;
  for (const Stage& stage : stages_) run_stage(stage, batch, cancelled, result);
  stages_.back().kernels.end_step();
  return result;
}

void LayeredModel::finish(StepResult& result) { stages_.back().kernels.finish_step(result); }

void LayeredModel::run_stage(const Stage& stage, const StepBatch& batch, const std::atomic<bool>& cancelled,
                             StepResult& result) {
  const bool is_first = &stage == &stages_.front(), is_last = &stage == &stages_.back();
  stage.kernels.begin_step(batch);
  if ((is_first || is_last) && batch.has_references()) stage.kernels.resolve_references(stages_.back().kernels);
  if (!is_first) {
    const Stage& before = stages_[stage.index - 1];
    stage.kernels.receive(before.kernels, *before.residual, int(batch.tokens.size()), *stage.residual);
  }
  if (is_recordable() && !stage.kernels.begin_recording()) return;
  if (is_first) embed(stage);
  for (int layer = stage.layers.begin; layer < stage.layers.end; layer++) {
    if (cancelled.load(std::memory_order_relaxed))
      throw EngineError("engine_closed", "the engine was closed during a step");
    run_layer(stage, layer);
  }
  if (is_last) finish_rows(stage, batch, result);
  if (is_recordable()) stage.kernels.end_recording();
}

void LayeredModel::finish_rows(const Stage& last, const StepBatch& batch, StepResult& result) {
  const int rows = int(batch.rows.size());
  if (batch.want_logits) result.logits.resize(size_t(rows) * shape_.vocab_size);
  for (int begin = 0; begin < rows; begin += logits_->rows_max) {
    const RowRange range = {begin, std::min(rows, begin + logits_->rows_max)};
    compute_logits(last, range, *logits_);
    if (batch.want_logits)
      last.kernels.download(*logits_, range.count(), result.logits.data() + int64_t(begin) * shape_.vocab_size);
    last.kernels.sample(*logits_, range);
  }
}

}  // namespace ziya
