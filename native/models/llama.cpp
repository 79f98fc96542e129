// Llama: seven kernels a layer. Its slots are filled by gpu-node/run/native/architecture/llama.ts.
#include "llama.h"

#include "kv_cache.h"
#include "layered_model.h"

namespace ziya {
namespace {

class Llama : public LayeredModel {
 public:
  Llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
  int64_t kv_bytes() const override { return kv_cache_.bytes(); }

 protected:
  void embed(const Stage& stage) override { stage.kernels.embed(*embedding_, *stage.residual); }
  void run_layer(const Stage& stage, int index) override;
  void compute_logits(const Stage& stage, RowRange rows, Activations& logits) override;

 private:
  struct Layer {
    const Vector& attention_norm;  // (hidden)
    const Matrix& qkv;             // ((heads + 2 kv_heads) * head_size, hidden)
    const Matrix& attention_out;   // (hidden, heads * head_size)
    const Vector& mlp_norm;        // (hidden)
    const Matrix& gate_up;         // (2 intermediate, hidden), MatrixLayout::gate_up
    const Matrix& down;            // (hidden, intermediate)
  };
  // A layer writes these on its way, on one device.
  struct Work {
    std::unique_ptr<Activations> normed;    // (tokens, hidden)
    std::unique_ptr<Activations> qkv;       // (tokens, (heads + 2 kv_heads) * head_size)
    std::unique_ptr<Activations> attended;  // (tokens, heads * head_size)
    std::unique_ptr<Activations> inner;     // (tokens, intermediate)
  };
  void add_weights(const Devices& devices);
  Layer add_layer(const std::string& prefix, Kernels& kernels);

  const Matrix* embedding_ = nullptr;   // (vocab, hidden)
  std::vector<Layer> layers_;
  const Vector* final_norm_ = nullptr;  // (hidden)
  const Matrix* head_ = nullptr;        // (vocab, hidden); the embedding where that is tied and on the same device
  KvCache kv_cache_;
  std::vector<Work> work_;                    // of each stage
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden), on the last device
};

Llama::Llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices)
    : LayeredModel(shape, limits, devices), kv_cache_(shape, limits.blocks, devices) {
  add_weights(devices);
  const int tokens = limits.batch_tokens_max;
  for (const Stage& stage : stages())
    work_.push_back({.normed = stage.kernels.make_activations(tokens, shape.hidden_size),
                     .qkv = stage.kernels.make_activations(tokens, shape.qkv_columns()),
                     .attended = stage.kernels.make_activations(tokens, shape.attention_columns()),
                     .inner = stage.kernels.make_activations(tokens, shape.intermediate_size)});
  normed_rows_ = devices.last().make_activations(logit_rows(limits), shape.hidden_size);
}

void Llama::add_weights(const Devices& devices) {
  embedding_ = &weights_.add_matrix("embedding", devices.first(), shape_.vocab_size, shape_.hidden_size);
  for (int i = 0; i < shape_.layers; i++) layers_.push_back(add_layer("layer." + std::to_string(i) + ".", devices.of_layer(i)));
  final_norm_ = &weights_.add_vector("final_norm", devices.last(), shape_.hidden_size);
  const bool shares_embedding = shape_.tied_embeddings && &devices.first() == &devices.last();
  head_ = shares_embedding ? embedding_
                           : &weights_.add_matrix(shape_.tied_embeddings ? "embedding" : "head", devices.last(), shape_.vocab_size,
                                                  shape_.hidden_size);
}

Llama::Layer Llama::add_layer(const std::string& prefix, Kernels& kernels) {
  const int hidden = shape_.hidden_size;
  return {.attention_norm = weights_.add_vector(prefix + "attention_norm", kernels, hidden),
          .qkv = weights_.add_matrix(prefix + "qkv", kernels, shape_.qkv_columns(), hidden),
          .attention_out = weights_.add_matrix(prefix + "attention_out", kernels, hidden, shape_.attention_columns()),
          .mlp_norm = weights_.add_vector(prefix + "mlp_norm", kernels, hidden),
          .gate_up = weights_.add_matrix(prefix + "gate_up", kernels, 2 * shape_.intermediate_size, hidden, MatrixLayout::gate_up),
          .down = weights_.add_matrix(prefix + "down", kernels, hidden, shape_.intermediate_size)};
}

void Llama::run_layer(const Stage& stage, int index) {
  const Layer& layer = layers_[index];
  const Work& work = work_[stage.index];
  KvLayer& kv = kv_cache_.layer(index);
  Kernels& kernels = stage.kernels;
  kernels.rms_norm(*stage.residual, layer.attention_norm, *work.normed);
  kernels.qkv_rope(*work.normed, layer.qkv, *work.qkv, kv);
  kernels.attention(*work.qkv, kv, *work.attended);
  kernels.project_add(*work.attended, layer.attention_out, *stage.residual);
  kernels.rms_norm(*stage.residual, layer.mlp_norm, *work.normed);
  kernels.gate_up_swiglu(*work.normed, layer.gate_up, *work.inner);
  kernels.project_add(*work.inner, layer.down, *stage.residual);
}

void Llama::compute_logits(const Stage& stage, RowRange rows, Activations& logits) {
  stage.kernels.rms_norm_rows(*stage.residual, *final_norm_, rows, *normed_rows_);
  stage.kernels.logits(*normed_rows_, *head_, rows.count(), logits);
}

void check(const ModelShape& shape) {
  require_shape(shape.intermediate_size > 0, "intermediate_size");
  require_shape(shape.has_attention(), "heads");
  require_shape(shape.has_rope(), "rope_theta");
}

std::unique_ptr<Model> make(const ModelShape& shape, const StepLimits& limits, const Devices& devices) {
  return std::make_unique<Llama>(shape, limits, devices);
}

}  // namespace

constinit const Architecture llama_architecture = {"llama", check, make};

}  // namespace ziya
