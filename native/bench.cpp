// How fast the engine is on this machine, beside how fast the machine reads memory in the same run. Random weights.
// usage: engine-bench [--model 1.1b|125m] [--threads N] [--isa auto|avx512|avx2|scalar] [--tokens N] [--rounds N] [--weights fp8] [--kv-cache fp8]
//        engine-bench --read RUNS [--threads N]: only how fast memory is read, the median in GB/s
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "engine.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/thread_pool.h"
#include "models/registry.h"

namespace {

using namespace ziya;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string model = "125m";
  int threads = 0, tokens = 32, rounds = 3, read_runs = 0;
  CpuIsa isa = CpuIsa::automatic;
  WeightFormat weights = WeightFormat::fp16;
  KvFormat kv_cache = KvFormat::fp16;
};

const std::map<std::string, CpuIsa> isa_names = {
    {"auto", CpuIsa::automatic}, {"avx512", CpuIsa::avx512}, {"avx2", CpuIsa::avx2}, {"scalar", CpuIsa::scalar}};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--model") arguments.model = value;
    if (name == "--threads") arguments.threads = std::stoi(value);
    if (name == "--tokens") arguments.tokens = std::stoi(value);
    if (name == "--rounds") arguments.rounds = std::stoi(value);
    if (name == "--read") arguments.read_runs = std::stoi(value);
    if (name == "--weights" && value == "fp8") arguments.weights = WeightFormat::fp8;
    if (name == "--kv-cache" && value == "fp8") arguments.kv_cache = KvFormat::fp8;
    if (name == "--isa") arguments.isa = isa_names.at(value);
  }
  return arguments;
}

ModelShape shape_of(const std::string& model) {
  ModelShape shape;
  if (model == "1.1b")
    shape = {.vocab_size = 32000,
             .hidden_size = 2048,
             .intermediate_size = 5632,
             .layers = 22,
             .heads = 32,
             .kv_heads = 4,
             .head_size = 64};
  else
    shape = {.vocab_size = 32000,
             .hidden_size = 768,
             .intermediate_size = 2048,
             .layers = 12,
             .heads = 12,
             .kv_heads = 4,
             .head_size = 64};
  shape.context_tokens = 2048;
  shape.rope_theta = 1e4;
  shape.rms_norm_eps = 1e-5;
  return shape;
}

// Halves between 2^-7 and 2^-5 with random signs.
void fill(Kernels& kernels, Matrix& matrix, uint64_t& state) {
  const int rows_a_slice = 256;
  std::vector<uint16_t> slice(size_t(rows_a_slice) * matrix.inputs);
  for (int row = 0; row < matrix.outputs; row += rows_a_slice) {
    for (auto& half : slice) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      half = uint16_t(((state >> 33) & 0x87ff) | 0x2000);
    }
    kernels.upload_rows(matrix, row, std::min(rows_a_slice, matrix.outputs - row), [&](int begin, int count, uint16_t* fp16) {
      std::copy_n(slice.data() + int64_t(begin) * matrix.inputs, int64_t(count) * matrix.inputs, fp16);
    });
  }
}

// Random matrices, and vectors of ones.
void fill(const Weights& weights) {
  uint64_t state = 1;
  for (const WeightSlot& slot : weights.slots())
    if (slot.matrix)
      fill(slot.kernels, *slot.matrix, state);
    else
      slot.kernels.upload(*slot.vector, 0, slot.rows(), std::vector<float>(slot.rows(), 1.0f).data());
}

int64_t parameter_count(const Weights& weights) {
  int64_t count = 0;
  for (const WeightSlot& slot : weights.slots()) count += int64_t(slot.rows()) * slot.columns();
  return count;
}

// `count` tokens of each sequence from `start`, greedy, one row a sequence.
StepBatch batch_of(int sequences, int start, int count, int blocks_each) {
  StepBatch batch;
  for (int s = 0; s < sequences; s++) {
    for (int i = 0; i < count; i++) batch.tokens.push_back((s * 977 + i * 31 + start * 7) % 32000);
    batch.token_counts.push_back(count);
    batch.starts.push_back(start);
    batch.block_counts.push_back(blocks_each);
    for (int i = 0; i < blocks_each; i++) batch.block_tables.push_back(s * blocks_each + i);
    batch.rows.push_back({.token = int(batch.tokens.size()) - 1});
  }
  return batch;
}

