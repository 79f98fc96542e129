#include "reference.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numbers>
#include <numeric>

#include "half.h"
#include "llama_slots.h"

namespace ziya::test {

double rounded_to_half(double value) {
  if (value == 0) return 0;
  const int exponent = std::max(std::ilogb(value), -14);
  const double unit = std::ldexp(1.0, exponent - 10);
  return std::clamp(std::nearbyint(value / unit) * unit, -65504.0, 65504.0);
}

double rounded_to_fp8(double value) {
  if (value == 0) return 0;
  const int exponent = std::max(std::ilogb(value), -6);
  const double unit = std::ldexp(1.0, exponent - 3);
  return std::clamp(std::nearbyint(value / unit) * unit, -448.0, 448.0);
}

void round_row_to_fp8(double* row, int inputs) {
  double largest = 0;
  for (int i = 0; i < inputs; i++) largest = std::max(largest, std::abs(row[i]));
  const float scale = largest == 0 ? 1.0f : float(largest) / 448.0f;
  for (int i = 0; i < inputs; i++) row[i] = rounded_to_fp8(float(row[i]) / scale) * scale;
}

namespace {

void round_head_to_fp8(double* head, int size, CacheTies* ties) {
  double largest = 0, scale = std::ldexp(1.0, -14);
  for (int i = 0; i < size; i++) largest = std::max(largest, std::min(std::abs(head[i]), 61440.0));
  while (448 * scale < largest) scale *= 2;
  const auto rounded = [&](double value) { return rounded_to_fp8(std::clamp(value, -61440.0, 61440.0) / scale) * scale; };
  for (int i = 0; i < size; i++) {
    const double nearest = rounded(head[i]);
    if (ties == nullptr) {
      head[i] = nearest;
      continue;
    }
    const double below = rounded(head[i] - ties->nearness * largest), above = rounded(head[i] + ties->nearness * largest);
    const bool is_tie = below != above, is_turned = is_tie && ties->count++ % ties->groups == ties->turned;
    head[i] = !is_turned ? nearest : below != nearest ? below : above;
  }
}

}  // namespace

void round_to_cache(Doubles& values, const ModelShape& shape, CacheTies* ties) {
  if (shape.kv_cache == KvFormat::fp16)
    std::transform(values.begin(), values.end(), values.begin(), rounded_to_half);
  else
    for (size_t head = 0; head < values.size(); head += shape.head_size) round_head_to_fp8(&values[head], shape.head_size, ties);
}

Doubles multiply(const Doubles& w, const Doubles& x, int outputs) {
  Doubles out(outputs);
  for (int row = 0; row < outputs; row++)
    out[row] = std::inner_product(x.begin(), x.end(), w.begin() + int64_t(row) * x.size(), 0.0);
  return out;
}

Doubles rms_normalize(const Doubles& x, const Doubles& weight, double eps) {
  const double mean = std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / double(x.size());
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = x[i] / std::sqrt(mean + eps) * weight[i];
  return out;
}

Doubles layer_normalize(const Doubles& x, const Doubles& weight, const Doubles& bias, double eps) {
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / double(x.size());
  double variance = 0;
  for (const double value : x) variance += (value - mean) * (value - mean) / double(x.size());
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = (x[i] - mean) / std::sqrt(variance + eps) * weight[i] + bias[i];
  return out;
}

double gelu(double x, bool is_exact) {
  if (is_exact) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double rotation(const ModelShape& shape, double frequency) {
  const double divided = frequency / shape.rope_scaling_factor;
  if (shape.rope_original_tokens == 0) return divided;
  const double turns = shape.rope_original_tokens * frequency / (2 * std::numbers::pi);
  const double share = std::clamp((turns - shape.rope_low_turns) / (shape.rope_high_turns - shape.rope_low_turns), 0.0, 1.0);
  return divided + share * (frequency - divided);
}

void rotate_half(double* head, const ModelShape& shape, int position) {
  const int half = shape.head_size / 2;
  for (int i = 0; i < half; i++) {
    const double frequency = rotation(shape, std::pow(shape.rope_theta, -2.0 * i / shape.head_size));
    const double cosine = std::cos(position * frequency), sine = std::sin(position * frequency);
    const double first = head[i], second = head[half + i];
    head[i] = first * cosine - second * sine;
    head[half + i] = second * cosine + first * sine;
  }
}

ModelShape small_shape(int vocab_size, int context_tokens) {
  return {.vocab_size = vocab_size,
          .hidden_size = 12,
          .intermediate_size = 20,
          .layers = 1,
          .heads = 2,
          .kv_heads = 1,
          .head_size = 6,
          .context_tokens = context_tokens,
          .rope_theta = 1e4,
          .rms_norm_eps = 1e-5};
}

ModelShape random_shape(Random& random, int ranks) {
  ModelShape shape;
  shape.kv_heads = random.between(1, 3);
  shape.heads = shape.kv_heads * random.between(1, 5);
  shape.head_size = random.one_of<int>({2, 6, 8, 10, 20, 32, 64, 128});
  shape.hidden_size = random.between(1, 130);
  shape.intermediate_size = random.between(1, 200);
  shape.layers = random.between(1, 3);
  shape.vocab_size = random.between(2, 300);
  shape.context_tokens = 256;
  shape.rope_theta = random.one_of<double>({1e4, 1e6});
  shape.rope_scaling_factor = random.one_of<double>({1, 2.5});
  if (random.between(0, 3) == 0) shape.rope_original_tokens = random.between(8, 100), shape.rope_low_turns = 1, shape.rope_high_turns = random.between(2, 4);
  shape.rms_norm_eps = 1e-5;
  shape.tied_embeddings = random.between(0, 1) == 1;
  shape.attention_bias = random.between(0, 2) == 0;
  shape.mlp_bias = random.between(0, 2) == 0;
  if (ranks == 1) return shape;
  shape.kv_heads = random.one_of<int>({1, ranks, 2 * ranks});
  shape.heads = std::lcm(shape.kv_heads, ranks) * random.between(1, 2);
  shape.intermediate_size = ranks * random.between(1, 200 / ranks);
  return shape;
}

ModelShape with_wide_norms(ModelShape shape, Random& random) {
  shape.hidden_size = random.between(16, 130);
  return shape;
}

namespace {

// Adds tensors to a model.
auto adder_to(RandomModel& model, Random& random) {
  return [&](const std::string& name, std::vector<int64_t> sizes, float mean, float deviation) {
    int64_t count = 1;
    for (const int64_t size : sizes) count *= size;
    auto& values = model.tensors[name];
    for (int64_t i = 0; i < count; i++) values.push_back(float(rounded_to_half(mean + random.normal(deviation))));
    model.shapes[name] = std::move(sizes);
  };
}

}  // namespace

RandomModel as_computed(RandomModel model) {
  if (model.shape.weights == WeightFormat::fp16) return model;
  for (auto& [name, values] : model.tensors) {
    const auto& sizes = model.shapes.at(name);
    if (sizes.size() != 2 || name.find("layer") == std::string::npos) continue;
    Doubles rows(values.begin(), values.end());
    for (int64_t row = 0; row < sizes[0]; row++) round_row_to_fp8(&rows[row * sizes[1]], int(sizes[1]));
    values.assign(rows.begin(), rows.end());
  }
  return model;
}

RandomModel random_model(const ModelShape& shape, Random& random) {
  RandomModel model;
  model.architecture = "llama";
  model.shape = shape;
  const auto add = adder_to(model, random);
  const int64_t hidden = shape.hidden_size, inner = shape.intermediate_size;
  const int64_t queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  const float by_hidden = 1 / std::sqrt(float(hidden));
  add("model.embed_tokens.weight", {shape.vocab_size, hidden}, 0, 1);
  for (int i = 0; i < shape.layers; i++) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    add(prefix + "input_layernorm.weight", {hidden}, 1, 0.2f);
    add(prefix + "self_attn.q_proj.weight", {queries, hidden}, 0, by_hidden);
    add(prefix + "self_attn.k_proj.weight", {keys, hidden}, 0, by_hidden);
    add(prefix + "self_attn.v_proj.weight", {keys, hidden}, 0, by_hidden);
    add(prefix + "self_attn.o_proj.weight", {hidden, queries}, 0, 1 / std::sqrt(float(queries)));
    add(prefix + "post_attention_layernorm.weight", {hidden}, 1, 0.2f);
    add(prefix + "mlp.gate_proj.weight", {inner, hidden}, 0, by_hidden);
    add(prefix + "mlp.up_proj.weight", {inner, hidden}, 0, by_hidden);
    add(prefix + "mlp.down_proj.weight", {hidden, inner}, 0, 1 / std::sqrt(float(inner)));
    const auto add_bias = [&](const std::string& product, int64_t outputs) { add(prefix + product + ".bias", {outputs}, 0, 0.2f); };
    if (shape.attention_bias) {
      add_bias("self_attn.q_proj", queries);
      add_bias("self_attn.k_proj", keys);
      add_bias("self_attn.v_proj", keys);
      add_bias("self_attn.o_proj", hidden);
    }
    if (shape.mlp_bias) {
      add_bias("mlp.gate_proj", inner);
      add_bias("mlp.up_proj", inner);
      add_bias("mlp.down_proj", hidden);
    }
  }
  add("model.norm.weight", {hidden}, 1, 0.2f);
  if (!shape.tied_embeddings) add("lm_head.weight", {shape.vocab_size, hidden}, 0, by_hidden);
  return model;
}

RandomModel random_gpt_bigcode(const ModelShape& llama, Random& random) {
  ModelShape shape = llama;
  shape.kv_heads = 1;
  shape.rope_theta = 0;
  shape.rope_scaling_factor = 1;
  shape.rope_original_tokens = 0;
  shape.rms_norm_eps = 0;
  shape.layer_norm_eps = 1e-5;
  shape.exact_gelu = random.between(0, 1) == 1;
  RandomModel model;
  model.architecture = "gpt_bigcode";
  model.shape = shape;
  const auto add = adder_to(model, random);
  const auto add_norm = [&](const std::string& name) {
    add(name, {shape.hidden_size}, 1, 0.2f);
    add(name + "_bias", {shape.hidden_size}, 0, 0.2f);
  };
  const auto add_product = [&](const std::string& name, int64_t outputs, int64_t inputs) {
    add(name, {outputs, inputs}, 0, 1 / std::sqrt(float(inputs)));
    add(name + "_bias", {outputs}, 0, 0.2f);
  };
  const int64_t hidden = shape.hidden_size, inner = shape.intermediate_size, queries = shape.heads * shape.head_size;
  add("embedding", {shape.vocab_size, hidden}, 0, 1);
  add("positions", {shape.context_tokens, hidden}, 0, 1);
  for (int i = 0; i < shape.layers; i++) {
    const std::string prefix = "layer." + std::to_string(i) + ".";
    add_norm(prefix + "attention_norm");
    add_product(prefix + "qkv", queries + 2 * shape.head_size, hidden);
    add_product(prefix + "attention_out", hidden, queries);
    add_norm(prefix + "mlp_norm");
    add_product(prefix + "up", inner, hidden);
    add_product(prefix + "down", hidden, inner);
  }
  add_norm("final_norm");
  if (!shape.tied_embeddings) add("head", {shape.vocab_size, hidden}, 0, 1 / std::sqrt(float(hidden)));
  return model;
}

namespace {

void add(Doubles& to, const Doubles& more) {
  for (size_t i = 0; i < to.size(); i++) to[i] += more[i];
}

// The values that the queries of one position attend to, among those of all positions so far.
Doubles attend(const ModelShape& shape, const Doubles& q, const std::vector<Doubles>& keys, const std::vector<Doubles>& values) {
  const int size = shape.head_size;
  Doubles out(shape.heads * size);
  for (int head = 0; head < shape.heads; head++) {
    const int kv = head / (shape.heads / shape.kv_heads) * size;
    Doubles weights;
    for (const auto& key : keys)
      weights.push_back(std::inner_product(&q[head * size], &q[head * size] + size, &key[kv], 0.0) / std::sqrt(double(size)));
    const double highest = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (auto& weight : weights) sum += weight = std::exp(weight - highest);
    for (size_t t = 0; t < weights.size(); t++)
      for (int i = 0; i < size; i++) out[head * size + i] += weights[t] / sum * values[t][kv + i];
  }
  return out;
}

// One sequence's forward pass with whole-history attention.
class GptBigCodeReference {
 public:
  GptBigCodeReference(const RandomModel& model, CacheTies* ties)
      : shape_(model.shape), ties_(ties), keys_(model.shape.layers), values_(model.shape.layers) {
    for (const auto& [name, values] : model.tensors) tensors_[name] = Doubles(values.begin(), values.end());
  }

