// GPTBigCode, the network of StarCoder: positions are learned, norms and products have biases, and all heads share what keys and values
// there are. Its slots are filled by gpu-node/run/native/architecture/gpt-bigcode.ts.
#include "gpt_bigcode.h"

#include "kv_cache.h"
#include "layered_model.h"

namespace ziya {
namespace {

struct Norm {
  const Vector& weight;  // (hidden)
  const Vector& bias;
};

struct Product {
  const Matrix& weight;  // (outputs, inputs)
  const Vector& bias;    // (outputs)
};

class GptBigCode : public LayeredModel {
 public:
  GptBigCode(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
  int64_t kv_bytes() const override { return kv_cache_.bytes(); }

 protected:
  void embed(const Stage& stage) override;
  void run_layer(const Stage& stage, int index) override;
  void compute_logits(const Stage& stage, RowRange rows, Activations& logits) override;

 private:
  struct Layer {
    Norm attention_norm;
    Product qkv;            // ((heads + 2 kv_heads) * head_size, hidden)
    Product attention_out;  // (hidden, heads * head_size)
    Norm mlp_norm;
    Product up;    // (intermediate, hidden)
    Product down;  // (hidden, intermediate)
  };
  // A layer writes these on its way, on one device.
  struct Work {
    std::unique_ptr<Activations> normed;    // (tokens, hidden)
    std::unique_ptr<Activations> qkv;       // (tokens, (heads + 2 kv_heads) * head_size)
    std::unique_ptr<Activations> attended;  // (tokens, heads * head_size)
    std::unique_ptr<Activations> up;        // (tokens, intermediate), before its bias
    std::unique_ptr<Activations> inner;     // (tokens, intermediate)
  };
  Norm add_norm(const std::string& name, Kernels& kernels);
  Product add_product(const std::string& name, Kernels& kernels, int outputs, int inputs, Share share);
  Layer add_layer(const std::string& prefix, Kernels& kernels);

  const Matrix& embedding_;  // (vocab, hidden)
  const Matrix& positions_;  // (context, hidden)
  std::vector<Layer> layers_;
  std::unique_ptr<Norm> final_norm_;
  const Matrix* head_ = nullptr;  // (vocab, hidden)
  KvCache kv_cache_;
  std::vector<Work> work_;                    // of each stage
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden), on the last device
};

GptBigCode::GptBigCode(const ModelShape& shape, const StepLimits& limits, const Devices& devices)
    : LayeredModel(shape, limits, devices),
      embedding_(weights_.add_matrix("embedding", devices.first(), shape.vocab_size, shape.hidden_size)),
      positions_(weights_.add_matrix("positions", devices.first(), shape.context_tokens, shape.hidden_size)),
      kv_cache_(shape, limits.blocks, devices) {
  for (int i = 0; i < shape.layers; i++) layers_.push_back(add_layer("layer." + std::to_string(i) + ".", devices.of_layer(i)));
  final_norm_ = std::make_unique<Norm>(add_norm("final_norm", devices.last()));
  head_ = &head_beside(embedding_, devices);
  const int tokens = limits.batch_tokens_max;
  for (const Stage& stage : stages())
    work_.push_back({.normed = stage.kernels.make_activations(tokens, shape.hidden_size),
                     .qkv = stage.kernels.make_activations(tokens, shape.qkv_columns(), Share::heads),
                     .attended = stage.kernels.make_activations(tokens, shape.attention_columns(), Share::outputs),
                     .up = stage.kernels.make_activations(tokens, shape.intermediate_size, Share::outputs),
                     .inner = stage.kernels.make_activations(tokens, shape.intermediate_size, Share::outputs)});
  normed_rows_ = devices.last().make_activations(logit_rows(limits), shape.hidden_size);
}

Norm GptBigCode::add_norm(const std::string& name, Kernels& kernels) {
  return {.weight = weights_.add_vector(name, kernels, shape_.hidden_size),
          .bias = weights_.add_vector(name + "_bias", kernels, shape_.hidden_size)};
}

// Where devices add up parts of a product, the sum has its bias once, on each.
Product GptBigCode::add_product(const std::string& name, Kernels& kernels, int outputs, int inputs, Share share) {
  return {.weight = weights_.add_matrix(name, kernels, outputs, inputs, MatrixLayout::plain, shape_.weights, share),
          .bias = weights_.add_vector(name + "_bias", kernels, outputs, share == Share::inputs ? Share::whole : share)};
}

GptBigCode::Layer GptBigCode::add_layer(const std::string& prefix, Kernels& kernels) {
  const int hidden = shape_.hidden_size;
  return {.attention_norm = add_norm(prefix + "attention_norm", kernels),
          .qkv = add_product(prefix + "qkv", kernels, shape_.qkv_columns(), hidden, Share::heads),
          .attention_out = add_product(prefix + "attention_out", kernels, hidden, shape_.attention_columns(), Share::inputs),
          .mlp_norm = add_norm(prefix + "mlp_norm", kernels),
          .up = add_product(prefix + "up", kernels, shape_.intermediate_size, hidden, Share::outputs),
          .down = add_product(prefix + "down", kernels, hidden, shape_.intermediate_size, Share::inputs)};
}

void GptBigCode::embed(const Stage& stage) {
  stage.kernels.embed(embedding_, *stage.residual);
  stage.kernels.add_positions(positions_, *stage.residual);
}

void GptBigCode::run_layer(const Stage& stage, int index) {
  const Layer& layer = layers_[index];
  const Work& work = work_[stage.index];
  KvLayer& kv = kv_cache_.layer(index);
  Kernels& kernels = stage.kernels;
  kernels.layer_norm(*stage.residual, layer.attention_norm.weight, layer.attention_norm.bias, *work.normed);
  kernels.project(*work.normed, layer.qkv.weight, *work.qkv);
  adapt(kernels, *work.normed, layer.qkv.weight, *work.qkv);
  kernels.place_qkv(layer.qkv.bias, *work.qkv, kv);
  kernels.attention(*work.qkv, kv, *work.attended);
  project_add(kernels, *work.attended, layer.attention_out.weight, &layer.attention_out.bias, *stage.residual);
  kernels.layer_norm(*stage.residual, layer.mlp_norm.weight, layer.mlp_norm.bias, *work.normed);
  kernels.project(*work.normed, layer.up.weight, *work.up);
  adapt(kernels, *work.normed, layer.up.weight, *work.up);
  kernels.gelu(*work.up, layer.up.bias, *work.inner);
  project_add(kernels, *work.inner, layer.down.weight, &layer.down.bias, *stage.residual);
}

void GptBigCode::compute_logits(const Stage& stage, RowRange rows, Activations& logits) {
  stage.kernels.layer_norm_rows(*stage.residual, final_norm_->weight, final_norm_->bias, rows, *normed_rows_);
  stage.kernels.logits(*normed_rows_, *head_, rows.count(), logits);
}

void check(const ModelShape& shape) {
  require_shape(shape.intermediate_size > 0, "intermediate_size");
  require_shape(shape.has_attention(), "heads");
  require_shape(!shape.has_rope(), "rope_theta");
  require_shape(shape.layer_norm_eps > 0, "layer_norm_eps");
}

std::unique_ptr<Model> make(const ModelShape& shape, const StepLimits& limits, const Devices& devices) {
  return std::make_unique<GptBigCode>(shape, limits, devices);
}

}  // namespace

constinit const Architecture gpt_bigcode_architecture = {"gpt_bigcode", check, make};

}  // namespace ziya