double seconds_of(const auto& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Four streams a thread, prefetched: what one stream reads is less than what the memory gives.
uint64_t sum_of(const uint64_t* words, int64_t lines) {
  constexpr int streams = 4, line_words = 8, ahead = 128;
  uint64_t sum[streams][line_words] = {};
  const int64_t stream_words = lines / streams * line_words;
  for (int64_t i = 0; i < stream_words; i += line_words)
    for (int s = 0; s < streams; s++) {
      const uint64_t* line = words + s * stream_words + i;
      __builtin_prefetch(line + ahead);
      for (int k = 0; k < line_words; k++) sum[s][k] += line[k];
    }
  uint64_t total = 0;
  for (const auto& stream : sum)
    for (const uint64_t part : stream) total += part;
  return total;
}

double read_gb_per_s(ThreadPool& pool, const Memory& memory) {
  std::atomic<uint64_t> sink{0};
  const double seconds = seconds_of([&] {
    pool.split(int64_t(memory.bytes() / 64), [&](int64_t begin, int64_t end, int) {
      sink += sum_of(memory.as<uint64_t>() + begin * 8, end - begin);
    });
  });
  return double(memory.bytes()) / seconds / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print_read(ThreadPool& pool, const Memory& memory, int runs) {
  std::vector<double> read;
  for (int run = 0; run < runs; run++) read.push_back(read_gb_per_s(pool, memory));
  std::printf("%.2f\n", median(read));
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  ThreadPool pool(arguments.threads > 0 ? arguments.threads : physical_cores());
  Memory memory(size_t(1) << 30);
  std::memset(memory.as<char>(), 1, memory.bytes());
  if (arguments.read_runs > 0) {
    print_read(pool, memory, arguments.read_runs);
    return 0;
  }
  ModelShape shape = shape_of(arguments.model);
  shape.weights = arguments.weights;
  shape.kv_cache = arguments.kv_cache;
  const int sequences = 8, prompt = 512, blocks_each = (prompt + arguments.tokens) / block_tokens + 2;
  const StepLimits limits = {.batch_tokens_max = prompt, .sequences_max = sequences, .blocks = sequences * blocks_each};
  const Devices devices(make_cpu_kernels(shape, limits, arguments.threads, arguments.isa), shape.layers);
  const std::unique_ptr<Model> model = architecture_of("llama").make(shape, limits, devices);
  fill(model->weights());
  const int64_t parameters = parameter_count(model->weights()), embedding = int64_t(shape.vocab_size) * shape.hidden_size;
  const int bytes_a_weight = shape.weights == WeightFormat::fp8 ? 1 : 2;  // of a layer; the head's are fp16
  const double decode_gb = 1e-9 * (bytes_a_weight * double(parameters - 2 * embedding) + 2 * double(embedding));
  const double prefill_gflop = 2e-9 * prompt * double(parameters - 2 * embedding);
  std::printf("%s, %.1f M parameters, %s\n", arguments.model.c_str(), 1e-6 * double(parameters), devices.name().c_str());

  const std::atomic<bool> cancelled{false};

  for (int round = 0; round < arguments.rounds; round++) {
    const double read_before = read_gb_per_s(pool, memory);
    std::vector<double> single, batched;
    for (int i = 0; i < arguments.tokens; i++)
      single.push_back(seconds_of([&] { model->step(batch_of(1, 16 + i, 1, blocks_each), cancelled); }));
    const double read = (read_before + read_gb_per_s(pool, memory)) / 2;
    for (int i = 0; i < arguments.tokens; i++)
      batched.push_back(seconds_of([&] { model->step(batch_of(sequences, 16 + i, 1, blocks_each), cancelled); }));
    const double prefill = seconds_of([&] { model->step(batch_of(1, 0, prompt, blocks_each), cancelled); });
    const double decode_gb_per_s = decode_gb / median(single);
    std::printf(
        "read %.1f GB/s | decode %.1f tok/s, %.1f GB/s, %.0f %% of read | 8 sequences %.1f tok/s | prefill 512 %.1f "
        "tok/s, %.1f GFLOP/s\n",
        read, 1 / median(single), decode_gb_per_s, 100 * decode_gb_per_s / read, sequences / median(batched),
        prompt / prefill, prefill_gflop / prefill);
    std::fflush(stdout);
  }
}