  Doubles logits_after(int32_t token) {
    Doubles x = row_of("embedding", token);
    add(x, row_of("positions", position_++));
    for (int layer = 0; layer < shape_.layers; layer++) run_layer(layer, x);
    return multiply(tensors_.at(shape_.tied_embeddings ? "embedding" : "head"), norm("final_norm", x), shape_.vocab_size);
  }

 private:
  Doubles row_of(const std::string& table, int row) const {
    const auto begin = tensors_.at(table).begin() + int64_t(row) * shape_.hidden_size;
    return {begin, begin + shape_.hidden_size};
  }

  Doubles norm(const std::string& name, const Doubles& x) const {
    return layer_normalize(x, tensors_.at(name), tensors_.at(name + "_bias"), shape_.layer_norm_eps);
  }

  Doubles product(const std::string& name, const Doubles& x) const {
    const Doubles& bias = tensors_.at(name + "_bias");
    Doubles out = multiply(tensors_.at(name), x, int(bias.size()));
    add(out, bias);
    return out;
  }

  void run_layer(int layer, Doubles& x) {
    const std::string prefix = "layer." + std::to_string(layer) + ".";
    const Doubles qkv = product(prefix + "qkv", norm(prefix + "attention_norm", x));
    const auto keys = qkv.begin() + shape_.heads * shape_.head_size, values = keys + shape_.head_size;
    keys_[layer].emplace_back(keys, values);
    values_[layer].emplace_back(values, qkv.end());
    for (auto* cached : {&keys_[layer].back(), &values_[layer].back()}) round_to_cache(*cached, shape_, ties_);
    add(x, product(prefix + "attention_out", attend(shape_, qkv, keys_[layer], values_[layer])));
    Doubles inner = product(prefix + "up", norm(prefix + "mlp_norm", x));
    for (double& value : inner) value = gelu(value, shape_.exact_gelu);
    add(x, product(prefix + "down", inner));
  }

