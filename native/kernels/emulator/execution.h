// CUDA's execution model on a CPU. A block runs on one OS thread; its CUDA threads are fibers that change places only
// where they wait for each other. Which one goes next is an Order: a kernel whose result depends on it has a race.
// No thread polls, so a block in which nobody can go on is reported at once, by kernel, block and barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace ziya::emulator {

struct dim3 {
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
};

// The order of fibers, of blocks, and of the moments at which asynchronous copies land.
enum class Order {
  round_robin,  // the longest ready goes next; blocks ascend; copies land as they are issued
  reversed,     // the latest ready goes next; blocks descend; copies land when nobody can go on without them, last first
  random,       // seeded
  // In the latter two, who arrives at an mbarrier lets the others go on first.
};
void set_order(Order order, uint64_t seed = 1);

struct Launch {
  const char* kernel;
  unsigned cluster;  // neighbouring blocks that run at once and reach each other's shared memory
  dim3 grid, block;
  size_t shared_bytes;
  std::function<void()> body;
  bool starts_early = true;  // before the one ahead of it ends
};
// Runs all of its clusters but the first so many. Throws std::runtime_error naming kernel, block and barrier when threads wait for each
// other forever, when one collective is entered at two places, when a block writes beyond its shared memory, or when none of its threads
// waits for the kernel ahead: the next one would then begin before that one ends. And for what the hardware would refuse to launch.
void run(const Launch& launch, uint64_t begun = 0);

constexpr int warp_threads = 32;
constexpr int warps_max = 32;     // of a cluster
constexpr int cluster_max = 2;
constexpr int late_one_in = 256;
constexpr int exchange_bytes = 64;
constexpr int named_barriers = 16;
constexpr int operands_kept = 64;  // of the products that one wait computes

struct Fiber;

struct Barrier {
  int expected = 0;
  int arrived = 0;
  const char* name = "";  // where the first to arrive did so
  int line = 0;
  std::vector<Fiber*> waiting;
};

// mbarrier.b64 as this emulator lays it out. The real one is as opaque.
struct TransactionBarrier {
  int16_t expected;
  int16_t pending;
  int32_t bytes_and_phase;  // bytes still to come * 2 + phase

  int phase() const { return bytes_and_phase & 1; }
  int bytes() const { return bytes_and_phase >> 1; }
};
static_assert(sizeof(TransactionBarrier) == 8);

struct AsyncCopy {
  void* to;
  const void* from;  // null: zeros
  uint32_t bytes;
  TransactionBarrier* barrier;  // null for cp.async
};

// One wgmma.mma_async of which this thread's part is still to be computed.
struct MatrixProduct {
  float* sums;
  int n;
  uint64_t a, b;
  bool accumulate;
  const uint32_t* a_registers = nullptr;  // this lane's, in place of a
};

// The operands of a product, as floats: the warp's 16 rows of a, and b. The first lane to come to it fills them for all.
struct MatrixOperands {
  uint32_t product = 0;  // counted from 1
  std::vector<float> a, b;
};

struct Fiber {
  void* stack_pointer = nullptr;
  dim3 index;
  int linear = 0;  // in its cluster
  int rank = 0;    // of its block there
  bool returned = false;
  const char* waits_at = nullptr;
  int waits_line = 0;
  const TransactionBarrier* waits_for = nullptr;
  int waits_phase = 0;
  uint32_t collectives = 0;  // of its warp, so far
  std::vector<std::vector<AsyncCopy>> copies;         // committed groups, and last the open one
  std::vector<std::vector<MatrixProduct>> products;  // the same
  uint32_t products_done = 0, products_forgotten = 0;
  bool are_sums_fenced = false;  // by wgmma.fence, since they were the thread's own
  std::vector<const TransactionBarrier*> unfenced_barriers;  // that it initialised
  int registers = 0;

  // For the next block; the memory of the lists stays.
  void reset() {
    returned = false;
    waits_at = nullptr;
    waits_for = nullptr;
    collectives = products_done = products_forgotten = 0;
    are_sums_fenced = false;
    unfenced_barriers.clear();
    copies.resize(1);
    copies.front().clear();
    products.resize(1);
    products.front().clear();
  }
  // That product, counted from 1, of a group that this thread has not done with.
  const MatrixProduct& product(uint32_t number) const {
    size_t behind = number - products_forgotten - 1;
    auto group = products.begin();
    for (; behind >= group->size(); group++) behind -= group->size();
    return (*group)[behind];
  }
  int warp() const { return linear / warp_threads; }
  int lane() const { return linear % warp_threads; }
};

