// Llama: seven kernels a layer; and what was trained from one to judge answers, whose head gives each row a value. Their slots are filled
// by gpu-node/run/native/architecture/llama.ts and llama-reward.ts.
#include "llama.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "kv_cache.h"
#include "layered_model.h"

namespace ziya {
namespace {

// All but the head.
class LlamaLayers : public LayeredModel {
 public:
  LlamaLayers(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
  int64_t kv_bytes() const override { return kv_cache_.bytes(); }
  void add_adapters(const std::vector<AdapterShape>& adapters) override;

 protected:
  void embed(const Stage& stage) override { stage.kernels.embed(*embedding_, *stage.residual); }
  void run_layer(const Stage& stage, int index) override;

  struct Layer {
    const Vector& attention_norm;  // (hidden)
    const Matrix& qkv;             // ((heads + 2 kv_heads) * head_size, hidden)
    const Matrix& attention_out;   // (hidden, heads * head_size)
    const Vector& mlp_norm;        // (hidden)
    const Matrix& gate_up;         // (2 intermediate, hidden), MatrixLayout::gate_up
    const Matrix& down;            // (hidden, intermediate)
    // Null where the shape has none.
    const Vector* qkv_bias;
    const Vector* attention_out_bias;
    std::optional<GateUpBias> gate_up_bias;
    const Vector* down_bias;
  };
  // A layer writes these on its way, on one device.
  struct Work {
    std::unique_ptr<Activations> normed;    // (tokens, hidden)
    std::unique_ptr<Activations> qkv;       // (tokens, (heads + 2 kv_heads) * head_size)
    std::unique_ptr<Activations> attended;  // (tokens, heads * head_size)
    std::unique_ptr<Activations> inner;     // (tokens, intermediate)
    std::unique_ptr<Activations> gate_up;   // (tokens, 2 intermediate), where biases or an adapter add to these; else null
  };
  std::unique_ptr<Activations> make_gate_up(Kernels& kernels, int tokens) const;
  void run_mlp(const Stage& stage, const Layer& layer);
  void add_weights(const Devices& devices);
  Layer add_layer(const std::string& prefix, Kernels& kernels);

  const Matrix* embedding_ = nullptr;   // (vocab, hidden)
  std::vector<Layer> layers_;
  const Vector* final_norm_ = nullptr;  // (hidden)
  KvCache kv_cache_;
  std::vector<Work> work_;  // of each stage
};

class Llama : public LlamaLayers {
 public:
  Llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices);

 protected:
  void compute_logits(const Stage& stage, RowRange rows, Activations& logits) override;