  const ModelShape shape_;
  CacheTies* const ties_;
  std::map<std::string, Doubles> tensors_;
  std::vector<std::vector<Doubles>> keys_, values_;  // (layers, positions, head_size)
  int position_ = 0;
};

class LlamaReference {
 public:
  LlamaReference(const RandomModel& model, CacheTies* ties)
      : shape_(model.shape), ties_(ties), keys_(model.shape.layers), values_(model.shape.layers) {
    for (const auto& [name, values] : model.tensors) tensors_[name] = Doubles(values.begin(), values.end());
  }

  Doubles logits_after(int32_t token) {
    const Doubles& table = tensors_.at("model.embed_tokens.weight");
    const auto row = table.begin() + int64_t(token) * shape_.hidden_size;
    Doubles x(row, row + shape_.hidden_size);
    for (int layer = 0; layer < shape_.layers; layer++) run_layer(layer, x);
    position_++;
    const Doubles normed = rms_normalize(x, tensors_.at("model.norm.weight"), shape_.rms_norm_eps);
    return multiply(shape_.tied_embeddings ? table : tensors_.at("lm_head.weight"), normed, shape_.vocab_size);
  }

 private:
  const Doubles& tensor(int layer, const std::string& name) {
    return tensors_.at("model.layers." + std::to_string(layer) + "." + name + ".weight");
  }

