#include "layered_model.h"

#include <algorithm>
#include <cmath>

namespace ziya {

LayeredModel::LayeredModel(const ModelShape& shape, const StepLimits& limits, const Devices& devices) : shape_(shape) {
  for (const DeviceRange& range : devices.ranges())
    stages_.push_back({int(stages_.size()), range.kernels, range.layers,
                       range.kernels.make_activations(limits.batch_tokens_max, shape.hidden_size)});
  logits_ = devices.last().make_activations(logit_rows(limits), shape.vocab_size);
}

const Matrix& LayeredModel::head_beside(const Matrix& embedding, const Devices& devices) {
  if (shape_.tied_embeddings && &devices.first() == &devices.last() && devices.last().ranks() == 1) return embedding;
  return weights_.add_matrix(shape_.tied_embeddings ? "embedding" : "head", devices.last(), shape_.vocab_size, shape_.hidden_size,
                             MatrixLayout::plain, WeightFormat::fp16, Share::outputs);
}

void LayeredModel::add_adapters(const std::vector<AdapterShape>& adapters) {
  std::map<const WeightSlot*, std::vector<AdapterPart>> parts;
  for (const AdapterShape& adapter : adapters) {
    const int number = int(adapter_weights_.size());
    Weights& weights = adapter_weights_.emplace_back();
    for (const AdapterPartShape& part : adapter) {
      const WeightSlot& slot = adapted_slot(part);
      std::vector<AdapterPart>& of_slot = parts[&slot];
      for (const AdapterPart& other : of_slot)
        require_shape(other.adapter != number || other.first_output + other.b.outputs <= part.first_output, "adapters");
      const std::string name = part.slot + "." + std::to_string(part.first_output);
      const auto [a, b] = weights.add_adapter(name, slot, part.first_output, part.outputs, part.rank);
      of_slot.push_back({number, part.first_output, part.scale, a, b});
    }
  }
  for (const auto& [slot, of_slot] : parts) adapted_[slot->matrix.get()] = slot->kernels.make_adapter_product(*slot->matrix, of_slot);
}

const WeightSlot& LayeredModel::adapted_slot(const AdapterPartShape& part) const {
  const auto& slots = weights_.slots();
  const auto slot = std::find_if(slots.begin(), slots.end(), [&](const WeightSlot& each) { return each.name == part.slot; });
  require_shape(slot != slots.end() && slot->matrix && part.slot.starts_with("layer."), "adapters");
  require_shape(part.rank >= 1 && part.rank <= adapter_rank_max && std::isfinite(part.scale), "adapters");
  require_shape(part.outputs >= 1 && part.outputs <= slot->rows() && part.first_output >= 0 &&
                    part.first_output <= slot->rows() - part.outputs,
                "adapters");
  return *slot;
}

void LayeredModel::adapt(Kernels& kernels, const Activations& in, const Matrix& weight, Activations& out) const {
  if (is_adapted(weight)) kernels.add_adapters(in, *adapted_.at(&weight), out);
}

void LayeredModel::project_add(Kernels& kernels, const Activations& in, const Matrix& weight, const Vector* bias, Activations& residual) const {
  kernels.project_add(in, weight, residual);
  if (bias != nullptr) kernels.add_bias(*bias, residual);
  adapt(kernels, in, weight, residual);
}

StepResult LayeredModel::begin(const StepBatch& batch, const std::atomic<bool>& cancelled) {
  StepResult result;
  step_has_adapters_ = batch.has_adapters();
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
