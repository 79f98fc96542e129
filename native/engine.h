// A model on a device with a thread of its own: loads it, then runs steps one after the other. Where kernels are enqueued
// only, a second thread waits for results, so that the next step is enqueued meanwhile. Callbacks are called on these threads,
// in the order of the steps.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine_error.h"
#include "models/model.h"

namespace ziya {

// TypeScript read this of a model's folder.
struct ModelDescription {
  std::string architecture;
  ModelShape shape;
  std::vector<TensorSource> tensors;
  struct Adapter {
    AdapterShape shape;
    std::vector<TensorSource> tensors;
  };
  std::vector<Adapter> adapters = {};
};

struct EngineOptions {
  std::string device;  // auto, cpu, cuda:N, or cuda:N,M,... by ranges of layers, tensor_parallel devices a range
  int threads = 0;     // 0 = physical cores
  CpuIsa isa = CpuIsa::automatic;
  int tensor_parallel = 1;  // so many devices compute every layer together; on a CPU they are logical
  StepLimits limits;   // blocks 0 = every sequence at full context, or what the memory holds of that
  std::function<std::unique_ptr<Kernels>(const ModelShape&, const StepLimits&)> make_kernels;  // a test's, for the device's
};

struct EngineInfo {
  std::string device;
  std::string arithmetic;       // what decides the bits of all it computes
  std::string weights_digest;   // 16 hexadecimal digits, of the weights as they are computed with
  std::vector<std::string> adapter_digests;  // the same of each adapter's
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t parameters = 0;
  int blocks = 0;
};

// The N of cuda:N, or N, M, ... of cuda:N,M,...; empty where the name is not of that form.
std::vector<int> cuda_numbers(const std::string& device);

// Throw EngineError bad_shape and bad_batch, naming the field.
void check_shape(const Architecture& architecture, const ModelShape& shape, const StepLimits& limits);
// References may be to as many rows.
void check_batch(const StepBatch& batch, const ModelShape& shape, const StepLimits& limits, int rows_before = 0);

class Engine {
 public:
  using Error = std::optional<EngineError>;
  struct Events {
    std::function<void(uint64_t bytes_done, uint64_t bytes_total)> on_progress;
    std::function<void(Error)> on_loaded;
    std::function<void()> on_closed;  // the thread's last act
  };
  using OnStep = std::function<void(StepResult, Error)>;

  static constexpr size_t waiting_max = 8;

  // Starts loading. Throws EngineError out_of_memory when there is no thread to be had.
  Engine(ModelDescription model, const EngineOptions& options, Events events);
  // Cancels what runs, at the next layer or slice, and joins.
  ~Engine();

  // Throws EngineError engine_closed, or bad_batch when waiting_max steps wait already. A step may refer to rows of the one that
  // was submitted before it, and is refused where that one was.
  void submit(StepBatch batch, OnStep on_step);

  // Lets what runs finish, and refuses what waits.
  void close();
  void join();

  const EngineInfo& info() const { return info_; }  // once loaded

 private:
  struct Job {
    StepBatch batch;
    OnStep on_step;
  };
  using Clock = std::chrono::steady_clock;
  // A step that was begun, or refused.
  struct BegunStep {
    OnStep on_step;
    Clock::time_point began;
    StepResult result;
    Error error;
  };
  std::thread start_thread(void (Engine::*body)());
  void run();
  bool load();
  void add_adapters();
  std::string fill(const Weights& weights, const std::vector<TensorSource>& tensors, const LoadProgress& progress) const;
  std::optional<Job> next_job();
  void run_job(Job job);
  Error begin(const StepBatch& batch, StepResult& result);
  void finish(BegunStep step);
  void read_results();
  void refuse_waiting();

  const ModelDescription description_;
  EngineOptions options_;
  const Events events_;
  EngineInfo info_;

  std::optional<Devices> devices_;
  std::unique_ptr<Model> model_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  std::deque<BegunStep> begun_;  // that read_results has to finish
  int unfinished_ = 0;           // those and the one that it waits for
  bool closing_ = false, reading_ends_ = false;
  std::atomic<bool> cancelled_{false};
  int rows_before_ = 0;  // that a step may refer to
  Clock::time_point finished_{};
  std::thread thread_, reader_;
};

}  // namespace ziya
