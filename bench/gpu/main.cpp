// The CUDA backend at the 34B's sizes, with random weights: products alone, decode steps, prefill, a whole run of requests; and
// the greedy tokens of a model in a file, to hold against another engine's. One JSON object a line.
// usage: gpu-bench gemm|decode|prefill|throughput|ids FOLDER [--layers N] [--variant NAME] [--tb-per-s N] [--tiny]
// A variant is fast, simple (none of the fast kernels), or fast without one of them: no-gemm, no-prefill-gemm, no-attention,
// no-sampling. So each kernel is timed beside the one that it replaced.
#include <cstdio>
#include <cstring>
#include <utility>

#include "bench.h"
#include "engine_error.h"

namespace ziya::bench {
namespace {

constexpr int decode_steps = 8;

// The four products of a layer, gate and up as one, and the logits. One download a round waits for the device.
void bench_gemm(const Arguments& arguments) {
  struct Case {
    const char* name;
    int outputs, inputs;
    MatrixLayout layout;
  };
  const Sizes sizes = sizes_of(arguments);
  const ModelShape& s = sizes.shape;
  const std::vector<Case> cases = {{"qkv", s.qkv_columns(), s.hidden_size, MatrixLayout::plain},
                                   {"attention_out", s.hidden_size, s.attention_columns(), MatrixLayout::plain},
                                   {"gate_up", 2 * s.intermediate_size, s.hidden_size, MatrixLayout::gate_up},
                                   {"down", s.hidden_size, s.intermediate_size, MatrixLayout::plain},
                                   {"logits", s.vocab_size, s.hidden_size, MatrixLayout::plain}};
  const int rows_max = sizes.product_rows.back();
  const StepLimits limits = {.batch_tokens_max = rows_max, .sequences_max = rows_max, .blocks = rows_max};
  CudaOptions options = arguments.options;
  options.records_steps = false;
  const auto kernels = device::make_kernels(s, limits, options);
  const auto ones = kernels->make_vector(s.intermediate_size);
  kernels->upload(*ones, std::vector<float>(s.intermediate_size, 1).data());
  for (const Case& c : cases) {
    const bool is_gate_up = c.layout == MatrixLayout::gate_up;
    const auto weight = kernels->make_matrix(c.outputs, c.inputs, c.layout);
    const auto raw = kernels->make_activations(rows_max, c.inputs), in = kernels->make_activations(rows_max, c.inputs);
    const auto out = kernels->make_activations(rows_max, is_gate_up ? c.outputs / 2 : c.outputs);
    fill(*kernels, *weight);
    std::vector<float> values(size_t(rows_max) * c.inputs);
    for (size_t i = 0; i < values.size(); i++) values[i] = float(int(i * 2654435761u >> 8) % 2001 - 1000) * 1e-3f;
    kernels->upload(*raw, rows_max, values.data());
    for (const int rows : sizes.product_rows) {
      std::vector<Piece> pieces;
      for (int i = 0; i < rows; i++) pieces.push_back({{i % s.vocab_size}, 0, {i}});
      const StepBatch batch = batch_of(pieces);
      kernels->begin_step(batch);
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

// Prompts over all of the blocks, so that decode steps read keys and values and not zeros.
void fill_blocks(RandomModel& model, int blocks, int batch_tokens_max) {
  const int blocks_each = std::min(2048, model.shape.context_tokens) / block_tokens;
  for (int first = 0; first < blocks; first += blocks_each) {
    std::vector<int32_t> own;
    for (int i = first; i < std::min(first + blocks_each, blocks); i++) own.push_back(i);
    const int tokens = int(own.size()) * block_tokens;
    for (int start = 0; start < tokens; start += batch_tokens_max)
      model.step(batch_of({{some_tokens(std::min(batch_tokens_max, tokens - start), model.shape.vocab_size, first + start), start, own}}));
  }
}

void bench_decode(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const ModelShape& s = sizes.shape;
  constexpr int batch_tokens_max = 256;
  const int sequences_max = sizes.batches.back(), blocks = std::min(sizes.blocks, blocks_that_fit(s));
  RandomModel model(arguments, {.batch_tokens_max = batch_tokens_max, .sequences_max = sequences_max, .blocks = blocks});
  fill_blocks(model, blocks, batch_tokens_max);
  const double weight_bytes = 2.0 * double(parameter_count(s) - int64_t(s.vocab_size) * s.hidden_size);
  for (const int context : sizes.contexts) {
    for (const int sequences : sizes.batches) {
      const int blocks_each = (context + decode_steps) / block_tokens + 1;
      if (sequences * blocks_each > blocks) {
        std::fprintf(stderr, "no memory for %d sequences of %d tokens\n", sequences, context);
        continue;
      }
      std::vector<double> seconds;
      for (int i = 0; i < decode_steps; i++) {
        std::vector<Piece> pieces;
        for (int q = 0; q < sequences; q++) pieces.push_back({some_tokens(1, s.vocab_size, q + i), context + i, blocks_of(q, blocks_each)});
        seconds.push_back(model.step_seconds(batch_of(pieces)));
      }
      // Steps run as the node runs them: each is enqueued before the one ahead of it is read.
      const auto batch_ahead = [&](int i) {
        std::vector<Piece> pieces;
        for (int q = 0; q < sequences; q++)
          pieces.push_back({{i == 0 ? 1 : reference_to(q)}, context + i, blocks_of(q, blocks_each)});
        return batch_of(pieces);
      };
      const double ahead_seconds = seconds_of([&] {
        StepResult running = model.begin(batch_ahead(0));
        for (int i = 1; i < decode_steps; i++) {
          StepResult next = model.begin(batch_ahead(i));
          model.finish(std::exchange(running, std::move(next)));
        }
        model.finish(std::move(running));
      }) / decode_steps;
      const double kv_bytes = 4.0 * sequences * context * s.kv_heads * s.head_size * s.layers;
      const double roofline = sequences / ((weight_bytes + kv_bytes) / (arguments.tb_per_s * 1e12));
      std::printf("{\"part\": \"decode\", \"layers\": %d, \"sequences\": %d, \"context\": %d, \"tok_per_s\": %.1f, \"tok_per_s_ahead\": %.1f, \"roofline_tb_per_s\": %.2f, \"percent_of_roofline\": %.1f}\n",
                  s.layers, sequences, context, sequences / median(seconds), sequences / ahead_seconds,
                  arguments.tb_per_s, 100 * sequences / ahead_seconds / roofline);
      std::fflush(stdout);
    }
  }
}

void bench_prefill(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const int longest = sizes.prompts.back(), blocks = longest / block_tokens + 1;
  RandomModel model(arguments, {.batch_tokens_max = longest, .sequences_max = 1, .blocks = blocks});
  for (const int count : sizes.prompts) {
    const StepBatch batch = batch_of({{some_tokens(count, sizes.shape.vocab_size, count), 0, blocks_of(0, blocks)}});
    model.step(batch);
    const double seconds = model.step_seconds(batch);
    std::printf("{\"part\": \"prefill\", \"layers\": %d, \"tokens\": %d, \"ms\": %.1f, \"tok_per_s\": %.0f}\n", sizes.shape.layers, count,
                1e3 * seconds, count / seconds);
    std::fflush(stdout);
  }
}

CudaParts parts_of(const std::string& variant) {
  if (variant == "fast") return {};
  if (variant == "simple") return simple_cuda_parts;
  if (variant == "no-gemm") return {.gemm = false};
  if (variant == "no-prefill-gemm") return {.prefill_gemm = false};
  if (variant == "no-attention") return {.attention = false};
  if (variant == "no-sampling") return {.sampling = false};
  throw EngineError("usage", "no variant is called " + variant);
}

}  // namespace
}  // namespace ziya::bench

int main(int argc, char** argv) {
  using namespace ziya::bench;
  Arguments arguments;
  std::string variant = "fast";
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (argument == "--layers" && i + 1 < argc) arguments.layers = std::stoi(argv[++i]);
    else if (argument == "--variant" && i + 1 < argc) variant = argv[++i];
    else if (argument == "--tb-per-s" && i + 1 < argc) arguments.tb_per_s = std::stod(argv[++i]);
    else if (argument == "--tiny") arguments.is_tiny = true;
    else if (arguments.mode.empty()) arguments.mode = argument;
    else arguments.folder = argument;
  }
  try {
    arguments.options.fast = parts_of(variant);
    if (arguments.mode == "gemm") bench_gemm(arguments);
    else if (arguments.mode == "decode") bench_decode(arguments);
    else if (arguments.mode == "prefill") bench_prefill(arguments);
    else if (arguments.mode == "throughput") bench_throughput(arguments);
    else if (arguments.mode == "ids" && !arguments.folder.empty()) greedy_ids(arguments);
    else throw ziya::EngineError("usage", "gpu-bench gemm|decode|prefill|throughput|ids FOLDER [--layers N] [--variant NAME] [--tb-per-s N] [--tiny]");
  } catch (const ziya::EngineError& error) {
    std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
    return 1;
  }
}
