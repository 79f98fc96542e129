// A model on a device with a thread of its own: loads it, then runs steps one after the other. Callbacks are called on
// that thread.
#pragma once

#include <atomic>
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
#include "model.h"

namespace ziya {

struct EngineOptions {
  std::string device;  // auto, cpu, cuda:N, or cuda:N,M,... by ranges of layers
  int threads = 0;     // 0 = physical cores
  CpuIsa isa = CpuIsa::automatic;
  StepLimits limits;   // blocks 0 = every sequence at full context, or what the memory holds of that
};

struct EngineInfo {
  std::string device;
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t parameters = 0;
  int blocks = 0;
};

// The N of cuda:N, or N, M, ... of cuda:N,M,...; empty where the name is not of that form.
std::vector<int> cuda_numbers(const std::string& device);

// Throw EngineError bad_shape and bad_batch, naming the field.
void check_shape(const ModelShape& shape, const StepLimits& limits);
void check_batch(const StepBatch& batch, const ModelShape& shape, const StepLimits& limits);

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
  Engine(const ModelShape& shape, std::vector<TensorSource> tensors, const EngineOptions& options, Events events);
  // Cancels what runs, at the next layer or slice, and joins.
  ~Engine();

  // Throws EngineError engine_closed, or bad_batch when waiting_max steps wait already.
  void submit(StepBatch batch, OnStep on_step);

  // Lets the running step finish, and refuses those that wait.
  void close();
  void join();

  const EngineInfo& info() const { return info_; }  // once loaded

 private:
  struct Job {
    StepBatch batch;
    OnStep on_step;
  };
  void run();
  bool load();
  std::optional<Job> next_job();
  void run_job(Job job);
  void refuse_waiting();

  const ModelShape shape_;
  const std::vector<TensorSource> tensors_;
  EngineOptions options_;
  const Events events_;
  EngineInfo info_;

  std::optional<Devices> devices_;
  std::unique_ptr<Model> model_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  bool closing_ = false;
  std::atomic<bool> cancelled_{false};
  std::thread thread_;
};

}  // namespace ziya
