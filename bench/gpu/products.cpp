// Products alone, by the device's clock; and one launch of each hot kernel, for a profiler to look at.
#include <cstdio>

#include "bench.h"

namespace ziya::bench {
namespace {

enum class Use { store, add, swiglu };

struct Product {
  const char* name;
  int outputs, inputs;
  Use use;
  WeightFormat format;
};

// The four products of a layer, gate and up as one, and the logits.
std::vector<Product> products_of(const ModelShape& s) {
  return {{"qkv", s.qkv_columns(), s.hidden_size, Use::store, s.weights},
          {"attention_out", s.hidden_size, s.attention_columns(), Use::add, s.weights},
          {"gate_up", 2 * s.intermediate_size, s.hidden_size, Use::swiglu, s.weights},
          {"down", s.hidden_size, s.intermediate_size, Use::add, s.weights},
          {"logits", s.vocab_size, s.hidden_size, Use::store, WeightFormat::fp16}};
}

// A step of so many sequences of one token each, the context-th of theirs.
StepBatch decode_batch(int sequences, int context, int vocab_size) {
  const int blocks_each = context / block_tokens + 1;
  std::vector<Piece> pieces;
  for (int i = 0; i < sequences; i++) pieces.push_back({{i % vocab_size}, context, blocks_of(i, blocks_each)});
  return batch_of(pieces);
}

// A matrix, what it multiplies and what comes of it, on a device.
class Operands {
 public:
  Operands(Kernels& kernels, const Product& product, int rows_max)
      : product_(product), kernels_(kernels),
        weight_(kernels.make_matrix(product.outputs, product.inputs, product.use == Use::swiglu ? MatrixLayout::gate_up : MatrixLayout::plain,
                                    product.format)),
        ones_(kernels.make_vector(product.inputs)), raw_(kernels.make_activations(rows_max, product.inputs)),
        in_(kernels.make_activations(rows_max, product.inputs)),
        out_(kernels.make_activations(rows_max, product.use == Use::swiglu ? product.outputs / 2 : product.outputs)) {
    fill(kernels, *weight_);
    kernels.upload(*ones_, 0, product.inputs, std::vector<float>(product.inputs, 1).data());
    std::vector<float> values(size_t(rows_max) * product.inputs);
    for (size_t i = 0; i < values.size(); i++) values[i] = float(int(i * 2654435761u >> 8) % 2001 - 1000) * 1e-3f;
    kernels.upload(*raw_, rows_max, values.data());
  }

  // Makes the inputs halves, as a norm leaves them, for the step that was begun.
  void prepare() { kernels_.rms_norm(*raw_, *ones_, *in_); }
  const Activations& inputs() const { return *in_; }
  void multiply(int rows) {
    if (product_.use == Use::swiglu) kernels_.gate_up_swiglu(*in_, *weight_, *out_);
    else if (product_.use == Use::add) kernels_.project_add(*in_, *weight_, *out_);
    else kernels_.logits(*in_, *weight_, rows, *out_);
  }

 private:
  const Product product_;
  Kernels& kernels_;
  const std::unique_ptr<Matrix> weight_;
  const std::unique_ptr<Vector> ones_;
  const std::unique_ptr<Activations> raw_, in_, out_;
};

std::unique_ptr<Kernels> kernels_for(const Arguments& arguments, const ModelShape& shape, const StepLimits& limits) {
  CudaOptions options = arguments.options;
  options.records_steps = false;
  auto kernels = device::make_kernels(shape, limits, options);
  device::set_launches(*kernels, arguments.starts_early, false);
  return kernels;
}

double seconds_a_launch(Kernels& kernels, Operands& operands, int rows, const Sizes& sizes) {
  operands.multiply(rows);
  std::vector<double> seconds;
  for (int round = 0; round < sizes.rounds; round++)
    seconds.push_back(device::device_seconds(kernels, [&] {
      for (int i = 0; i < sizes.launches_a_round; i++) operands.multiply(rows);
    }) / sizes.launches_a_round);
  return median(seconds);
}

}  // namespace

void bench_products(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const int rows_max = *std::max_element(sizes.product_rows.begin(), sizes.product_rows.end());
  const auto kernels = kernels_for(arguments, sizes.shape, {.batch_tokens_max = rows_max, .sequences_max = rows_max, .blocks = rows_max});
  for (const Product& product : products_of(sizes.shape)) {
    Operands operands(*kernels, product, rows_max);
    for (const int rows : sizes.product_rows) {
      const StepBatch batch = decode_batch(rows, 0, sizes.shape.vocab_size);
      kernels->begin_step(batch);
      operands.prepare();
      const double seconds = seconds_a_launch(*kernels, operands, rows, sizes), weights = double(product.outputs) * product.inputs;
      const double weight_bytes = (product.format == WeightFormat::fp8 ? 1 : 2) * weights;
      std::printf("{\"part\": \"gemm\", \"what\": \"%s\", \"rows\": %d%s, \"us\": %.1f, \"weights_tb_per_s\": %.3f, \"tflops\": %.1f}\n",
                  product.name, rows, format_field("weights", product.format == WeightFormat::fp8).c_str(), 1e6 * seconds, 1e-12 * weight_bytes / seconds, 2e-12 * weights * rows / seconds);
      std::fflush(stdout);
    }
  }
}

// Each once: gate and up of as many rows as are asked for; norm, product, rotation and attention of each decode step, over a random cache.
void bench_launches(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const ModelShape& s = sizes.shape;
  const int rows_max = *std::max_element(sizes.product_rows.begin(), sizes.product_rows.end());
  const Decode longest = *std::max_element(sizes.decodes.begin(), sizes.decodes.end(), [](const Decode& a, const Decode& b) {
    return a.sequences * a.context < b.sequences * b.context;
  });
  const int blocks = std::max(rows_max, longest.sequences * (longest.context / block_tokens + 1));
  Arguments with_cache = arguments;
  with_cache.options.has_random_cache = true;
  const auto kernels = kernels_for(with_cache, s, {.batch_tokens_max = rows_max, .sequences_max = rows_max, .blocks = blocks});
  const auto products = products_of(s);
  Operands gate_up(*kernels, products[2], rows_max);
  const auto cache = kernels->make_kv_layer(blocks);
  const auto columns = kernels->make_activations(rows_max, s.qkv_columns()), out = kernels->make_activations(rows_max, s.attention_columns());
  const auto qkv = kernels->make_matrix(s.qkv_columns(), s.hidden_size, MatrixLayout::plain, s.weights);
  fill(*kernels, *qkv);
  for (const int rows : sizes.product_rows) {
    const StepBatch batch = decode_batch(rows, 0, s.vocab_size);
    kernels->begin_step(batch);
    gate_up.prepare();
    gate_up.multiply(rows);
  }
  for (const Decode& decode : sizes.decodes) {
    const StepBatch batch = decode_batch(decode.sequences, decode.context, s.vocab_size);
    kernels->begin_step(batch);
    gate_up.prepare();
    kernels->qkv_rope(gate_up.inputs(), *qkv, *columns, *cache);
    kernels->attention(*columns, *cache, *out);
  }
  std::vector<float> row(s.attention_columns());
  kernels->download(*out, 1, row.data());
  std::printf("{\"part\": \"launches\", \"rows\": %zu, \"decodes\": %zu}\n", sizes.product_rows.size(), sizes.decodes.size());
}

}  // namespace ziya::bench
