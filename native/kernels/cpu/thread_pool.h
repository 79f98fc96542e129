// The pool that runs every CPU kernel: its threads spin for the microseconds between two kernels of a step and sleep
// between steps. The calling thread is thread 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace ziya {

// Cores this process may use: physical, within its affinity and its cgroup's quota.
int physical_cores();

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();

  int threads() const { return int(workers_.size()) + 1; }

  // body(thread) on every thread; returns when all are done.
  template <class Body>
  void run(const Body& body) {
    start([](const void* context, int thread) { (*static_cast<const Body*>(context))(thread); }, &body);
  }

  // body(begin, end, thread): contiguous shares of [0, count).
  template <class Body>
  void split(int64_t count, const Body& body) {
    run([&](int thread) {
      const int64_t begin = count * thread / threads();
      const int64_t end = count * (thread + 1) / threads();
      if (begin < end) body(begin, end, thread);
    });
  }

  // body(index, thread) for [0, count), each to whichever thread is free: for work of uneven size.
  template <class Body>
  void each(int64_t count, const Body& body) {
    std::atomic<int64_t> next{0};
    run([&](int thread) {
      for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count; i = next.fetch_add(1, std::memory_order_relaxed))
        body(i, thread);
    });
  }

 private:
  using Call = void (*)(const void* context, int thread);
  void start(Call call, const void* context);
  void work(int thread);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<uint32_t> round_{0};
  alignas(64) std::atomic<uint32_t> running_{0};
};

}  // namespace ziya
