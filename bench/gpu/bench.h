// What the parts of gpu-bench share: the 34B's shape with random weights on one device, batches, and clocks. With
// ZIYA_BENCH_EMULATOR it is the emulator, so that a test can run the program itself; nothing it then times means anything.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/tensor_parallel.h"
#include "models/registry.h"

namespace ziya::bench {

#if defined(ZIYA_BENCH_EMULATOR)
namespace device = emulator;
#else
namespace device = cuda;
#endif

struct Arguments {
  std::string mode, folder;
  int layers = 48;
  double tb_per_s = 4.3;  // that decode is held against: a copy on an H200, both ways counted
  double seconds = 45;    // of the whole run, with all of its slots busy
  bool is_tiny = false, starts_early = true;
  WeightFormat weights = WeightFormat::fp16;
  KvFormat kv_cache = KvFormat::fp16;
  std::vector<int> rows, sequences, contexts, prompts;  // in place of the usual ones, where there are any
  std::vector<int> devices = {0};                       // ranks that compute every layer together; one number may stand for several
  CudaOptions options;
};

constexpr int gpu_bucket_max = 256;  // tokens of a step that is recorded, which has as many as its bucket holds

// So many sequences at once, of so many tokens each.
struct Decode {
  int sequences, context;
};

// What is measured: the 34B, or a shape that the emulator computes in seconds.
struct Sizes {
  ModelShape shape;
  std::vector<int> product_rows;
  std::vector<Decode> decodes;
  std::vector<int> prompts;
  int in, out;         // tokens of a request of the whole run
  int rounds, launches_a_round, decode_steps;  // that a figure is the median or the mean of
  int run_tokens_max;  // of one of its steps
};

inline Sizes usual_sizes(const Arguments& arguments) {
  if (arguments.is_tiny)
    return {.shape = {.vocab_size = 320, .hidden_size = 128, .intermediate_size = 192, .layers = 2, .heads = 8, .kv_heads = 1,
                      .head_size = 16, .context_tokens = 256, .rope_theta = 1e6, .rms_norm_eps = 1e-5},
            .product_rows = {1, 16}, .decodes = {{1, 40}, {3, 40}}, .prompts = {20}, .in = 20, .out = 5,
            .rounds = 1, .launches_a_round = 1, .decode_steps = 2,
            .run_tokens_max = 32};
  return {.shape = {.vocab_size = 32000, .hidden_size = 8192, .intermediate_size = 22016, .layers = arguments.layers, .heads = 64,
                    .kv_heads = 8, .head_size = 128, .context_tokens = 16384, .rope_theta = 1e6, .rms_norm_eps = 1e-5},
          .product_rows = {1, 8, 32, 64, 96, 128, 192, 256, 2048},
          .decodes = {{1, 2048}, {8, 2048}, {32, 2048}, {128, 2048}, {1, 8192}, {128, 512}},
          .prompts = {512, 2048}, .in = 1000, .out = 1000, .rounds = 5, .launches_a_round = 20, .decode_steps = 8, .run_tokens_max = 2048};
}

inline Sizes sizes_of(const Arguments& arguments) {
  Sizes sizes = usual_sizes(arguments);
  sizes.shape.weights = arguments.weights;
  sizes.shape.kv_cache = arguments.kv_cache;
  if (!arguments.rows.empty()) sizes.product_rows = arguments.rows;
  if (!arguments.prompts.empty()) sizes.prompts = arguments.prompts;
  if (arguments.sequences.empty() && arguments.contexts.empty()) return sizes;
  const Decode usual = sizes.decodes.front();
  sizes.decodes.clear();
  for (const int context : arguments.contexts.empty() ? std::vector<int>{usual.context} : arguments.contexts)
    for (const int sequences : arguments.sequences.empty() ? std::vector<int>{usual.sequences} : arguments.sequences)
      sizes.decodes.push_back({sequences, context});
  return sizes;
}

// The random weights spread so that a product has the size of what it multiplies.
inline void fill(Kernels& kernels, Matrix& matrix) {
  static uint64_t seed = 1;
  for (const RankPart& part : parts_of_ranks(kernels, &matrix)) device::fill(part.kernels, *part.matrix, seed, 1 / std::sqrt(float(matrix.inputs)));
  seed++;
}

// Random matrices, and vectors of ones.
inline void fill(const Weights& weights) {
  for (const WeightSlot& slot : weights.slots()) {
    if (slot.matrix) fill(slot.kernels, *slot.matrix);
    else slot.kernels.upload(*slot.vector, 0, slot.rows(), std::vector<float>(slot.rows(), 1.0f).data());
  }
}

// Numbers in the weights of a model with this shape, which has not been made yet.
inline int64_t parameter_count(const ModelShape& s) {
  const int64_t hidden = s.hidden_size;
  const int64_t layer = hidden * (2 + s.qkv_columns() + s.attention_columns() + 3 * int64_t(s.intermediate_size));
  return hidden + layer * s.layers + hidden * s.vocab_size * 2;
}

// Bytes of the layers' weights and of all else.
inline double weight_bytes(const ModelShape& s) {
  const double others = 2.0 * s.vocab_size * s.hidden_size, layers = double(parameter_count(s)) - others;
  return (s.weights == WeightFormat::fp8 ? 1 : 2) * layers + 2 * others;
}

// What a measurement says of the weights and of the KV cache.
inline std::string format_field(const char* name, bool is_fp8) { return is_fp8 ? ", \"" + std::string(name) + "\": \"fp8\"" : ""; }
inline std::string format_fields(const ModelShape& s) {
  return format_field("weights", s.weights == WeightFormat::fp8) + format_field("kv_cache", s.kv_cache == KvFormat::fp8);
}

// A sequence's tokens in a step; the last of them is sampled where `samples`.
struct Piece {
  std::vector<int32_t> tokens;
  int start;
  std::vector<int32_t> blocks;
  bool samples = true;
};

// All greedy.
inline StepBatch batch_of(const std::vector<Piece>& pieces) {
  StepBatch batch;
  for (const Piece& piece : pieces) {
    batch.tokens.insert(batch.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    batch.token_counts.push_back(int(piece.tokens.size()));
    batch.starts.push_back(piece.start);
    batch.block_counts.push_back(int(piece.blocks.size()));
    batch.block_tables.insert(batch.block_tables.end(), piece.blocks.begin(), piece.blocks.end());
    if (piece.samples) batch.rows.push_back({.token = int(batch.tokens.size()) - 1});
  }
  return batch;
}

inline std::vector<int32_t> some_tokens(int count, int vocab_size, int salt) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; i++) tokens.push_back(int32_t((uint32_t(salt) * 977 + uint32_t(i) * 31) % uint32_t(vocab_size)));
  return tokens;
}

