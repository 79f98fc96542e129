// The base of architectures that are layers behind an embedding. Each device computes its layers and hands the residual stream
// to the next; logits are computed only for the rows that are sampled, a bounded number at a time. An architecture says what
// its embedding, a layer and its head do, and has memory of its own for what only it needs.
#pragma once

#include <algorithm>
#include <map>
#include <vector>

#include "model.h"

namespace ziya {

class LayeredModel : public Model {
 public:
  const Weights& weights() const override { return weights_; }
  void add_adapters(const std::vector<AdapterShape>& adapters) override;
  std::span<const Weights> adapter_weights() const override { return adapter_weights_; }
  StepResult begin(const StepBatch& batch, const std::atomic<bool>& cancelled) override;
  void finish(StepResult& result) override;
  bool is_asynchronous() const override { return stages_.back().kernels.is_asynchronous(); }

 protected:
  LayeredModel(const ModelShape& shape, const StepLimits& limits, const Devices& devices);

  // A stage is what one device computes, and with what.
  struct Stage {
    int index;
    Kernels& kernels;
    LayerRange layers;
    std::unique_ptr<Activations> residual;  // (tokens, hidden)
  };
  const std::vector<Stage>& stages() const { return stages_; }

  // The residual stream of the step's tokens, on the first device.
  virtual void embed(const Stage& stage) = 0;
  virtual void run_layer(const Stage& stage, int layer) = 0;
  // logits (rows.count(), vocab) of these of the step's rows, on the last device. Only of a model that draws tokens.
  virtual void compute_logits(const Stage& stage, RowRange rows, Activations& logits) = 0;
  // What becomes of the step's rows, on the last device: tokens are drawn, unless an architecture does something else.
  virtual void finish_rows(const Stage& last, const StepBatch& batch, StepResult& result);
  // Says whether a device may record its kernels: not where a step reads what they computed before it ends.
  virtual bool is_recordable() const { return true; }

  // Whether the step that runs changes what this matrix gives, and how: out is what project() or project_add() of it left.
  bool is_adapted(const Matrix& weight) const { return step_has_adapters_ && has_adapters(weight); }
  bool has_adapters(const Matrix& weight) const { return adapted_.contains(&weight); }
  void adapt(Kernels& kernels, const Activations& in, const Matrix& weight, Activations& out) const;
  // residual (tokens, hidden) += in * weight^T, with its bias, where that is not null, and what adapters add.
  void project_add(Kernels& kernels, const Activations& in, const Matrix& weight, const Vector* bias, Activations& residual) const;

  // The matrix (vocab, hidden) of the logits: the embedding where that is tied and on the same device, which is alone, else one of its own.
  const Matrix& head_beside(const Matrix& embedding, const Devices& devices);

  const ModelShape shape_;
  Weights weights_;

 private:
  void run_stage(const Stage& stage, const StepBatch& batch, const std::atomic<bool>& cancelled, StepResult& result);

  const WeightSlot& adapted_slot(const AdapterPartShape& part) const;

  std::vector<Stage> stages_;
  std::vector<Weights> adapter_weights_;
  std::map<const Matrix*, std::unique_ptr<AdapterProduct>> adapted_;
  bool step_has_adapters_ = false;
  std::unique_ptr<Activations> logits_;  // (logit_rows_max, vocab), on the last device
};

// Logits have so many rows at a time, and so has what only the sampled rows have.
inline int logit_rows(const StepLimits& limits) { return std::min(limits.batch_tokens_max, logit_rows_max); }

}  // namespace ziya
