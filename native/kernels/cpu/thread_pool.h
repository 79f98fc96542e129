// The pool that runs every CPU kernel: its threads spin for the microseconds between two kernels of a step and sleep
// between steps. The calling thread is thread 0. Work is cut into more pieces than there are threads, and whoever is
// free takes the next: a thread that the system has put aside holds up one piece, not the step.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace ziya {

// Cores this process may use: physical, within its affinity and its cgroup's quota.
int physical_cores();

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // throws EngineError out_of_memory when the system has no more threads
  ~ThreadPool();

  int threads() const { return int(workers_.size()) + 1; }

  // body(index, thread) for each index in [0, count); returns when all are done.
  template <class Body>
  void each(int64_t count, const Body& body) {
    const Call call = [](const void* context, int64_t index, int thread) {
      (*static_cast<const Body*>(context))(index, thread);
    };
    run(call, &body, uint32_t(count));
  }

  // body(begin, end, thread) for contiguous pieces of [0, count).
  template <class Body>
  void split(int64_t count, const Body& body) {
    const int64_t pieces = threads() == 1 ? std::min<int64_t>(count, 1) : std::min<int64_t>(count, threads() * 4);
    each(pieces,
         [&](int64_t piece, int thread) { body(count * piece / pieces, count * (piece + 1) / pieces, thread); });
  }

 private:
  using Call = void (*)(const void* context, int64_t index, int thread);
  void run(Call call, const void* context, uint32_t count);
  void work(int thread);
  void stop();
  void take_pieces(int thread);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  uint32_t count_ = 0;
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<uint32_t> round_{0};    // what sleeping threads watch
  alignas(64) std::atomic<uint64_t> tickets_{0};  // the round, then the pieces not yet taken
  alignas(64) std::atomic<uint32_t> unfinished_{0};
};

}  // namespace ziya