// The blocks of the slot-th sequence, where each has as many.
inline std::vector<int32_t> blocks_of(int slot, int blocks_each) {
  std::vector<int32_t> blocks;
  for (int i = 0; i < blocks_each; i++) blocks.push_back(slot * blocks_each + i);
  return blocks;
}

inline double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The KV cache may take the memory that is left beside the weights.
inline double token_bytes(const ModelShape& s) {
  const double of_head = s.kv_cache == KvFormat::fp8 ? s.head_size + 2 : 2 * s.head_size;
  return 2 * of_head * s.layers * s.kv_heads;
}
inline int blocks_that_fit(const ModelShape& shape, int number = 0) {
  constexpr double usable_memory = 0.92;
  const double left = usable_memory * double(device::free_bytes(number)) - weight_bytes(shape);
  return std::max(1, int(left / block_tokens / token_bytes(shape)));
}

inline std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const Arguments& arguments) {
  const int count = int(arguments.devices.size());
  check_tensor_parallel(shape, count);
  std::vector<std::unique_ptr<Kernels>> ranks;
  for (const int number : arguments.devices) {
    CudaOptions options = arguments.options;
    options.device = number;
    ranks.push_back(device::make_kernels(shape_of_rank(shape, count), limits, options));
  }
  return count == 1 ? std::move(ranks[0]) : make_tensor_parallel(shape, limits, std::move(ranks));
}

struct RandomModel {
  RandomModel(const Arguments& arguments, const StepLimits& limits)
      : shape(sizes_of(arguments).shape), devices(make_kernels(shape, limits, arguments), shape.layers),
        model(architecture_of("llama").make(shape, limits, devices)) {
    fill(model->weights());
    set_launches(arguments.starts_early, arguments.options.records_steps);
  }

  void set_launches(bool start_early, bool record_steps) {
    for (const RankPart& part : parts_of_ranks(devices.last())) device::set_launches(part.kernels, start_early, record_steps);
  }
  int ranks() const { return devices.last().ranks(); }
  StepResult step(const StepBatch& batch) { return model->step(batch, not_cancelled); }
  StepResult begin(const StepBatch& batch) { return model->begin(batch, not_cancelled); }
  void finish(StepResult result) { model->finish(result); }
  double step_seconds(const StepBatch& batch) {
    return seconds_of([&] { step(batch); });
  }

  const ModelShape shape;
  const Devices devices;
  const std::unique_ptr<Model> model;
  const std::atomic<bool> not_cancelled{false};
};

void bench_products(const Arguments& arguments);
void bench_launches(const Arguments& arguments);
void bench_steps(const Arguments& arguments);
void bench_throughput(const Arguments& arguments);
void greedy_ids(const Arguments& arguments);

}  // namespace ziya::bench