  // With its bias, where it has one.
  Doubles product(int layer, const std::string& name, const Doubles& x, int outputs) {
    Doubles out = multiply(tensor(layer, name), x, outputs);
    const auto bias = tensors_.find("model.layers." + std::to_string(layer) + "." + name + ".bias");
    if (bias != tensors_.end()) add(out, bias->second);
    return out;
  }

  void run_layer(int layer, Doubles& x) {
    const Doubles normed = rms_normalize(x, tensor(layer, "input_layernorm"), shape_.rms_norm_eps);
    add(x, product(layer, "self_attn.o_proj", attend(layer, normed), shape_.hidden_size));
    const Doubles second = rms_normalize(x, tensor(layer, "post_attention_layernorm"), shape_.rms_norm_eps);
    Doubles inner = product(layer, "mlp.gate_proj", second, shape_.intermediate_size);
    const Doubles up = product(layer, "mlp.up_proj", second, shape_.intermediate_size);
    for (size_t i = 0; i < inner.size(); i++) inner[i] = inner[i] / (1 + std::exp(-inner[i])) * up[i];
    add(x, product(layer, "mlp.down_proj", inner, shape_.hidden_size));
  }

  Doubles attend(int layer, const Doubles& normed) {
    const int size = shape_.head_size;
    Doubles q = product(layer, "self_attn.q_proj", normed, shape_.heads * size);
    Doubles k = product(layer, "self_attn.k_proj", normed, shape_.kv_heads * size);
    Doubles v = product(layer, "self_attn.v_proj", normed, shape_.kv_heads * size);
    for (int head = 0; head < shape_.heads; head++) rotate_half(&q[head * size], shape_, position_);
    for (int head = 0; head < shape_.kv_heads; head++) rotate_half(&k[head * size], shape_, position_);
    round_to_cache(k, shape_, ties_);
    round_to_cache(v, shape_, ties_);
    keys_[layer].push_back(k);
    values_[layer].push_back(v);
    return test::attend(shape_, q, keys_[layer], values_[layer]);
  }