// A block, or the blocks of a cluster, which are warps beside each other with shared memory and barriers of their own.
class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  ~Block();

  void run(const Launch& launch, dim3 index, uint64_t seed);
  // The same in two: up to where each thread waits for the kernel ahead, or for those that do; and the rest.
  void begin(const Launch& launch, dim3 index, uint64_t seed);
  void go_on();

  Fiber& current() { return *current_; }
  const Fiber& of_lane(int lane) const { return fibers_[size_t(current_->warp()) * warp_threads + lane]; }
  dim3 index() const { return dim3(index_.x + current_->rank, index_.y, index_.z); }
  int cluster() const { return int(launch_->cluster); }
  dim3 size() const { return launch_->block; }
  dim3 grid() const { return launch_->grid; }
  unsigned char* shared() { return shared_[current_->rank]; }
  // The same place in the shared memory of another block of the cluster.
  template <class T>
  T* at_rank(T* own, int rank) {
    if (has_ended(rank)) fail("a block of the cluster has ended whose shared memory is wanted");
    return reinterpret_cast<T*>(shared_[rank] + shared_offset(own));
  }
  uint32_t shared_offset(const void* pointer) const;

  void block_barrier(int line) { arrive_and_wait(block_barriers_[current_->rank], "__syncthreads", line); }
  void cluster_barrier() { arrive_and_wait(cluster_barrier_, "barrier.cluster", 0); }
  void named_barrier(int id, int threads);
  void warp_barrier(const char* name) { arrive_and_wait(warp_barriers_[current_->warp()], name, 0); }
  void warpgroup_barrier(const char* name) { arrive_and_wait(warpgroup_barriers_[current_->warp() / 4], name, 0); }

  // The warp's memory for its lanes' next collective, alike for all of them.
  unsigned char* next_slots() { return exchanged_[current_->collectives++ % 2][current_->warp()]; }
  // Every lane gives a value; returns the values of the warp's lanes, valid until the lane's next collective but one.
  template <class T>
  const T* exchange(const T& value, const char* name) {
    static_assert(sizeof(T) <= exchange_bytes);
    unsigned char* slots = next_slots();
    std::memcpy(slots + current_->lane() * sizeof(T), &value, sizeof(T));
    warp_barrier(name);
    return reinterpret_cast<const T*>(slots);
  }

  MatrixOperands& matrix_operands(uint32_t product) { return operands_[current_->warp()][product % operands_kept]; }

  void start_copy(const AsyncCopy& copy);
  void start_thread_copy(const AsyncCopy& copy);  // cp.async
  void commit_copies() { current_->copies.emplace_back(); }
  void land_committed_copies(size_t groups_left);
  void arrive(TransactionBarrier* barrier, int arrivals, int bytes_expected);
  void wait(const TransactionBarrier* barrier, int phase);
  void wait_for_kernel_ahead();
  void show_barriers();
  void publish() { is_published_ = true; }
  void use_publication(const void* counter);

  [[noreturn]] void fail(const std::string& what);

 private:
  static void enter();
  void prepare(const Launch& launch, dim3 index, uint64_t seed);
  void arrive_and_wait(Barrier& barrier, const char* name, int line);
  void sleep(const char* where, int line);
  void let_others_go_on();
  int rank_of(const void* pointer, size_t bytes) const;
  bool is_shared(const void* pointer) const { return rank_of(pointer, 1) >= 0; }
  bool has_ended(int rank) const;
  void wake(Fiber* fiber);
  void run_next(void** save);
  Fiber* take_ready();
  bool land_one_copy();
  void land(const AsyncCopy& copy);
  void complete_if_due(TransactionBarrier* barrier);
  void check_finished();
  std::string stuck_threads() const;
  uint64_t next_random();

  const Launch* launch_ = nullptr;
  dim3 index_;
  Fiber* current_ = nullptr;
  void* scheduler_ = nullptr;  // the stack pointer of run()
  std::string failure_;
  bool has_waited_ = false;    // for the kernel ahead
  bool is_ahead_ = false;      // that has not ended
  bool is_published_ = false;  // what it wrote to memory of the device, by __threadfence
  std::vector<const TransactionBarrier*> shown_barriers_;  // to copies: initialised, and fenced
  uint64_t random_ = 1;
  int late_rank_ = 0;  // in a random order, of the block of a cluster whose threads go on once in late_one_in while others can

  std::vector<Fiber> fibers_;
  std::vector<Fiber*> ready_;
  size_t ready_begin_ = 0;
  Barrier block_barriers_[cluster_max], cluster_barrier_;
  Barrier warp_barriers_[warps_max];
  Barrier warpgroup_barriers_[warps_max / 4];
  Barrier named_barriers_[cluster_max][named_barriers];
  std::vector<AsyncCopy> in_flight_;
  MatrixOperands operands_[warps_max][operands_kept];
  alignas(64) unsigned char exchanged_[2][warps_max][warp_threads * exchange_bytes];

  std::vector<unsigned char> shared_memory_;
  unsigned char* shared_[cluster_max] = {};
  unsigned char* stacks_ = nullptr;
  size_t stacks_bytes_ = 0;
};

extern thread_local Block* block;

// Blocks of a kernel that begin before the one ahead of it in its stream, as programmatic dependent launch lets them.
class EarlyBlocks {
 public:
  void begin(const Launch& launch);
  void go_on();
  uint64_t count() const { return count_; }
  void forget() { count_ = 0; }

 private:
  static constexpr uint64_t blocks_max = 4;
  Launch launch_;
  Block blocks_[blocks_max];
  uint64_t count_ = 0;
};

}  // namespace ziya::emulator
