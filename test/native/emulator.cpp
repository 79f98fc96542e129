// The CUDA backend on the emulator: the shared tests under three orders of threads, blocks and copies, which must give the
// same bytes; and that the emulator finds what it is there to find.
#include <algorithm>
#include <cmath>
#include <future>
#include <optional>
#include <set>
#include <stdexcept>

#include "engine.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/emulator/ptx.h"
#include "kernels/emulator/runtime.h"
#include "kernels/tensor_parallel.h"
#include "reference.h"

namespace ziya::test {
namespace {

using emulator::block;
using emulator::dim3;
using emulator::Order;
using emulator::Pace;

const std::vector<Order> orders = {Order::round_robin, Order::reversed, Order::random};
constexpr Pace paces[] = {Pace::late, Pace::early, Pace::random};  // of an order's streams

// All of them if all are asked for; else the usual one and one more that is drawn, or only one that is drawn.
std::vector<Order> orders_to_take(Random& random, bool only_one) {
  if (takes_all_cases()) return orders;
  if (only_one) return {random.one_of(orders)};
  return {orders.front(), random.one_of<Order>({Order::reversed, Order::random})};
}

// The body under these orders, on the same random inputs: it gives the same bytes under each.
Test under_orders(const Test& test, bool only_one = false) {
  return {test.name, [body = test.body, only_one](Random& random) {
            const uint64_t seed = random.bits();
            std::optional<uint64_t> first_digest;
            for (const Order order : orders_to_take(random, only_one)) {
              emulator::set_order(order, seed);
              emulator::set_pace(paces[int(order)], seed);
              emulator::take_download_digest();
              Random again(seed);
              body(again);
              const uint64_t digest = emulator::take_download_digest();
              expect(digest == *(first_digest = first_digest.value_or(digest)), "the bytes depend on the order of threads");
            }
            emulator::set_order(Order::round_robin);
            emulator::set_pace(Pace::late);
          }};
}

Device emulated(const char* name, const CudaOptions& options) {
  return {.name = name,
          .make = [options](const ModelShape& shape, const StepLimits& limits, int) {
            return emulator::make_kernels(shape, limits, options);
          },
          .precision = 1e-3,
          .is_slow = true};
}

// What the emulator says of a kernel of 32 threads.
std::string complaint(void (*kernel)(int*), size_t shared_bytes = 256, unsigned cluster = 1) {
  int out[32] = {};
  try {
    emulator::launch_kernel("culprit", kernel, cluster, dim3(cluster), dim3(32), shared_bytes, nullptr, &out[0]);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

void expect_complaint(const std::string& text, const std::string& part) {
  expect(text.starts_with("kernel culprit, block (0, 0, 0): ") && text.find(part) != std::string::npos,
         "wanted \"" + part + "\", got \"" + text + "\"");
}

void faulty_kernels_are_named(Random&) {
  for (const Order order : orders) {
    emulator::set_order(order);
    expect_complaint(complaint([](int*) {
                       if (threadIdx.x < 5)
                         __syncthreads();
                       else
                         __syncthreads();
                     }),
                     "divergent barrier");
    expect_complaint(complaint([](int*) {
                       if (threadIdx.x < 31) emulator::__syncwarp();
                     }),
                     "31 threads wait at __syncwarp");
    expect_complaint(complaint([](int*) {
                       auto* barrier = reinterpret_cast<uint64_t*>(block->shared());
                       if (threadIdx.x == 0) emulator::mbarrier_init(barrier, 2);
                       __syncthreads();
                       if (threadIdx.x == 0) emulator::mbarrier_arrive(barrier);
                       emulator::mbarrier_wait(barrier, 0);
                     }),
                     "32 threads wait at mbarrier.wait");
    expect_complaint(complaint([](int*) { block->shared()[256] = 1; }), "a write beyond the shared memory");
    expect_complaint(complaint([](int* out) {
                       auto* barrier = reinterpret_cast<uint64_t*>(block->shared());
                       emulator::mbarrier_init(barrier, 32);
                       emulator::bulk_copy(block->shared() + 16, out, 16, barrier);
                     }),
                     "a bulk copy to an mbarrier that was not initialised and fenced");
    expect_complaint(complaint([](int*) {
                       float sums[4];
                       const uint64_t tile = emulator::matrix_descriptor(block->shared());
                       emulator::wgmma<8>(sums, tile, tile, false);
                     }),
                     "wgmma without wgmma.fence before it");
    expect_complaint(complaint([](int*) {
                       float sums[4];
                       const uint64_t tile = emulator::matrix_descriptor(block->shared());
                       emulator::wgmma_fence();
                       emulator::wgmma<8>(sums, tile, tile & ~(uint64_t(3) << 62), false);
                     }),
                     "a matrix descriptor of another layout");
    expect_complaint(complaint([](int* out) { emulator::atomicAdd(out, 1); }), "an atomic on the device's memory without __threadfence");
    expect_complaint(complaint([](int*) { emulator::raise_registers<2056>(); }), "more registers than a multiprocessor has");
    expect_complaint(complaint([](int*) { emulator::cluster_sync(); }, 256, 2), "no thread waits for the kernel ahead");
    // The block that was to be told has ended, or the barrier is not there yet.
    expect_complaint(complaint([](int*) {
                       auto* barrier = reinterpret_cast<uint64_t*>(block->shared());
                       emulator::mbarrier_init(barrier, 32);
                       emulator::mbarrier_fence_init();
                       emulator::cluster_sync();
                       if (emulator::block_in_cluster() == 1) return;
                       emulator::mbarrier_wait(barrier, 0);
                     }, 256, 2),
                     "32 threads wait at mbarrier.wait");
    expect_complaint(complaint([](int* out) {
                       auto* barrier = reinterpret_cast<uint64_t*>(block->shared());
                       emulator::mbarrier_init(barrier, 32);
                       emulator::bulk_copy_to_cluster(block->shared() + 16, out, 16, barrier, 3);
                     }, 256, 2),
                     "a bulk copy to an mbarrier that was not initialised and fenced");
    expect(complaint([](int*) {}, 256, 3).find("not of whole clusters") != std::string::npos, "a launch's clusters");
    expect(complaint([](int*) {}, size_t(228) << 10).find("more shared memory than a block can have") != std::string::npos, "a launch's limit");
    expect_complaint(complaint([](int* out) { out[threadIdx.x] = 1; }), "no thread waits for the kernel ahead");
    expect(complaint([](int* out) {
             emulator::wait_for_previous_kernel();
             out[threadIdx.x] = 1;
           }).empty(),
           "a good kernel");
  }
  emulator::set_order(Order::round_robin);
}

// Neighbours read what they did not wait for.
void a_race_changes_the_bytes(Random&) {
  const auto result_under = [](Order order) {
    emulator::set_order(order);
    std::vector<int> out(64);
    const auto racy = [](int* to) {
      emulator::wait_for_previous_kernel();
      int* shared = reinterpret_cast<int*>(block->shared());
      shared[threadIdx.x] = int(threadIdx.x);
      to[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
    };
    emulator::launch_kernel("racy", static_cast<void (*)(int*)>(racy), 1, dim3(1), dim3(64), 256, nullptr, out.data());
    return out;
  };
  const auto forward = result_under(Order::round_robin), backward = result_under(Order::reversed);
  emulator::set_order(Order::round_robin);
  expect(forward != backward, "the race is seen");
}

void copies_land_late(Random&) {
  const auto values_read = [](bool waits) {
    emulator::set_order(Order::reversed);
    static bool should_wait;
    should_wait = waits;
    alignas(16) static int from[4] = {1, 2, 3, 4};
    int seen = 0;
    const auto reader = [](int* to) {
      emulator::wait_for_previous_kernel();
      auto* barrier = reinterpret_cast<uint64_t*>(block->shared());
      int* data = reinterpret_cast<int*>(block->shared() + 16);
      emulator::mbarrier_init(barrier, 1);
      emulator::mbarrier_fence_init();
      emulator::mbarrier_arrive_expect(barrier, sizeof(from));
      emulator::bulk_copy(data, from, sizeof(from), barrier);
      if (should_wait) emulator::mbarrier_wait(barrier, 0);
      *to = data[3];
      emulator::mbarrier_wait(barrier, 0);
    };
    emulator::launch_kernel("reader", static_cast<void (*)(int*)>(reader), 1, dim3(1), dim3(1), 256, nullptr, &seen);
    emulator::set_order(Order::round_robin);
    return seen;
  };
  expect(values_read(true) == 4, "a copy that was waited for");
  expect(values_read(false) != 4, "a copy that was not is not there yet");
}

// What a kernel reads before it waits for the one ahead is what was there before that ran; what it reads after is that one's.
void a_kernel_behind_begins_early(Random&) {
  emulator::cudaStream_t stream;
  emulator::cudaStreamCreateWithFlags(&stream, emulator::cudaStreamNonBlocking);
  int value = 1;
  int seen[2] = {};
  emulator::launch_kernel("writer", static_cast<void (*)(int*)>([](int* to) {
                            emulator::wait_for_previous_kernel();
                            *to = 2;
                          }),
                          1, dim3(1), dim3(1), 0, stream, &value);
  emulator::launch_kernel("reader", static_cast<void (*)(const int*, int*)>([](const int* from, int* to) {
                            to[0] = *from;
                            emulator::wait_for_previous_kernel();
                            to[1] = *from;
                          }),
                          1, dim3(1), dim3(1), 0, stream, &value, &seen[0]);
  emulator::cudaStreamSynchronize(stream);
  emulator::cudaStreamDestroy(stream);
  expect(seen[0] == 1 && seen[1] == 2, "read " + std::to_string(seen[0]) + " before and " + std::to_string(seen[1]) + " after");
}

void nothing_waits_in_a_capture(Random&) {
  emulator::cudaStream_t stream, other;
  emulator::cudaStreamCreateWithFlags(&stream, emulator::cudaStreamNonBlocking);
  emulator::cudaStreamCreateWithFlags(&other, emulator::cudaStreamNonBlocking);
  emulator::cudaStreamBeginCapture(stream, emulator::cudaStreamCaptureModeThreadLocal);
  void* memory = nullptr;
  expect(emulator::cudaMalloc(&memory, 16) == emulator::cudaErrorStreamCaptureUnsupported, "memory");
  expect(emulator::cudaMallocHost(&memory, 16) == emulator::cudaErrorStreamCaptureUnsupported, "pinned memory");
  expect(emulator::cudaStreamSynchronize(other) == emulator::cudaErrorStreamCaptureUnsupported, "a wait");
  emulator::cudaGraph_t graph;
  emulator::cudaStreamEndCapture(stream, &graph);
  expect(emulator::cudaStreamSynchronize(other) == emulator::cudaSuccess, "a wait after it");
  emulator::cudaGraphDestroy(graph);
  emulator::cudaStreamDestroy(stream);
  emulator::cudaStreamDestroy(other);
}

// d (16, 8) = a (16, 16) * b (8, 16)^T by one warp, its operands brought by cp.async and ldmatrix.
void multiply_by_warp(const uint16_t* operands, float* out) {
  emulator::wait_for_previous_kernel();
  auto* shared = reinterpret_cast<uint16_t*>(block->shared());
  const int lane = int(threadIdx.x);
  for (int unit = lane; unit < (16 + 8) * 16 / 8; unit += 32) emulator::cp_async_16(shared + unit * 8, operands + unit * 8, true);
  emulator::cp_async_commit();
  emulator::cp_async_wait<0>();
  emulator::__syncwarp();
  uint32_t a[4], b[2];
  emulator::ldmatrix_x4(a, shared + lane % 16 * 16 + lane / 16 * 8);
  emulator::ldmatrix_x2(b, shared + (16 + lane % 8) * 16 + lane / 8 % 2 * 8);
  float sums[4] = {};
  emulator::mma_m16n8k16(sums, a, b);
  for (int i = 0; i < 4; i++) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

void a_warp_multiplies_by_mma(Random& random) {
  alignas(16) uint16_t operands[(16 + 8) * 16];
  for (auto& half : operands) half = float_to_half(random.normal());
  for (const Order order : orders) {
    emulator::set_order(order);
    float out[16 * 8];
    emulator::launch_kernel("multiply_by_warp", multiply_by_warp, 1, dim3(1), dim3(32), sizeof(operands), nullptr, &operands[0],
                            &out[0]);
    for (int row = 0; row < 16; row++) {
      for (int column = 0; column < 8; column++) {
        double want = 0;
        for (int k = 0; k < 16; k++)
          want += double(half_to_float(operands[row * 16 + k])) * half_to_float(operands[(16 + column) * 16 + k]);
        expect(std::abs(out[row * 8 + column] - want) < 1e-4, "row " + std::to_string(row) + ", column " + std::to_string(column));
      }
    }
  }
  emulator::set_order(Order::round_robin);
}

void too_little_memory_is_refused_at_start(Random& random) {
  const ModelShape shape = random_shape(random);
  const StepLimits limits = {.batch_tokens_max = 64, .sequences_max = 4, .blocks = 64};
  const size_t before = emulator::memory_in_use();
  emulator::set_memory_max(before + (1 << 19));  // less than the products' partial sums
  expect(error_code([&] { emulator::make_kernels(shape, limits, {}); }) == "out_of_memory", "out_of_memory");
  emulator::set_memory_max(size_t(8) << 30);
  expect(emulator::memory_in_use() == before, "what was taken is given back");
  expect(error_code([&] { emulator::make_kernels(shape, limits, {.device = 7}); }) == "unsupported_device", "no such device");
}

// Whether a tile's splits go to several blocks or to one is the plan's choice, and changes nothing.
void attention_is_the_same_whole_and_in_parts(Random& random) {
  const uint64_t seed = random.bits();
  const auto digest_with = [&](int64_t parts_max) {
    emulator::take_download_digest();
    for (const Test& test : attention_tests(emulated("emulator", {.attention_parts_max = parts_max}))) {
      if (test.name.find("several splits") == std::string::npos) continue;
      Random again(seed);
      test.body(again);
    }
    return emulator::take_download_digest();
  };
  const uint64_t in_parts = digest_with(CudaOptions{}.attention_parts_max);
  for (const int parts_max : cases_of<int>(emulated("", {}), random, {0, 5}, 1))
    expect(digest_with(parts_max) == in_parts, "of parts no more than " + std::to_string(parts_max));
}

// Several threads write rows into memory that the device copies from by itself, more than its slots hold, and one of them fails
// now and then; what the others wrote arrives.
void rows_are_written_to_pinned_memory(Random& random) {
  const int inputs = 300, slices = 60, rows_a_slice = 100;
  const ModelShape shape = random_shape(random);
  const auto kernels = emulator::make_kernels(shape, {.batch_tokens_max = 8, .sequences_max = 1, .blocks = 8}, {});
  const auto unit = kernels->make_activations(1, inputs), out = kernels->make_activations(1, slices * rows_a_slice);
  std::vector<float> ones(inputs), products(slices * rows_a_slice);
  const int column = random.between(0, inputs - 1);
  ones[column] = 1;
  kernels->upload(*unit, 1, ones.data());
  // From here on nobody waits for the device before all is uploaded.
  const size_t before = emulator::memory_in_use();
  const auto matrix = kernels->make_matrix(slices * rows_a_slice, inputs, MatrixLayout::plain);
  std::atomic<int> next{0}, failed{0}, pageable{0};
  const auto upload = [&] {
    for (int slice = next++; slice < slices; slice = next++) {
      const auto write = [&](int begin, int count, uint16_t* fp16) {
        if (!emulator::is_pinned(fp16, size_t(count) * inputs * sizeof(uint16_t))) pageable++;
        for (int i = 0; i < count * inputs; i++) fp16[i] = float_to_half(float((slice + (begin + i / inputs) + i % inputs) % 100));
        if (slice % 3 == 1) throw EngineError("weights_read", "the file ends");
      };
      failed += error_code([&] { kernels->upload_rows(*matrix, slice * rows_a_slice, rows_a_slice, write); }) == "weights_read";
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 30; i++) threads.emplace_back(upload);
  for (auto& thread : threads) thread.join();
  expect(pageable == 0, "every row is written to pinned memory");
  expect(failed == slices / 3, "what a thread throws comes back to it");

  const StepBatch batch = greedy_batch({{{0}, 0, {0}}});
  kernels->begin_step(batch);
  kernels->logits(*unit, *matrix, 1, *out);
  kernels->download(*out, 1, products.data());
  for (int row = 0; row < matrix->outputs; row++) {
    const int slice = row / rows_a_slice, want = slice % 3 == 1 ? 0 : (slice + row % rows_a_slice + column) % 100;
    expect(products[row] == float(want), "row " + std::to_string(row));
  }
  const size_t own = size_t(2) * slices * rows_a_slice * 384 + (size_t(1) << 19);  // padded
  expect(emulator::memory_in_use() < before + own, "the slots are given back");
}

// While the first step's tokens are being looked at, the second is enqueued, and no third.
void an_engine_enqueues_one_step_ahead(Random& random) {
  const RandomModel model = random_model(random_shape(random), random);
  const ModelFile file(model, Dtype::f16);
  const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 4, .blocks = 16};
  const int graphs_before = emulator::graph_launches();
  std::promise<bool> saw_second;
  std::promise<int> launched;
  Engine engine({"llama", model.shape, file.tensors},
                {.device = "cpu", .limits = limits,
                 .make_kernels = [](const auto& shape, const auto& limits) { return emulator::make_kernels(shape, limits, {}); }},
                {});
  const auto submit = [&](int32_t token, int start, const Engine::OnStep& on_step) {
    StepBatch batch = greedy_batch({{{token}, start, {0}}});
    batch.want_logits = false;
    engine.submit(batch, on_step);
  };
  const auto graphs = [&] { return emulator::graph_launches() - graphs_before; };
  submit(1, 0, [&](StepResult, Engine::Error) {
    for (int i = 0; i < 20000 && graphs() < 2; i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    saw_second.set_value(graphs() == 2);
  });
  submit(reference_to(0), 1, [](StepResult, Engine::Error) {});
  submit(reference_to(0), 2, [&](StepResult, Engine::Error error) { launched.set_value(error ? -1 : graphs()); });
  expect(saw_second.get_future().get(), "the second step is enqueued, the third is not");
  expect(launched.get_future().get() == 3, "all three run");
}

// At whatever moment of the load it is missed.
void an_engine_refuses_too_little_memory(Random& random) {
  const RandomModel model = random_model(random_shape(random), random);
  const ModelFile file(model, Dtype::f16);
  const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 4, .blocks = 16};
  const size_t before = emulator::memory_in_use();
  int refused = 0;
  bool loads = false;
  for (size_t bytes = size_t(1) << 18; !loads; bytes += bytes / 2) {
    emulator::set_memory_max(before + bytes);
    std::promise<Engine::Error> loaded;
    {
      Engine engine({"llama", model.shape, file.tensors},
                    {.device = "cpu", .limits = limits,
                     .make_kernels = [](const auto& shape, const auto& limits) { return emulator::make_kernels(shape, limits, {}); }},
                    {nullptr, [&](Engine::Error error) { loaded.set_value(error); }, nullptr});
      const Engine::Error error = loaded.get_future().get();
      loads = !error;
      refused += !loads;
      expect(loads || (error->code == "out_of_memory" && std::string(error->what()).find("memory for") != std::string::npos),
             "it is said what there is no memory for");
    }
    expect(emulator::memory_in_use() == before, "what was taken is given back");
  }
  emulator::set_memory_max(size_t(8) << 30);
  expect(refused >= 3, "it was refused at several moments");
}

// A sticky error while one step is being read and the next is enqueued.
void a_lost_device_fails_every_step(Random& random) {
  const RandomModel model = random_model(random_shape(random), random);
  const ModelFile file(model, Dtype::f16);
  std::vector<std::string> codes;
  std::promise<void> answered;
  {
    Engine engine({"llama", model.shape, file.tensors},
                  {.device = "cpu", .limits = {.batch_tokens_max = 16, .sequences_max = 4, .blocks = 16},
                   .make_kernels = [](const auto& shape, const auto& limits) { return emulator::make_kernels(shape, limits, {}); }},
                  {});
    for (int step = 0; step < 4; step++) {
      StepBatch batch = greedy_batch({{{step == 1 ? reference_to(0) : 1}, step, {0}}});
      batch.want_logits = false;
      engine.submit(batch, [&](StepResult, Engine::Error error) {
        codes.push_back(error ? error->code : "");
        emulator::set_lost(true);
        if (codes.size() == 4) answered.set_value();
      });
    }
    answered.get_future().get();
  }
  emulator::set_lost(false);
  expect(codes == std::vector<std::string>({"", "device_failed", "device_failed", "device_failed"}), "what each step ended with");
}

const ModelShape wide_shape = {.vocab_size = 120, .hidden_size = 72, .intermediate_size = 100, .layers = 3, .heads = 4,
                               .kv_heads = 2, .head_size = 16, .context_tokens = 128, .rope_theta = 1e4, .rms_norm_eps = 1e-5};

// Prompts, decode steps that refer to what the step before draws, and prompts that refer to nothing.
std::vector<StepBatch> steps_of_two_rounds(Random& random) {
  constexpr int sequences = 3, decodes = 3;
  std::vector<StepBatch> batches;
  for (int round = 0; round < 2; round++) {
    std::vector<Piece> pieces;
    for (int s = 0; s < sequences; s++)
      pieces.push_back({random_tokens(random.between(4, 9), wide_shape.vocab_size, random), 0, {2 * s, 2 * s + 1}});
    batches.push_back(greedy_batch(pieces));
    for (int step = 0; step < decodes; step++) {
      for (int s = 0; s < sequences; s++) pieces[s] = {{reference_to(s)}, pieces[s].start + int(pieces[s].tokens.size()), pieces[s].blocks};
      batches.push_back(greedy_batch(pieces));
    }
  }
  for (StepBatch& batch : batches) {
    batch.want_logits = false;
    for (Row& row : batch.rows) row.temperature = 1;
    for (Row& row : batch.rows) row.seed = random.bits();
  }
  return batches;
}

// Of steps each of which is begun before the one ahead is read, on devices of which one is as far ahead of another as its waits let it be: of
// ranges of layers, or ranks of all of them.
std::vector<float> logprobs_with(const RandomModel& weights, const std::vector<StepBatch>& batches, const std::vector<Pace>& paces, uint64_t seed,
                                 bool are_ranks) {
  const StepLimits limits = {.batch_tokens_max = 96, .sequences_max = 4, .blocks = 32};
  const int count = int(paces.size()), ranks = are_ranks ? count : 1;
  const std::atomic<bool> not_cancelled{false};
  emulator::set_devices(count);
  std::vector<std::unique_ptr<Kernels>> kernels, together;
  for (int device = 0; device < count; device++) {
    emulator::set_pace(paces[device], seed);
    kernels.push_back(emulator::make_kernels(shape_of_rank(weights.shape, ranks), limits, {.device = device}));
  }
  emulator::set_pace(Pace::late);
  if (ranks > 1) together.push_back(make_tensor_parallel(weights.shape, limits, std::move(kernels)));
  const Devices devices(std::move(ranks > 1 ? together : kernels), weights.shape.layers);
  const auto model = load_model(weights, limits, devices);
  std::vector<float> logprobs;
  std::vector<StepResult> begun;
  for (size_t i = 0; i <= batches.size(); i++) {
    if (i < batches.size()) begun.push_back(model->begin(batches[i], not_cancelled));
    if (i == 0) continue;
    model->finish(begun[i - 1]);
    logprobs.insert(logprobs.end(), begun[i - 1].logprobs.begin(), begun[i - 1].logprobs.end());
  }
  return logprobs;
}

void a_device_overwrites_nothing_that_another_reads(Random& random) {
  constexpr Pace late = Pace::late, early = Pace::early;
  const RandomModel weights = random_model(wide_shape, random);
  const std::vector<StepBatch> batches = steps_of_two_rounds(random);
  const uint64_t seed = random.bits();
  const std::vector<float> want = logprobs_with(weights, batches, {late}, seed, false);
  expect(std::set<float>(want.begin(), want.end()).size() == want.size(), "no step would go unnoticed for another");
  const Device slow = emulated("", {});
  const std::vector<std::vector<Pace>> all = {{early}, {late, late}, {early, late}, {late, early}, {early, late, early}, {late, early, late}};
  for (const auto& paces : cases_of(slow, random, all, 3))
    expect(logprobs_with(weights, batches, paces, seed, false) == want, "of " + std::to_string(paces.size()) + " devices one overwrote what another still read");
  for (int round = 0; round < (takes_all_cases() ? 12 : 3); round++)
    expect(logprobs_with(weights, batches, std::vector<Pace>(1 + round % 3, Pace::random), seed + round, false) == want, "by chance, in round " + std::to_string(round));
}

void a_rank_overwrites_nothing_that_another_reads(Random& random) {
  constexpr Pace late = Pace::late, early = Pace::early;
  const RandomModel weights = random_model(wide_shape, random);
  std::vector<StepBatch> batches = steps_of_two_rounds(random);
  // Whose logits come in two parts, of which nobody waits for the first.
  batches.push_back(greedy_batch({{random_tokens(logit_rows_max + 16, wide_shape.vocab_size, random), 0, {20, 21, 22, 23, 24}, true}}));
  batches.back().want_logits = false;
  const uint64_t seed = random.bits();
  const Device slow = emulated("", {});
  for (const int ranks : cases_of<int>(slow, random, {2, 4}, 1)) {
    const std::vector<float> want = logprobs_with(weights, batches, std::vector<Pace>(ranks, late), seed, true);
    std::vector<std::vector<Pace>> all(takes_all_cases() ? 12 : 2, std::vector<Pace>(ranks, Pace::random));
    for (int ahead = 0; ahead < ranks; ahead++)
      for (auto& paces : {&all.emplace_back(ranks, late), &all.emplace_back(ranks, early)}) (*paces)[ahead] = (*paces)[ahead] == late ? early : late;
    for (const auto& paces : cases_of(slow, random, all, 3))
      expect(logprobs_with(weights, batches, paces, random.bits(), true) == want, "of " + std::to_string(ranks) + " ranks one overwrote what another still read");
  }
}

// It is refused when its words are put together, in memory from which the step before the one ahead may still be copied.
void a_refused_step_leaves_those_that_wait_as_they_are(Random& random) {
  const StepLimits limits = {.batch_tokens_max = 32, .sequences_max = 4, .blocks = 32};
  const RandomModel weights = random_model(wide_shape, random);
  const std::vector<StepBatch> batches = steps_of_two_rounds(random);
  StepBatch too_much = batches[0];
  too_much.bias_ids.assign(600'000, 1);
  too_much.bias_values.assign(600'000, 1);
  too_much.rows[0].bias = {0, 600'000};
  const std::atomic<bool> not_cancelled{false};
  const auto logprobs_with = [&](bool has_refused) {
    const Devices devices(emulator::make_kernels(wide_shape, limits, {}), wide_shape.layers);
    const auto model = load_model(weights, limits, devices);
    StepResult first = model->begin(batches[0], not_cancelled);
    if (has_refused) expect(error_code([&] { model->begin(too_much, not_cancelled); }) == "bad_batch", "it is refused");
    StepResult second = model->begin(batches[4], not_cancelled);
    model->finish(first);
    model->finish(second);
    first.logprobs.insert(first.logprobs.end(), second.logprobs.begin(), second.logprobs.end());
    return first.logprobs;
  };
  expect(logprobs_with(true) == logprobs_with(false), "the steps around it draw the same");
}

// Restores what it set of the emulator's memory.
struct MemoryMax {
  explicit MemoryMax(size_t bytes) { emulator::set_memory_max(bytes); }
  ~MemoryMax() { emulator::set_memory_max(size_t(8) << 30); }
};

// The last rows of a table that has more than 2^31 weights, of which nearly all are pages that nobody touches.
void the_last_rows_of_a_huge_table_are_found(Random& random) {
  constexpr int columns = 4160, rows = (1 << 19) + 64;
  static_assert(int64_t(rows) * columns > int64_t(1) << 31);
  const ModelShape shape = {.vocab_size = 64, .hidden_size = columns, .intermediate_size = 64, .layers = 1, .heads = 1, .kv_heads = 1,
                            .head_size = 16, .context_tokens = 64, .rope_theta = 1e4, .rms_norm_eps = 1e-5};
  const auto kernels = emulator::make_kernels(shape, {.batch_tokens_max = 8, .sequences_max = 1, .blocks = 8}, {});
  const auto table = kernels->make_matrix(rows, columns, MatrixLayout::plain);
  std::vector<uint16_t> halves(size_t(64) * columns);
  for (auto& half : halves) half = float_to_half(random.normal());
  kernels->upload_rows(*table, rows - 64, 64, [&](int begin, int count, uint16_t* fp16) {
    std::copy_n(halves.data() + int64_t(begin) * columns, int64_t(count) * columns, fp16);
  });
  const int wanted = random.between(0, 63);
  const StepBatch batch = greedy_batch({{{rows - 64 + wanted, 0}, 0, {0}}});
  kernels->begin_step(batch);
  const auto residual = kernels->make_activations(8, columns);
  kernels->embed(*table, *residual);
  std::vector<float> got(size_t(2) * columns);
  kernels->download(*residual, 2, got.data());
  for (int i = 0; i < columns; i++) {
    expect(got[i] == half_to_float(halves[int64_t(wanted) * columns + i]), "a row that was uploaded");
    expect(got[columns + i] == 0, "one that was not");
  }
}

// A sequence attends alike in the first block and in the last of a cache of more than 2^31 keys.
void the_last_block_of_a_huge_cache_is_as_any(Random& random) {
  constexpr int blocks = (1 << 17) + 8, tokens = 3;
  const ModelShape shape = {.vocab_size = 64, .hidden_size = 64, .intermediate_size = 64, .layers = 1, .heads = 8, .kv_heads = 8,
                            .head_size = 128, .context_tokens = 64, .rope_theta = 1e4, .rms_norm_eps = 1e-5};
  static_assert(int64_t(blocks) * block_tokens * 8 * 128 > int64_t(1) << 31);
  const MemoryMax memory(size_t(16) << 30);
  for (const CudaParts& parts : {CudaParts{}, simple_cuda_parts}) {
    const auto kernels = emulator::make_kernels(shape, {.batch_tokens_max = 8, .sequences_max = 1, .blocks = blocks}, {.fast = parts});
    const auto cache = kernels->make_kv_layer(blocks);
    const auto weight = kernels->make_matrix(shape.qkv_columns(), 64, MatrixLayout::plain);
    emulator::fill(*kernels, *weight, random.bits(), 0.1f);
    const auto in = kernels->make_activations(8, 64), qkv = kernels->make_activations(8, shape.qkv_columns()),
               out = kernels->make_activations(8, shape.attention_columns());
    std::vector<float> values(tokens * 64);
    for (float& value : values) value = random.normal();
    kernels->upload(*in, tokens, values.data());
    const auto attended_in = [&](int block_id) {
      const StepBatch batch = greedy_batch({{{1, 2, 3}, 0, {block_id}}});
      kernels->begin_step(batch);
      kernels->qkv_rope(*in, *weight, *qkv, *cache);
      kernels->attention(*qkv, *cache, *out);
      std::vector<float> result(size_t(tokens) * shape.attention_columns());
      kernels->download(*out, tokens, result.data());
      return result;
    };
    const std::vector<float> first = attended_in(0);
    expect(first == attended_in(blocks - 1), "the last block");
    expect(std::set<float>(first.begin(), first.end()).size() > first.size() / 8, "something was attended to");
  }
}

// Where there is no wgmma, products are the simple ones; too old a device is refused.
void an_older_device_runs_what_it_can(Random& random) {
  emulator::set_compute_capability(8);
  for (const Test& test : model_tests(emulated("emulator of sm_80", {}))) {
    if (test.name.find("match float64") == std::string::npos) continue;
    test.body(random);
  }
  emulator::set_compute_capability(7);
  const StepLimits limits = {.batch_tokens_max = 8, .sequences_max = 1, .blocks = 8};
  const std::string code = error_code([&] { emulator::make_kernels(random_shape(random), limits, {}); });
  emulator::set_compute_capability(9);
  expect(code == "unsupported_device", "compute capability 7 is refused");
}

// The same rows of logits and parameters on both.
void draws_are_those_of_the_cpu(Random& random) {
  const int vocab = 700, rows = 48;
  const ModelShape shape = {.vocab_size = vocab, .hidden_size = 8, .intermediate_size = 8, .layers = 1, .heads = 1,
                            .kv_heads = 1, .head_size = 8, .context_tokens = 64, .rope_theta = 1e4, .rms_norm_eps = 1e-5};
  const StepLimits limits = {.batch_tokens_max = rows, .sequences_max = 64, .blocks = 8};
  std::vector<float> values;
  // A third of the rows has many equal logits, of which the lower ids pass the filters first.
  for (int i = 0; i < rows * vocab; i++) values.push_back(i / vocab % 3 == 0 ? float(random.between(0, 4)) : random.normal(3));
  StepBatch batch = greedy_batch({{random_tokens(rows, vocab, random), 0, {0, 1, 2}, true}});
  for (int row = 0; row < rows; row++) {
    batch.rows[row].temperature = float(0.2 + 1.5 * random.uniform());
    batch.rows[row].top_p = random.between(0, 1) ? float(0.05 + 0.9 * random.uniform()) : 1;
    batch.rows[row].min_p = random.between(0, 1) ? float(0.1 * random.uniform()) : 0;
    batch.rows[row].top_k = random.between(0, 1) ? random.between(1, vocab) : 0;
    batch.rows[row].repetition_penalty = random.one_of<float>({1, 1.3f});
    batch.rows[row].frequency_penalty = random.one_of<float>({0, 0.4f});
    batch.rows[row].presence_penalty = random.one_of<float>({0, -0.4f});
    batch.rows[row].seed = random.bits();
    batch.rows[row].counter = random.between(0, 1000);
    const auto history = random_tokens(random.between(0, 60), vocab, random);
    append_history(batch, batch.rows[row], history, int(history.size()) / 2);
    batch.rows[row].bias = {3 * row, 3};
    for (int i = 0; i < 3; i++) {
      batch.bias_ids.push_back(random.between(0, 5));
      batch.bias_values.push_back(random.normal(2));
    }
    batch.banned_ids.push_back(random.between(0, vocab - 1));
    batch.rows[row].banned = {row, 1};
    batch.rows[row].mask = {int(batch.mask_words.size()), random.between(0, 1) ? mask_words(vocab) : 0};
    for (int i = 0; i < batch.rows[row].mask.count; i++) batch.mask_words.push_back(int32_t(random.bits() | 1u << (row + i) % 8));
    batch.rows[row].logprobs = random.between(-1, 20);
  }
  const auto draw = [&](Kernels& kernels) {
    const auto logits = kernels.make_activations(rows, vocab);
    kernels.upload(*logits, rows, values.data());
    kernels.begin_step(batch);
    kernels.sample(*logits, {0, rows});
    StepResult result;
    kernels.end_step();
    kernels.finish_step(result);
    return result;
  };
  const StepResult want = draw(*make_cpu_kernels(shape, limits, 1, CpuIsa::automatic));
  for (const CudaParts& parts : {CudaParts{}, simple_cuda_parts}) {
    const StepResult got = draw(*emulator::make_kernels(shape, limits, {.fast = parts}));
    expect(got.tokens == want.tokens, "the tokens");
    expect(got.top_ids == want.top_ids, "the most probable ids");
    for (int row = 0; row < rows; row++)
      expect(std::abs(got.logprobs[row] - want.logprobs[row]) < 1e-4, "logprob of row " + std::to_string(row));
  }
}

// Each weight, read back as a product with a row that is 1 in one place.
void random_weights_are_normal(Random& random) {
  const ModelShape shape = random_shape(random);
  const auto kernels = emulator::make_kernels(shape, {.batch_tokens_max = 64, .sequences_max = 1, .blocks = 8}, {});
  const int outputs = random.between(40, 100), inputs = random.between(30, 64);
  const auto matrix = kernels->make_matrix(outputs, inputs, MatrixLayout::plain);
  emulator::fill(*kernels, *matrix, random.bits(), 0.5f);
  std::vector<float> units(size_t(inputs) * inputs), weights(size_t(inputs) * outputs);
  for (int i = 0; i < inputs; i++) units[i * inputs + i] = 1;
  const auto in = kernels->make_activations(inputs, inputs), out = kernels->make_activations(inputs, outputs);
  kernels->upload(*in, inputs, units.data());
  kernels->logits(*in, *matrix, inputs, *out);
  kernels->download(*out, inputs, weights.data());
  double sum = 0, squares = 0;
  for (const float weight : weights) sum += weight, squares += weight * weight;
  const double count = double(weights.size()), bound = 5 / std::sqrt(count);
  expect(std::abs(sum / count) < 0.5 * bound, "mean " + std::to_string(sum / count));
  expect(std::abs(squares / count / 0.25 - 1) < 2 * bound, "variance " + std::to_string(squares / count));
  expect(std::set<float>(weights.begin(), weights.end()).size() > weights.size() / 3, "different ones");
}

void devices_that_do_not_reach_each_other_are_refused(Random&) {
  const StepLimits limits = {.batch_tokens_max = 8, .sequences_max = 1, .blocks = 8};
  const ModelShape shape = small_shape(20, 64);
  emulator::set_devices(2);
  const auto make_both = [&] {
    std::vector<std::unique_ptr<Kernels>> ranks;
    for (const int device : {0, 1}) ranks.push_back(emulator::make_kernels(shape_of_rank(shape, 2), limits, {.device = device}));
    return make_tensor_parallel(shape, limits, std::move(ranks));
  };
  emulator::set_peer_access(false);
  const std::string refusal = error_text([&] { make_both(); });
  emulator::set_peer_access(true);
  expect(refusal == "cuda:0 cannot read the memory of cuda:1, which tensor parallelism needs", refusal);
  for (int times = 0; times < 2; times++) make_both();
  for (const int device : {0, 1}) {
    emulator::cudaSetDevice(device);
    expect(emulator::cudaDeviceEnablePeerAccess(1 - device, 0) == emulator::cudaErrorPeerAccessAlreadyEnabled, "each reaches the other");
  }
}

void every_step_was_a_graph(const Test& recorded, Random& random) {
  const int launches_before = emulator::graph_launches();
  recorded.body(random);
  expect(emulator::graph_launches() - launches_before == recorded_steps(), "every step was a graph");
}

}  // namespace

std::vector<Test> emulator_tests() {
  std::vector<Test> tests = {
      {"emulator: a faulty kernel is named, not hung", faulty_kernels_are_named},
      {"emulator: a race changes the bytes", a_race_changes_the_bytes},
      {"emulator: a bulk copy lands no earlier than it may", copies_land_late},
      {"emulator: a kernel begins before the one ahead of it ends", a_kernel_behind_begins_early},
      {"emulator: nothing is waited for in a capture", nothing_waits_in_a_capture},
      {"emulator: cp.async, ldmatrix and mma multiply", a_warp_multiplies_by_mma},
      {"emulator: too little memory is refused at start", too_little_memory_is_refused_at_start},
      {"emulator: rows of weights are written to pinned memory", rows_are_written_to_pinned_memory},
      {"emulator: random weights are normal", random_weights_are_normal},
      {"emulator: an engine enqueues one step ahead", an_engine_enqueues_one_step_ahead},
      {"emulator: an engine refuses too little memory by name", an_engine_refuses_too_little_memory},
      {"emulator: a lost device fails every step", a_lost_device_fails_every_step},
      {"emulator: a device overwrites nothing that another still reads", a_device_overwrites_nothing_that_another_reads},
      {"emulator: a rank overwrites nothing that another still reads", a_rank_overwrites_nothing_that_another_reads},
      {"emulator: devices that do not reach each other are refused by name", devices_that_do_not_reach_each_other_are_refused},
      {"emulator: a refused step leaves those that wait as they are", a_refused_step_leaves_those_that_wait_as_they_are},
      {"emulator: attention is the same whole and in parts", attention_is_the_same_whole_and_in_parts},
      {"emulator: an older device runs what it can", an_older_device_runs_what_it_can},
      {"emulator: the last rows of a huge table are found", the_last_rows_of_a_huge_table_are_found},
      {"emulator: the last block of a huge cache is as any", the_last_block_of_a_huge_cache_is_as_any},
      under_orders({"emulator: draws are those of the CPU", draws_are_those_of_the_cpu}),
  };
  const auto take = [&](const std::vector<Test>& more, bool only_one = false) {
    for (const auto& test : more) tests.push_back(under_orders(test, only_one));
  };
  // The simple kernels have no splits, and no other product for a prefill.
  const auto without_large = [](std::vector<Test> all) {
    std::erase_if(all, [](const Test& test) {
      return test.name.find("several splits") != std::string::npos || test.name.find("of a prefill") != std::string::npos;
    });
    return all;
  };
  const Device simple = emulated("emulator, simple", {.fast = simple_cuda_parts});
  const Device fast = emulated("emulator", {});
  take(without_large(kernel_tests(simple)));
  take(without_large(attention_tests(simple)));
  take(kernel_tests(fast));
  take(attention_tests(fast));
  for (const Test& test : greedy_tests(fast, [](int step) { emulator::set_order(orders[step % orders.size()], step); })) tests.push_back(test);
  const Test recorded = recorded_test(emulated("emulator", {.records_steps = false}), fast);
  tests.push_back({recorded.name, [recorded](Random& random) { every_step_was_a_graph(recorded, random); }});
  take(step_tests(fast), true);
  const auto rank_of = [](bool records_steps) {
    return [=](const ModelShape& shape, const StepLimits& limits, int, int rank) {
      emulator::set_devices(tensor_parallel_max);
      return emulator::make_kernels(shape, limits, {.device = rank, .records_steps = records_steps});
    };
  };
  take(tensor_parallel_tests(fast, rank_of(true)), true);
  const Test recorded_together = recorded_test(together(fast, rank_of(false), 2), together(fast, rank_of(true), 2));
  tests.push_back({recorded_together.name, [recorded_together](Random& random) { every_step_was_a_graph(recorded_together, random); }});
  return tests;
}

}  // namespace ziya::test