  const ModelShape shape_;
  CacheTies* const ties_;
  std::map<std::string, Doubles> tensors_;
  std::vector<std::vector<Doubles>> keys_, values_;  // (layers, positions, kv_heads * head_size)
  int position_ = 0;
};

}  // namespace

std::vector<Doubles> reference_logits(const RandomModel& model, const std::vector<int32_t>& tokens, CacheTies* ties) {
  const auto logits_by = [&](auto reference) {
    std::vector<Doubles> logits;
    for (const int32_t token : tokens) logits.push_back(reference.logits_after(token));
    return logits;
  };
  return model.architecture == "llama" ? logits_by(LlamaReference(model, ties)) : logits_by(GptBigCodeReference(model, ties));
}

ModelFile::ModelFile(const RandomModel& model, Dtype dtype) {
  char name[] = "/tmp/ziya-model-XXXXXX";
  const int descriptor = mkstemp(name);
  path = name;
  FILE* file = fdopen(descriptor, "wb");
  uint64_t offset = uint64_t(std::fwrite("header", 1, 6, file));
  for (const auto& [tensor, values] : model.tensors) {
    std::vector<uint16_t> halves;
    for (const float value : values)
      halves.push_back(dtype == Dtype::f16 ? float_to_half(value) : uint16_t(std::bit_cast<uint32_t>(value) >> 16));
    const void* data = dtype == Dtype::f32 ? static_cast<const void*>(values.data()) : halves.data();
    const uint64_t bytes = values.size() * (dtype == Dtype::f32 ? 4 : 2);
    std::fwrite(data, 1, bytes, file);
    tensors.push_back({.name = tensor, .path = path, .dtype = dtype, .offset = offset, .bytes = bytes, .shape = model.shapes.at(tensor)});
    if (model.architecture == "gpt_bigcode")
      tensors.back().slot = tensor;
    else
      place_llama_tensor(tensors.back(), model.shape);
    offset += bytes;
  }
  std::fclose(file);
}

ModelFile::~ModelFile() { unlink(path.c_str()); }

std::unique_ptr<Model> make_llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices) {
  return architecture_of("llama").make(shape, limits, devices);
}

std::unique_ptr<Model> load_model(const RandomModel& random, const StepLimits& limits, const Devices& devices, Dtype dtype,
                                  int threads) {
  const ModelFile file(random, dtype);
  const std::atomic<bool> cancelled{false};
  auto model = architecture_of(random.architecture).make(random.shape, limits, devices);
  load_weights(model->weights(), file.tensors, threads, {nullptr, cancelled});
  return model;
}

StepBatch greedy_batch(const std::vector<Piece>& pieces) {
  StepBatch batch;
  for (const auto& piece : pieces) {
    const int first = int(batch.tokens.size());
    batch.tokens.insert(batch.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    const int count = int(piece.tokens.size());
    batch.token_counts.push_back(count);
    batch.starts.push_back(piece.start);
    batch.block_counts.push_back(int(piece.blocks.size()));
    batch.block_tables.insert(batch.block_tables.end(), piece.blocks.begin(), piece.blocks.end());
    for (int i = piece.every_row ? 0 : count - 1; i < count; i++) batch.rows.push_back({.token = first + i});
  }
  batch.want_logits = true;
  return batch;
}

void append_history(StepBatch& batch, Row& row, const std::vector<int32_t>& ids, int output_tokens) {
  row.history = {int(batch.history.size()), int(ids.size())};
  row.output_tokens = output_tokens;
  batch.history.insert(batch.history.end(), ids.begin(), ids.end());
}

std::vector<int32_t> random_tokens(int count, int vocab, Random& random) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; i++) tokens.push_back(random.between(0, vocab - 1));
  return tokens;
}

std::vector<std::vector<int32_t>> random_blocks(int sequences, int positions, int blocks, Random& random) {
  std::vector<int32_t> ids(blocks);
  std::iota(ids.begin(), ids.end(), 0);
  for (int i = blocks - 1; i > 0; i--) std::swap(ids[i], ids[random.between(0, i)]);
  const int each = (positions + block_tokens - 1) / block_tokens;
  expect(each * sequences <= blocks, "the test has too few blocks");
  std::vector<std::vector<int32_t>> tables;
  for (int s = 0; s < sequences; s++) tables.emplace_back(ids.begin() + s * each, ids.begin() + (s + 1) * each);
  return tables;
}

}  // namespace ziya::test
