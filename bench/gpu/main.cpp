// The CUDA backend at the 34B's sizes, with random weights: products alone, decode steps, prefill. One JSON object a line.
// usage: gpu-bench gemm|decode|prefill [--layers N] [--simple]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "engine.h"
#include "kernels/cuda/cuda_kernels.h"

namespace {

using namespace ziya;
using Clock = std::chrono::steady_clock;

constexpr double nominal_tb_per_s = 4.3;  // a copy on an H200, both ways counted
constexpr int decode_steps = 8;

struct Arguments {
  std::string mode;
  int layers = 48;
  CudaVariant variant = CudaVariant::fast;
};

ModelShape shape_of_34b(int layers) {
  return {.vocab_size = 32000, .hidden_size = 8192, .intermediate_size = 22016, .layers = layers, .heads = 64, .kv_heads = 8,
          .head_size = 128, .context_tokens = 16384, .rope_theta = 1e6, .rms_norm_eps = 1e-5};
}

// Halves between 2^-9 and 2^-6 with random signs; the same slice again and again, so that the host is not the limit.
void fill(Kernels& kernels, Matrix& matrix) {
  static const std::vector<uint16_t> slice = [] {
    std::vector<uint16_t> halves(size_t(256) * 22016);
    uint64_t state = 1;
    for (auto& half : halves) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      half = uint16_t(((state >> 33) & 0x8bff) | 0x1800);
    }
    return halves;
  }();
  for (int row = 0; row < matrix.outputs; row += 256)
    kernels.upload_rows(matrix, row, std::min(256, matrix.outputs - row), slice.data());
}

Weights random_weights(const ModelShape& shape, const Devices& devices) {
  Kernels& kernels = devices.first();
  Weights weights = allocate_weights(shape, devices);
  const std::vector<float> ones(shape.hidden_size, 1.0f);
  std::vector<std::thread> threads;
  fill(kernels, *weights.embedding);
  fill(kernels, *weights.head);
  kernels.upload(*weights.final_norm, ones.data());
  for (auto& layer : weights.layers) {
    kernels.upload(*layer.attention_norm, ones.data());
    kernels.upload(*layer.mlp_norm, ones.data());
  }
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (size_t i = size_t(t); i < weights.layers.size(); i += 4) {
        LayerWeights& layer = weights.layers[i];
        for (auto* matrix : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down}) fill(kernels, **matrix);
      }
    });
  for (auto& thread : threads) thread.join();
  return weights;
}

StepBatch batch_of(int sequences, int start, int count, int blocks_each) {
  StepBatch batch;
  for (int s = 0; s < sequences; s++) {
    for (int i = 0; i < count; i++) batch.tokens.push_back((s * 977 + i * 31 + start * 7) % 32000);
    batch.token_counts.push_back(count);
    batch.starts.push_back(start);
    batch.block_counts.push_back(blocks_each);
    for (int i = 0; i < blocks_each; i++) batch.block_tables.push_back(s * blocks_each + i);
    batch.rows.push_back(int(batch.tokens.size()) - 1);
  }
  const size_t rows = batch.rows.size();
  for (auto* zeros : {&batch.temperature, &batch.min_p, &batch.frequency_penalty, &batch.presence_penalty}) zeros->assign(rows, 0);
  for (auto* ones : {&batch.top_p, &batch.repetition_penalty}) ones->assign(rows, 1);
  for (auto* zeros : {&batch.top_k, &batch.counters, &batch.history_counts, &batch.output_counts, &batch.bias_counts,
                      &batch.banned_counts})
    zeros->assign(rows, 0);
  batch.seeds.assign(rows, 0);
  batch.logprobs.assign(rows, -1);
  return batch;
}

