// An architecture that only tests have: its layers leave the residual stream as it is. So a token's logits are the head times
// the norm of its embedding, and no device has memory for attention, angles or an MLP. Its slots: identity.ts.
#include "models/layered_model.h"
#include "models/registry.h"

namespace ziya::test {
namespace {

class Identity : public LayeredModel {
 public:
  Identity(const ModelShape& shape, const StepLimits& limits, const Devices& devices)
      : LayeredModel(shape, limits, devices),
        embedding_(weights_.add_matrix("embedding", devices.first(), shape.vocab_size, shape.hidden_size)),
        norm_(weights_.add_vector("norm", devices.last(), shape.hidden_size)),
        head_(weights_.add_matrix("head", devices.last(), shape.vocab_size, shape.hidden_size)),
        normed_rows_(devices.last().make_activations(logit_rows(limits), shape.hidden_size)) {}

  int64_t kv_bytes() const override { return 0; }

 protected:
  void embed(const Stage& stage) override { stage.kernels.embed(embedding_, *stage.residual); }
  void run_layer(const Stage&, int) override {}
  void compute_logits(const Stage& stage, RowRange rows, Activations& logits) override {
    stage.kernels.rms_norm_rows(*stage.residual, norm_, rows, *normed_rows_);
    stage.kernels.logits(*normed_rows_, head_, rows.count(), logits);
  }

 private:
  const Matrix& embedding_;  // (vocab, hidden)
  const Vector& norm_;       // (hidden)
  const Matrix& head_;       // (vocab, hidden)
  std::unique_ptr<Activations> normed_rows_;  // (logit_rows_max, hidden)
};

void check(const ModelShape& shape) { require_shape(!shape.has_attention(), "heads"); }

std::unique_ptr<Model> make(const ModelShape& shape, const StepLimits& limits, const Devices& devices) {
  return std::make_unique<Identity>(shape, limits, devices);
}

const bool is_registered = register_architecture({"identity", check, make});

}  // namespace
}  // namespace ziya::test
