// A round is published by its tickets. Whoever lowers them by compare-and-swap has taken a piece; the round's number in
// the upper half makes a swap by a thread that slept through a round fail. call_, context_ and count_ are read only by
// who holds a piece, and a round does not end before its pieces do.
#include "thread_pool.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "../../engine_error.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ziya {
namespace {

constexpr int spins_max = 4000;  // some 50 us: longer than the gap between two kernels, shorter than that between steps

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Returns the first value that differs from `old`.
uint32_t wait_for_change(std::atomic<uint32_t>& value, uint32_t old) {
  for (int spin = 0; spin < spins_max; spin++) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
#endif
  if (cpus.empty())
    for (int cpu = 0; cpu < std::max(1, int(std::thread::hardware_concurrency())); cpu++) cpus.push_back(cpu);
  return cpus;
}

int quota_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || period <= 0) return 1 << 20;
  return std::max(1, int(std::ceil(quota / period)));
}

}  // namespace

int physical_cores() {
  std::set<std::string> cores;
  for (const int cpu : allowed_cpus()) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::min(int(cores.size()), quota_cores());
}

ThreadPool::ThreadPool(int threads) {
  try {
    for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error&) {
    stop();
    throw EngineError("out_of_memory", "the system starts no " + std::to_string(threads) + " threads");
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(Call call, const void* context, uint32_t count) {
  if (workers_.empty() || count <= 1) {
    for (uint32_t i = 0; i < count; i++) call(context, i, 0);
    return;
  }
  call_ = call;
  context_ = context;
  count_ = count;
  unfinished_.store(count, std::memory_order_relaxed);
  const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  tickets_.store(uint64_t(round) << 32 | count, std::memory_order_release);
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  take_pieces(0);
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;)
    left = wait_for_change(unfinished_, left);
}

void ThreadPool::take_pieces(int thread) {
  uint64_t tickets = tickets_.load(std::memory_order_acquire);
  while (uint32_t(tickets) != 0) {
    if (!tickets_.compare_exchange_weak(tickets, tickets - 1, std::memory_order_acq_rel)) continue;
    call_(context_, count_ - uint32_t(tickets), thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    tickets = tickets_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int thread) {
  for (uint32_t round = 0;;) {
    round = wait_for_change(round_, round);
    if (stopping_) return;
    take_pieces(thread);
  }
}

}  // namespace ziya