 private:
  const Matrix* head_;                        // (vocab, hidden)
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden), on the last device
};

// A row's value stands where the log-probability of a drawn token would.
class LlamaReward : public LlamaLayers {
 public:
  LlamaReward(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
  void finish(StepResult& result) override;

 protected:
  void compute_logits(const Stage&, RowRange, Activations&) override {}
  void finish_rows(const Stage& last, const StepBatch& batch, StepResult& result) override;
  bool is_recordable() const override { return false; }

 private:
  const Matrix& head_;                   // (1, hidden)
  const Vector& bias_;                   // (1)
  std::unique_ptr<Activations> values_;  // (tokens, 1), on the last device
};

LlamaLayers::LlamaLayers(const ModelShape& shape, const StepLimits& limits, const Devices& devices)
    : LayeredModel(shape, limits, devices), kv_cache_(shape, limits.blocks, devices) {
  add_weights(devices);
  const int tokens = limits.batch_tokens_max;
  for (const Stage& stage : stages())
    work_.push_back({.normed = stage.kernels.make_activations(tokens, shape.hidden_size),
                     .qkv = stage.kernels.make_activations(tokens, shape.qkv_columns(), Share::heads),
                     .attended = stage.kernels.make_activations(tokens, shape.attention_columns(), Share::outputs),
                     .inner = stage.kernels.make_activations(tokens, shape.intermediate_size, Share::outputs),
                     .gate_up = shape.mlp_bias ? make_gate_up(stage.kernels, tokens) : nullptr});
}

std::unique_ptr<Activations> LlamaLayers::make_gate_up(Kernels& kernels, int tokens) const {
  return kernels.make_activations(tokens, 2 * shape_.intermediate_size, Share::outputs);
}

void LlamaLayers::add_adapters(const std::vector<AdapterShape>& adapters) {
  LayeredModel::add_adapters(adapters);
  for (const Stage& stage : stages()) {
    Work& work = work_[stage.index];
    const auto begin = layers_.begin() + stage.layers.begin, end = layers_.begin() + stage.layers.end;
    if (std::any_of(begin, end, [&](const Layer& layer) { return has_adapters(layer.gate_up); }))
      work.gate_up = make_gate_up(stage.kernels, work.inner->rows_max);
  }
}

void LlamaLayers::add_weights(const Devices& devices) {
  embedding_ = &weights_.add_matrix("embedding", devices.first(), shape_.vocab_size, shape_.hidden_size);
  for (int i = 0; i < shape_.layers; i++) layers_.push_back(add_layer("layer." + std::to_string(i) + ".", devices.of_layer(i)));
  final_norm_ = &weights_.add_vector("final_norm", devices.last(), shape_.hidden_size);
}

LlamaLayers::Layer LlamaLayers::add_layer(const std::string& prefix, Kernels& kernels) {
  const int hidden = shape_.hidden_size;
  const auto matrix = [&](const char* name, int outputs, int inputs, Share share, MatrixLayout layout = MatrixLayout::plain) -> const Matrix& {
    return weights_.add_matrix(prefix + name, kernels, outputs, inputs, layout, shape_.weights, share);
  };
  const auto bias = [&](const std::string& name, int columns, Share share) -> const Vector& {
    return weights_.add_vector(prefix + name + "_bias", kernels, columns, share);
  };
  return {.attention_norm = weights_.add_vector(prefix + "attention_norm", kernels, hidden),
          .qkv = matrix("qkv", shape_.qkv_columns(), hidden, Share::heads),
          .attention_out = matrix("attention_out", hidden, shape_.attention_columns(), Share::inputs),
          .mlp_norm = weights_.add_vector(prefix + "mlp_norm", kernels, hidden),
          .gate_up = matrix("gate_up", 2 * shape_.intermediate_size, hidden, Share::outputs, MatrixLayout::gate_up),
          .down = matrix("down", hidden, shape_.intermediate_size, Share::inputs),
          .qkv_bias = shape_.attention_bias ? &bias("qkv", shape_.qkv_columns(), Share::heads) : nullptr,
          .attention_out_bias = shape_.attention_bias ? &bias("attention_out", hidden, Share::whole) : nullptr,
          .gate_up_bias = shape_.mlp_bias ? std::optional<GateUpBias>({bias("gate", shape_.intermediate_size, Share::outputs),
                                                                        bias("up", shape_.intermediate_size, Share::outputs)})
                                          : std::nullopt,
          .down_bias = shape_.mlp_bias ? &bias("down", hidden, Share::whole) : nullptr};
}

void LlamaLayers::run_layer(const Stage& stage, int index) {
  const Layer& layer = layers_[index];
  const Work& work = work_[stage.index];
  KvLayer& kv = kv_cache_.layer(index);
  Kernels& kernels = stage.kernels;
  kernels.rms_norm(*stage.residual, layer.attention_norm, *work.normed);
  kernels.project(*work.normed, layer.qkv, *work.qkv);
  adapt(kernels, *work.normed, layer.qkv, *work.qkv);
  if (layer.qkv_bias != nullptr) kernels.add_bias(*layer.qkv_bias, *work.qkv);
  kernels.rope(*work.qkv, kv);
  kernels.attention(*work.qkv, kv, *work.attended);
  project_add(kernels, *work.attended, layer.attention_out, layer.attention_out_bias, *stage.residual);
  run_mlp(stage, layer);
}

void LlamaLayers::run_mlp(const Stage& stage, const Layer& layer) {
  const Work& work = work_[stage.index];
  Kernels& kernels = stage.kernels;
  kernels.rms_norm(*stage.residual, layer.mlp_norm, *work.normed);
  if (layer.gate_up_bias || is_adapted(layer.gate_up)) {
    kernels.project(*work.normed, layer.gate_up, *work.gate_up);
    adapt(kernels, *work.normed, layer.gate_up, *work.gate_up);
    kernels.swiglu(*work.gate_up, layer.gate_up_bias ? &*layer.gate_up_bias : nullptr, *work.inner);
  } else {
    kernels.gate_up_swiglu(*work.normed, layer.gate_up, *work.inner);
  }
  project_add(kernels, *work.inner, layer.down, layer.down_bias, *stage.residual);
}

Llama::Llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices) : LlamaLayers(shape, limits, devices) {
  head_ = &head_beside(*embedding_, devices);
  normed_rows_ = devices.last().make_activations(logit_rows(limits), shape.hidden_size);
}

void Llama::compute_logits(const Stage& stage, RowRange rows, Activations& logits) {
  stage.kernels.rms_norm_rows(*stage.residual, *final_norm_, rows, *normed_rows_);
  stage.kernels.logits(*normed_rows_, *head_, rows.count(), logits);
}

LlamaReward::LlamaReward(const ModelShape& shape, const StepLimits& limits, const Devices& devices)
    : LlamaLayers(shape, limits, devices),
      head_(weights_.add_matrix("value_head", devices.last(), 1, shape.hidden_size)),
      bias_(weights_.add_vector("value_bias", devices.last(), 1)),
      values_(devices.last().make_activations(limits.batch_tokens_max, 1)) {}

// Of all tokens, which costs as much as of the few whose value is wanted.
void LlamaReward::finish_rows(const Stage& last, const StepBatch& batch, StepResult& result) {
  const Work& work = work_[last.index];
  last.kernels.rms_norm(*last.residual, *final_norm_, *work.normed);
  last.kernels.project(*work.normed, head_, *values_);
  last.kernels.add_bias(bias_, *values_);
  std::vector<float> of_tokens(batch.tokens.size());
  last.kernels.download(*values_, int(of_tokens.size()), of_tokens.data());
  for (const Row& row : batch.rows) result.values.push_back(of_tokens[row.token]);
}

void LlamaReward::finish(StepResult& result) {
  LlamaLayers::finish(result);
  result.tokens.clear();
  for (const float value : result.values) result.tokens.push_back(std::isfinite(value) ? 0 : nothing_drawn);
  result.logprobs = result.values;
}

void check(const ModelShape& shape) {
  require_shape(shape.intermediate_size > 0, "intermediate_size");
  require_shape(shape.has_attention(), "heads");
  require_shape(shape.has_rope(), "rope_theta");
}

template <class M>
std::unique_ptr<Model> make(const ModelShape& shape, const StepLimits& limits, const Devices& devices) {
  return std::make_unique<M>(shape, limits, devices);
}

}  // namespace

constinit const Architecture llama_architecture = {"llama", check, make<Llama>};
constinit const Architecture llama_reward_architecture = {"llama_reward", check, make<LlamaReward>};

}  // namespace ziya