double seconds_of(const auto& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The five products of a layer and the logits. One download a round waits for the device.
void bench_gemm(const Arguments& arguments) {
  struct Case {
    const char* name;
    int outputs, inputs;
    MatrixLayout layout;
  };
  const ModelShape shape = shape_of_34b(1);
  const std::vector<Case> cases = {{"qkv", 10240, 8192, MatrixLayout::plain}, {"attention_out", 8192, 8192, MatrixLayout::plain},
                                   {"gate_up", 44032, 8192, MatrixLayout::gate_up}, {"down", 8192, 22016, MatrixLayout::plain},
                                   {"logits", 32000, 8192, MatrixLayout::plain}};
  const StepLimits limits = {.tokens_max = 2048, .sequences_max = 2048, .blocks = 2048};
  const auto kernels = cuda::make_kernels(shape, limits, {.device = 0, .variant = arguments.variant});
  const auto ones = kernels->make_vector(22016);
  kernels->upload(*ones, std::vector<float>(22016, 1).data());
  for (const Case& c : cases) {
    const bool is_gate_up = c.layout == MatrixLayout::gate_up;
    const auto weight = kernels->make_matrix(c.outputs, c.inputs, c.layout);
    const auto raw = kernels->make_activations(2048, c.inputs), in = kernels->make_activations(2048, c.inputs);
    const auto out = kernels->make_activations(2048, is_gate_up ? c.outputs / 2 : c.outputs);
    fill(*kernels, *weight);
    std::vector<float> values(size_t(2048) * c.inputs);
    for (size_t i = 0; i < values.size(); i++) values[i] = float(int(i * 2654435761u >> 8) % 2001 - 1000) * 1e-3f;
    kernels->upload(*raw, 2048, values.data());
    for (const int rows : {1, 8, 16, 32, 64, 128, 256, 2048}) {
      kernels->begin_step(batch_of(rows, 0, 1, 1));
      kernels->rms_norm(*raw, *ones, *in);
      std::vector<float> row(out->columns);
      const auto run = [&](int times) {
        for (int i = 0; i < times; i++) is_gate_up ? kernels->gate_up_swiglu(*in, *weight, *out) : kernels->logits(*in, *weight, rows, *out);
        kernels->download(*out, 1, row.data());
      };
      run(2);
      const int times = 20;
      std::vector<double> seconds;
      for (int round = 0; round < 5; round++) seconds.push_back(seconds_of([&] { run(times); }) / times);
      const double weight_bytes = 2.0 * c.outputs * c.inputs;
      std::printf("{\"part\": \"gemm\", \"what\": \"%s\", \"rows\": %d, \"us\": %.1f, \"weights_tb_per_s\": %.3f, \"tflops\": %.1f}\n", c.name,
                  rows, 1e6 * median(seconds), 1e-12 * weight_bytes / median(seconds), 1e-12 * weight_bytes * rows / median(seconds));
      std::fflush(stdout);
    }
  }
}

struct Bench {
  Bench(const Arguments& arguments, int tokens, int sequences, int blocks)
      : shape(shape_of_34b(arguments.layers)), limits{.tokens_max = tokens, .sequences_max = sequences, .blocks = blocks},
        devices(cuda::make_kernels(shape, limits, {.device = 0, .variant = arguments.variant}), shape.layers),
        model(shape, limits, random_weights(shape, devices), devices) {}

  double step_seconds(const StepBatch& batch) {
    return seconds_of([&] { model.step(batch, not_cancelled); });
  }

  const ModelShape shape;
  const StepLimits limits;
  const Devices devices;
  Model model;
  const std::atomic<bool> not_cancelled{false};
};

void bench_decode(const Arguments& arguments) {
  constexpr int blocks = 20000;  // 320k tokens of KV
  Bench bench(arguments, 256, 256, blocks);
  const double weight_bytes = 2.0 * double(parameter_count(bench.shape) - int64_t(32000) * 8192);
  for (const int context : {512, 2048, 8192}) {
    for (const int sequences : {1, 8, 32, 64, 128}) {
      const int blocks_each = (context + decode_steps) / block_tokens + 1;
      if (sequences * blocks_each > blocks) continue;
      std::vector<double> seconds;
      for (int i = 0; i < decode_steps; i++) seconds.push_back(bench.step_seconds(batch_of(sequences, context + i, 1, blocks_each)));
      const double kv_bytes = double(sequences) * context * 2 * 2 * 8 * 128 * bench.shape.layers;
      const double roofline = sequences / ((weight_bytes + kv_bytes) / (nominal_tb_per_s * 1e12));
      std::printf("{\"part\": \"decode\", \"layers\": %d, \"sequences\": %d, \"context\": %d, \"tok_per_s\": %.1f, \"percent_of_roofline\": %.1f}\n",
                  bench.shape.layers, sequences, context, sequences / median(seconds), 100 * sequences / median(seconds) / roofline);
      std::fflush(stdout);
    }
  }
}

void bench_prefill(const Arguments& arguments) {
  Bench bench(arguments, 8192, 4, 1024);
  for (const int count : {512, 2048, 8192}) {
    const StepBatch batch = batch_of(1, 0, count, count / block_tokens + 1);
    bench.step_seconds(batch);
    const double seconds = bench.step_seconds(batch);
    std::printf("{\"part\": \"prefill\", \"layers\": %d, \"tokens\": %d, \"ms\": %.1f, \"tok_per_s\": %.0f}\n", bench.shape.layers, count,
                1e3 * seconds, count / seconds);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--layers") == 0 && i + 1 < argc)
      arguments.layers = std::stoi(argv[++i]);
    else if (std::strcmp(argv[i], "--simple") == 0)
      arguments.variant = CudaVariant::simple;
    else
      arguments.mode = argv[i];
  }
  try {
    if (arguments.mode == "gemm") bench_gemm(arguments);
    else if (arguments.mode == "decode") bench_decode(arguments);
    else if (arguments.mode == "prefill") bench_prefill(arguments);
    else throw EngineError("usage", "gpu-bench gemm|decode|prefill [--layers N] [--simple]");
  } catch (const EngineError& error) {
    std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
    return 1;
  }
}
