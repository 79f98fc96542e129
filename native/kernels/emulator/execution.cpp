#include "execution.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

// Saves the registers that a call preserves and changes the stack.
asm(R"(
.text
.globl ziya_emulator_switch
ziya_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void ziya_emulator_switch(void** save, void* to);

namespace ziya::emulator {
namespace {

constexpr size_t stack_bytes = 64 << 10;
constexpr int saved_registers = 6;
constexpr int poison = 0xff;  // NaN as a float or a half, -1 as an integer
constexpr size_t guard_bytes = 256;
constexpr size_t shared_alignment = 1024;  // that of swizzled tiles
// Of sm_90.
constexpr size_t shared_bytes_max = 227 << 10;
constexpr unsigned grid_x_max = 0x7fffffff, grid_y_max = 65535;
constexpr int registers_max = 65536, registers_multiple = 8;

constexpr const char* kernel_ahead = "griddepcontrol.wait";

Order order = Order::round_robin;
uint64_t order_seed = 1;

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::vector<uint64_t> block_order(uint64_t count) {
  std::vector<uint64_t> result(count);
  for (uint64_t i = 0; i < count; i++) result[i] = order == Order::reversed ? count - 1 - i : i;
  if (order == Order::random)
    for (uint64_t i = count; i > 1; i--) std::swap(result[i - 1], result[mix(order_seed + i) % i]);
  return result;
}

uint64_t cluster_count(const Launch& launch) { return uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z / launch.cluster; }

// Of the cluster's first block.
dim3 block_index(const Launch& launch, uint64_t cluster) {
  const uint64_t id = cluster * launch.cluster;
  return dim3(unsigned(id % launch.grid.x), unsigned(id / launch.grid.x % launch.grid.y),
              unsigned(id / launch.grid.x / launch.grid.y));
}

uint64_t block_seed(uint64_t id) { return mix(order_seed * 1000003 + id); }

void land_in_shared(const AsyncCopy& copy) {
  if (copy.from != nullptr)
    std::memcpy(copy.to, copy.from, copy.bytes);
  else
    std::memset(copy.to, 0, copy.bytes);
}

void check_launch(const Launch& launch) {
  const auto refuse = [&](const char* why) { throw std::runtime_error("kernel " + std::string(launch.kernel) + ": " + why); };
  if (launch.shared_bytes > shared_bytes_max) refuse("more shared memory than a block can have");
  if (launch.cluster > cluster_max || launch.grid.x % launch.cluster != 0) refuse("a grid that is not of whole clusters");
  if (cluster_count(launch) == 0 || launch.grid.x > grid_x_max || launch.grid.y > grid_y_max || launch.grid.z > grid_y_max)
    refuse("a grid that cannot be launched");
}

}  // namespace

thread_local Block* block = nullptr;

void set_order(Order new_order, uint64_t seed) {
  order = new_order;
  order_seed = seed;
}

void run(const Launch& launch, uint64_t begun) {
  check_launch(launch);
  std::vector<uint64_t> blocks = block_order(cluster_count(launch));
  std::erase_if(blocks, [&](uint64_t id) { return id < begun; });
  std::atomic<size_t> next{0};
  // Launches come from one thread at a time, or from loaders that pack: these wait for each other.
  static Block own_block, helper_block;
  static std::mutex one_launch;
  const std::lock_guard launching(one_launch);
  std::mutex mutex;
  std::exception_ptr error;
  const auto run_blocks = [&](Block& own) {
    try {
      for (size_t i = next++; i < blocks.size(); i = next++) {
        own.run(launch, block_index(launch, blocks[i]), block_seed(blocks[i]));
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = blocks.size();
    }
  };
  constexpr size_t worth_a_thread = 32;
  if (blocks.size() >= worth_a_thread && std::thread::hardware_concurrency() > 1) {
    std::thread helper([&] { run_blocks(helper_block); });
    run_blocks(own_block);
    helper.join();
  } else {
    run_blocks(own_block);
  }
  if (error) std::rethrow_exception(error);
}

Block::~Block() {
  if (stacks_ != nullptr) munmap(stacks_, stacks_bytes_);
}

void Block::run(const Launch& launch, dim3 index, uint64_t seed) {
  prepare(launch, index, seed);
  block = this;
  run_next(&scheduler_);
  block = nullptr;
  check_finished();
}

void Block::begin(const Launch& launch, dim3 index, uint64_t seed) {
  prepare(launch, index, seed);
  is_ahead_ = true;
  block = this;
  run_next(&scheduler_);
  block = nullptr;
}

void Block::go_on() {
  is_ahead_ = false;
  for (Fiber& fiber : fibers_)
    if (!fiber.returned && fiber.waits_at == kernel_ahead) wake(&fiber);
  block = this;
  if (failure_.empty()) run_next(&scheduler_);
  block = nullptr;
  check_finished();
}

void EarlyBlocks::begin(const Launch& launch) {
  check_launch(launch);
  launch_ = launch;
  count_ = std::min(blocks_max, cluster_count(launch));
  for (uint64_t id = 0; id < count_; id++) blocks_[id].begin(launch_, block_index(launch_, id), block_seed(id));
}

void EarlyBlocks::go_on() {
  const uint64_t count = std::exchange(count_, 0);
  for (uint64_t id = 0; id < count; id++) blocks_[id].go_on();
}

void Block::prepare(const Launch& launch, dim3 index, uint64_t seed) {
  launch_ = &launch;
  index_ = index;
  random_ = seed;
  late_rank_ = int(next_random() % (cluster() + 1));  // of none, where it is that of no block
  failure_.clear();
  has_waited_ = is_ahead_ = is_published_ = false;
  shown_barriers_.clear();
  in_flight_.clear();

  const dim3 size = launch.block;
  const int block_threads = int(size.x * size.y * size.z), threads = block_threads * cluster();
  if (cluster() > 1 && block_threads % warp_threads != 0) throw std::runtime_error(std::string(launch.kernel) + ": a cluster of broken warps");
  if (threads > warps_max * warp_threads) throw std::runtime_error(std::string(launch.kernel) + ": too many threads a block");
  const auto reset = [](Barrier& barrier, int expected) {
    barrier.expected = expected;
    barrier.arrived = 0;
    barrier.waiting.clear();
  };
  for (Barrier& barrier : block_barriers_) reset(barrier, block_threads);
  reset(cluster_barrier_, threads);
  for (int w = 0; w < warps_max; w++) reset(warp_barriers_[w], std::min(warp_threads, threads - w * warp_threads));
  for (int g = 0; g < warps_max / 4; g++) reset(warpgroup_barriers_[g], 4 * warp_threads);
  for (auto& of_block : named_barriers_)
    for (Barrier& barrier : of_block) reset(barrier, 0);
  for (auto& kept : operands_)
    for (MatrixOperands& operands : kept) operands.product = 0;

  const size_t block_bytes = (launch.shared_bytes + guard_bytes + shared_alignment - 1) / shared_alignment * shared_alignment;
  shared_memory_.assign(block_bytes * cluster() + shared_alignment, poison);
  const auto address = reinterpret_cast<uintptr_t>(shared_memory_.data());
  for (int rank = 0; rank < cluster(); rank++)
    shared_[rank] = shared_memory_.data() + (shared_alignment - address % shared_alignment) % shared_alignment + rank * block_bytes;

  if (stacks_bytes_ < threads * stack_bytes) {
    if (stacks_ != nullptr) munmap(stacks_, stacks_bytes_);
    stacks_bytes_ = threads * stack_bytes;
    stacks_ = static_cast<unsigned char*>(
        mmap(nullptr, stacks_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks_ == MAP_FAILED) throw std::bad_alloc();
  }
  fibers_.resize(threads);
  ready_.clear();
  ready_begin_ = 0;
  for (int i = 0; i < threads; i++) {
    Fiber& fiber = fibers_[i];
    fiber.reset();
    fiber.linear = i;
    fiber.rank = i / block_threads;
    fiber.registers = registers_max / block_threads / registers_multiple * registers_multiple;
    const unsigned own = unsigned(i % block_threads);
    fiber.index = dim3(own % size.x, own / size.x % size.y, own / size.x / size.y);
    // The stack looks as if enter() had been called: its return address slot leaves the stack 8 bytes off a multiple of 16.
    auto* top = reinterpret_cast<void**>(stacks_ + (i + 1) * stack_bytes - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&Block::enter);
    for (int r = 0; r < saved_registers; r++) *--top = nullptr;
    fiber.stack_pointer = top;
    ready_.push_back(&fiber);
  }
}

void Block::enter() {
  block->launch_->body();
  Block& own = *block;
  own.current_->returned = true;
  void* unused;
  own.run_next(&unused);
  __builtin_unreachable();
}

// Leaves the current fiber for the next; for run() itself when there is none.
void Block::run_next(void** save) {
  if (order == Order::random && next_random() % 8 == 0) land_one_copy();
  Fiber* next = take_ready();
  while (next == nullptr && land_one_copy()) next = take_ready();
  if (next != nullptr && save == &next->stack_pointer) return;  // woken by a copy that it landed itself
  current_ = next;
  ziya_emulator_switch(save, next != nullptr ? next->stack_pointer : scheduler_);
}

Fiber* Block::take_ready() {
  const size_t count = ready_.size() - ready_begin_;
  if (count == 0) {
    ready_.clear();
    ready_begin_ = 0;
    return nullptr;
  }
  if (order == Order::round_robin) return ready_[ready_begin_++];
  if (order == Order::random) {
    size_t drawn = next_random() % count;
    for (int again = 0; again < late_redraws && ready_[ready_begin_ + drawn]->rank == late_rank_; again++) drawn = next_random() % count;
    std::swap(ready_[ready_begin_ + drawn], ready_.back());
  }
  Fiber* last = ready_.back();
  ready_.pop_back();
  return last;
}

void Block::sleep(const char* where, int line) {
  current_->waits_at = where;
  current_->waits_line = line;
  run_next(&current_->stack_pointer);
  current_->waits_at = nullptr;
}

// In the order that others go in, it stands behind all of them.
void Block::let_others_go_on() {
  if (order == Order::round_robin) return;
  ready_.insert(ready_.begin() + int64_t(ready_begin_), current_);
  sleep("mbarrier.arrive", 0);
}

void Block::wait_for_kernel_ahead() {
  has_waited_ = true;
  if (is_ahead_) sleep(kernel_ahead, 0);
}

void Block::show_barriers() {
  auto& own = current_->unfenced_barriers;
  shown_barriers_.insert(shown_barriers_.end(), own.begin(), own.end());
  own.clear();
}

void Block::use_publication(const void* counter) {
  if (is_shared(counter)) return;
  if (!is_published_) fail("an atomic on the device's memory without __threadfence before it");
  is_published_ = false;
}

void Block::wake(Fiber* fiber) {
  fiber->waits_for = nullptr;
  ready_.push_back(fiber);
}

void Block::arrive_and_wait(Barrier& barrier, const char* name, int line) {
  if (barrier.arrived == 0) {
    barrier.name = name;
    barrier.line = line;
  } else if (barrier.line != line || (barrier.name != name && std::strcmp(barrier.name, name) != 0)) {
    fail("divergent barrier: thread " + std::to_string(current_->linear) + " is at " + name + " (line " +
         std::to_string(line) + "), others wait at " + barrier.name + " (line " + std::to_string(barrier.line) + ")");
  }
  if (++barrier.arrived < barrier.expected) {
    barrier.waiting.push_back(current_);
    sleep(name, line);
    return;
  }
  barrier.arrived = 0;
  for (Fiber* fiber : barrier.waiting) wake(fiber);
  barrier.waiting.clear();
}

void Block::named_barrier(int id, int threads) {
  Barrier& barrier = named_barriers_[current_->rank][id];
  if (barrier.arrived > 0 && barrier.expected != threads) fail("one named barrier with two thread counts");
  barrier.expected = threads;
  arrive_and_wait(barrier, "bar.sync", id);
}

uint32_t Block::shared_offset(const void* pointer) const {
  return uint32_t(static_cast<const unsigned char*>(pointer) - shared_[current_->rank]);
}

// The rank of the block whose shared memory holds all of it; -1 where none does.
int Block::rank_of(const void* pointer, size_t bytes) const {
  const auto* begin = static_cast<const unsigned char*>(pointer);
  for (int rank = 0; rank < cluster(); rank++)
    if (begin >= shared_[rank] && begin + bytes <= shared_[rank] + launch_->shared_bytes) return rank;
  return -1;
}

bool Block::has_ended(int rank) const {
  const auto first = fibers_.begin() + int64_t(fibers_.size()) / cluster() * rank;
  return std::all_of(first, first + int64_t(fibers_.size()) / cluster(), [](const Fiber& fiber) { return fiber.returned; });
}

void Block::start_copy(const AsyncCopy& copy) {
  if (copy.bytes % 16 != 0 || reinterpret_cast<uintptr_t>(copy.to) % 16 != 0 || reinterpret_cast<uintptr_t>(copy.from) % 16 != 0)
    fail("a bulk copy that is not of aligned 16-byte units");
  if (rank_of(copy.to, copy.bytes) < 0) fail("a bulk copy beyond the shared memory");
  if (std::find(shown_barriers_.begin(), shown_barriers_.end(), copy.barrier) == shown_barriers_.end())
    fail("a bulk copy to an mbarrier that was not initialised and fenced");
  in_flight_.push_back(copy);
  if (order == Order::round_robin) land_one_copy();
}

// It may land as soon as it is issued, and need not before it is waited for.
void Block::start_thread_copy(const AsyncCopy& copy) {
  if (order == Order::round_robin)
    land_in_shared(copy);
  else
    current_->copies.back().push_back(copy);
}

bool Block::land_one_copy() {
  if (in_flight_.empty()) return false;
  if (order == Order::random) std::swap(in_flight_[next_random() % in_flight_.size()], in_flight_.back());
  const AsyncCopy copy = in_flight_.back();
  in_flight_.pop_back();
  land(copy);
  return true;
}

// cp.async is seen by nobody before its thread has waited.
void Block::land_committed_copies(size_t groups_left) {
  auto& groups = current_->copies;
  while (groups.size() - 1 > groups_left) {
    for (const AsyncCopy& copy : groups.front()) land_in_shared(copy);
    groups.erase(groups.begin());
  }
}

void Block::land(const AsyncCopy& copy) {
  if (has_ended(rank_of(copy.to, copy.bytes))) fail("a bulk copy to a block of the cluster that has ended");
  std::memcpy(copy.to, copy.from, copy.bytes);
  copy.barrier->bytes_and_phase -= int32_t(copy.bytes) * 2;
  complete_if_due(copy.barrier);
}

void Block::arrive(TransactionBarrier* barrier, int arrivals, int bytes_expected) {
  if (barrier->pending < arrivals) fail("an mbarrier with more arrivals than it expects");
  barrier->bytes_and_phase += bytes_expected * 2;
  barrier->pending = int16_t(barrier->pending - arrivals);
  complete_if_due(barrier);
  let_others_go_on();
}

void Block::complete_if_due(TransactionBarrier* barrier) {
  if (barrier->pending != 0 || barrier->bytes() != 0) return;
  const int completed = barrier->phase();
  barrier->bytes_and_phase ^= 1;
  barrier->pending = barrier->expected;
  for (Fiber& fiber : fibers_)
    if (fiber.waits_for == barrier && fiber.waits_phase == completed) wake(&fiber);
}

void Block::wait(const TransactionBarrier* barrier, int phase) {
  if (barrier->phase() != phase) return;
  current_->waits_for = barrier;
  current_->waits_phase = phase;
  sleep("mbarrier.wait at shared offset", int(shared_offset(barrier)));
}

void Block::fail(const std::string& what) {
  failure_ = what;
  void* unused;
  Fiber* failed = current_;
  current_ = nullptr;
  ziya_emulator_switch(failed != nullptr ? &failed->stack_pointer : &unused, scheduler_);
  __builtin_unreachable();
}

void Block::check_finished() {
  const bool finished = std::all_of(fibers_.begin(), fibers_.end(), [](const Fiber& fiber) { return fiber.returned; });
  if (failure_.empty() && !finished) failure_ = "no thread can go on: " + stuck_threads();
  if (failure_.empty() && !in_flight_.empty()) failure_ = "a bulk copy that nobody has waited for";
  for (int rank = 0; rank < cluster(); rank++) {
    const unsigned char* guard = shared_[rank] + launch_->shared_bytes;
    if (failure_.empty() && !std::all_of(guard, guard + guard_bytes, [](unsigned char byte) { return byte == poison; }))
      failure_ = "a write beyond the shared memory";
  }
  int registers = 0;
  for (const Fiber& fiber : fibers_) registers += fiber.registers;
  if (failure_.empty() && registers > registers_max * cluster()) failure_ = "more registers than a multiprocessor has";
  if (failure_.empty() && !has_waited_) failure_ = "no thread waits for the kernel ahead";
  if (failure_.empty()) return;
  throw std::runtime_error("kernel " + std::string(launch_->kernel) + ", block (" + std::to_string(index_.x) + ", " +
                           std::to_string(index_.y) + ", " + std::to_string(index_.z) + "): " + failure_);
}

std::string Block::stuck_threads() const {
  std::vector<std::pair<std::string, int>> places;  // where, how many
  for (const Fiber& fiber : fibers_) {
    const std::string place = fiber.returned ? "have returned"
                                             : std::string("wait at ") + fiber.waits_at + " (" + std::to_string(fiber.waits_line) + ")";
    const auto known = std::find_if(places.begin(), places.end(), [&](const auto& p) { return p.first == place; });
    if (known == places.end())
      places.emplace_back(place, 1);
    else
      known->second++;
  }
  std::string text;
  for (const auto& [place, count] : places) text += (text.empty() ? "" : ", ") + std::to_string(count) + " threads " + place;
  return text;
}

uint64_t Block::next_random() {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return random_ >> 33;
}

}  // namespace ziya::emulator
