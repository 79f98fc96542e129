#include "runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

namespace ziya::emulator {
namespace {

constexpr int poison = 0xff;
constexpr size_t allocation_alignment = 256;
// All of an allocation is written when it is made: its pages, taken one by one, cost a fifth of the tests' time.
#if defined(MAP_POPULATE)
constexpr int pages_at_once = MAP_POPULATE;
#else
constexpr int pages_at_once = 0;
#endif

// From so many bytes on an allocation is sparse: it takes memory for what is written of it alone, and begins as zeros.
constexpr size_t sparse_bytes = size_t(1) << 30;

struct Allocation {
  unsigned char* mapping;
  size_t mapped_bytes, bytes;
};

std::mutex mutex;                 // of all that follows, and of the streams' queues
std::recursive_mutex device_mutex;  // of whoever runs operations; before the other
std::vector<Stream*> streams;
std::map<void*, Allocation> allocations;
std::map<const void*, size_t> pinned;  // their bytes
int devices = 1;
int compute_capability = 9;
bool has_peer_access = true;
std::set<std::pair<int, int>> peers;  // the first may read the other's memory
thread_local int chosen_device = 0;
size_t memory_max = size_t(8) << 30;
size_t in_use = 0;
Pace pace = Pace::late;
uint64_t pace_random = 1;
std::atomic<bool> is_lost{false};
std::atomic<int> launched_graphs{0};
constexpr uint64_t digest_begin = 0xcbf29ce484222325u;  // FNV-1a
uint64_t digest = digest_begin;

size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// What calls that enqueue or wait return.
cudaError_t outcome() { return is_lost ? cudaErrorLaunchFailure : cudaSuccess; }

thread_local int captures = 0;  // of this thread, which may neither allocate nor wait meanwhile

struct Next {
  Operation operation;
  std::shared_ptr<const Launch> behind;  // a kernel that is to follow at once
};

std::optional<Next> next_of(Stream* stream, uint64_t until) {
  const std::lock_guard lock(mutex);
  if (is_lost) stream->waiting.clear();
  if (stream->begun >= until || stream->waiting.empty()) return std::nullopt;
  Next next = {std::move(stream->waiting.front()), nullptr};
  stream->waiting.pop_front();
  if (++stream->begun == until || stream->waiting.empty()) return next;
  const auto& behind = stream->waiting.front().kernel;
  if (behind != nullptr && behind->starts_early) next.behind = behind;
  return next;
}

EarlyBlocks early[2];
int turn = 0;  // early[turn] are of the kernel that is next, the others of the one behind it

// The blocks of the kernel behind that begin early do so before this one's, whose blocks are known to have the end of the one before.
void perform(const Next& next) {
  const auto& [kernel, other] = next.operation;
  if (kernel == nullptr) return other();
  EarlyBlocks& own = early[turn];
  const uint64_t begun = own.count();
  turn = 1 - turn;
  if (next.behind != nullptr) early[turn].begin(*next.behind);
  own.go_on();
  run(*kernel, begun);
}

// Does the first so many of what the stream was asked. What fails ends all that waits behind it.
void advance(Stream* stream, uint64_t until) {
  const std::lock_guard device(device_mutex);
  try {
    while (const auto next = next_of(stream, until)) perform(*next);
  } catch (...) {
    for (EarlyBlocks& blocks : early) blocks.forget();
    const std::lock_guard lock(mutex);
    stream->waiting.clear();
    stream->begun = stream->enqueued;
    throw;
  }
}

uint64_t next_random(uint64_t below) {
  pace_random = pace_random * 6364136223846793005u + 1442695040888963407u;
  return (pace_random >> 33) % below;
}

// One of the streams that go by chance goes on by some operations, or none does. In the order in which they were made, so that a
// seed says which.
void advance_some() {
  constexpr uint64_t operations_max = 12;
  const std::lock_guard device(device_mutex);
  Stream* chosen = nullptr;
  uint64_t until = 0;
  {
    const std::lock_guard lock(mutex);
    std::vector<Stream*> behind;
    for (Stream* stream : streams)
      if (stream->pace == Pace::random && !stream->waiting.empty()) behind.push_back(stream);
    if (behind.empty() || next_random(3) > 0) return;
    chosen = behind[next_random(behind.size())];
    until = chosen->begun + 1 + next_random(operations_max);
  }
  advance(chosen, until);
}

uint64_t enqueued_on(const Stream* stream) {
  const std::lock_guard lock(mutex);
  return stream->enqueued;
}

// Memory is given back when nothing uses it any more. Nobody is left to be told of a failure.
void finish_everything() {
  const std::lock_guard device(device_mutex);
  std::vector<Stream*> all;
  {
    const std::lock_guard lock(mutex);
    all = streams;
  }
  for (Stream* stream : all) {
    try {
      advance(stream, enqueued_on(stream));
    } catch (...) {
    }
  }
}

}  // namespace

void enqueue_now(cudaStream_t stream, Operation operation);

void set_devices(int count) { devices = count; }
void set_compute_capability(int major) { compute_capability = major; }
void set_peer_access(bool can) {
  has_peer_access = can;
  peers.clear();
}
void set_pace(Pace new_pace, uint64_t seed) {
  const std::lock_guard lock(mutex);
  pace = new_pace;
  pace_random = seed;
}
void set_lost(bool lost) { is_lost = lost; }
void set_memory_max(size_t bytes) { memory_max = bytes; }
size_t memory_in_use() { return in_use; }
int graph_launches() { return launched_graphs; }
bool is_pinned(const void* pointer, size_t bytes) {
  const std::lock_guard lock(mutex);
  const auto* begin = static_cast<const char*>(pointer);
  return std::any_of(pinned.begin(), pinned.end(), [&](const auto& memory) {
    const auto* own = static_cast<const char*>(memory.first);
    return begin >= own && begin + bytes <= own + memory.second;
  });
}
uint64_t take_download_digest() { return std::exchange(digest, digest_begin); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = devices;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= devices) return cudaErrorInvalidValue;
  chosen_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = has_peer_access && device != peer;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  if (!has_peer_access || peer == chosen_device) return cudaErrorInvalidValue;
  return peers.insert({chosen_device, peer}).second ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  // Few multiprocessors, so that small tests have more tiles than blocks.
  *properties = {"emulator", compute_capability, 0, 6, 227 << 10, 50 << 20};
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *total_bytes = memory_max;
  *free_bytes = memory_max - in_use;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  const std::lock_guard lock(mutex);
  *pointer = nullptr;
  if (in_use + bytes > memory_max) return cudaErrorMemoryAllocation;
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  const size_t mapped = round_up(round_up(bytes, allocation_alignment), page) + page;
  const bool is_sparse = bytes >= sparse_bytes;
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (is_sparse ? MAP_NORESERVE : pages_at_once), -1, 0);
  if (mapping == MAP_FAILED) return cudaErrorMemoryAllocation;
  auto* begin = static_cast<unsigned char*>(mapping);
  mprotect(begin + mapped - page, page, PROT_NONE);
  unsigned char* data = begin + mapped - page - round_up(bytes, allocation_alignment);
  const size_t kept = is_sparse ? bytes : 0;
  std::memset(data + kept, poison, round_up(bytes, allocation_alignment) - kept);
  allocations[data] = {begin, mapped, bytes};
  in_use += bytes;
  *pointer = data;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  finish_everything();
  const std::lock_guard lock(mutex);
  const auto found = allocations.find(pointer);
  if (pointer == nullptr) return cudaSuccess;
  if (found == allocations.end()) return cudaErrorInvalidValue;
  const Allocation allocation = found->second;
  const auto* data = static_cast<unsigned char*>(pointer);
  for (size_t i = allocation.bytes; i < round_up(allocation.bytes, allocation_alignment); i++) {
    if (data[i] == poison) continue;
    std::fprintf(stderr, "a kernel wrote beyond an allocation of %zu bytes\n", allocation.bytes);
    std::abort();
  }
  in_use -= allocation.bytes;
  munmap(allocation.mapping, allocation.mapped_bytes);
  allocations.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  *pointer = std::malloc(bytes);
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(mutex);
  pinned[*pointer] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  finish_everything();
  std::free(pointer);
  const std::lock_guard lock(mutex);
  pinned.erase(pointer);
  return cudaSuccess;
}

void enqueue(cudaStream_t stream, Operation operation) {
  if (stream == nullptr) return perform({std::move(operation), nullptr});
  if (operation.kernel != nullptr && stream->device != chosen_device)
    throw std::runtime_error(std::string("kernel ") + operation.kernel->kernel + " is launched on a stream of a device that was not chosen");
  if (stream->capturing != nullptr) return stream->capturing->operations.push_back({stream, std::move(operation)});
  enqueue_now(stream, std::move(operation));
}

void enqueue_now(cudaStream_t stream, Operation operation) {
  {
    const std::lock_guard lock(mutex);
    stream->waiting.push_back(std::move(operation));
    stream->enqueued++;
  }
  if (stream->pace == Pace::early) advance(stream, enqueued_on(stream));
  if (stream->pace == Pace::random) advance_some();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  enqueue(stream, {nullptr, [=] {
    std::memcpy(to, from, bytes);
    const auto* data = static_cast<const unsigned char*>(from);
    for (size_t i = 0; kind == cudaMemcpyDeviceToHost && i < bytes; i++) digest = (digest ^ data[i]) * 0x100000001b3u;
  }});
  return outcome();
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

// Whole pages of a sparse allocation are given back, and read as zeros.
void clear_sparse(void* to, size_t bytes) {
  const auto page = uintptr_t(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<uintptr_t>(to), end = begin + bytes;
  const uintptr_t first = round_up(begin, page), last = end / page * page;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  std::memset(to, 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, end - last);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  enqueue(stream, {nullptr, [=] {
    if (value == 0 && bytes >= sparse_bytes) clear_sparse(to, bytes);
    else std::memset(to, value, bytes);
  }});
  return outcome();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(mutex);
  *stream = streams.emplace_back(new Stream{.device = chosen_device, .pace = pace});
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard device(device_mutex);
  finish_everything();
  const std::lock_guard lock(mutex);
  std::erase(streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  advance(stream, enqueued_on(stream));
  return outcome();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event{.device = chosen_device};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event->device != stream->device) return cudaErrorInvalidResourceHandle;
  *event = {event->device, stream->capturing, stream, enqueued_on(stream)};
  if (stream->capturing == nullptr) return outcome();
  stream->capturing->operations.push_back({.stream = stream, .operation = {}, .is_record = true});
  event->enqueued = stream->capturing->operations.size();
  return outcome();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (event->stream != nullptr) advance(event->stream, event->enqueued);
  return outcome();
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = float(end->enqueued - begin->enqueued) * 1e-3f;
  return outcome();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->stream == nullptr) return outcome();
  if (event->captured == nullptr) {
    if (stream->capturing != nullptr) return cudaErrorStreamCaptureUnsupported;
    enqueue(stream, {nullptr, [recorded = *event] { advance(recorded.stream, recorded.enqueued); }});
    return outcome();
  }
  Graph* graph = event->stream->capturing;
  if (graph != event->captured || (stream->capturing != nullptr && stream->capturing != graph)) return cudaErrorStreamCaptureUnsupported;
  if (stream->capturing == nullptr) graph->streams.push_back(stream);
  stream->capturing = graph;
  graph->operations.push_back({.stream = stream, .operation = {}, .waits_for = size_t(event->enqueued)});
  return outcome();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->capturing = new Graph{.operations = {}, .streams = {stream}};
  captures++;
  return cudaSuccess;
}

// Whether the stream that began waits, in the end, for all that was asked of another.
bool is_joined(const Graph& graph, const Stream* stream) {
  size_t last = 0, waited_for = 0;
  for (size_t i = 0; i < graph.operations.size(); i++) {
    const CapturedOperation& operation = graph.operations[i];
    if (operation.stream == stream && !operation.is_record) last = i + 1;
    if (operation.stream == graph.streams[0] && operation.waits_for > 0 && graph.operations[operation.waits_for - 1].stream == stream)
      waited_for = operation.waits_for;
  }
  return waited_for > last;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->capturing;
  captures--;
  bool are_joined = true;
  for (Stream* captured : (*graph)->streams) {
    captured->capturing = nullptr;
    if (captured != stream) are_joined &= is_joined(**graph, captured);
  }
  if (are_joined) return cudaSuccess;
  delete std::exchange(*graph, nullptr);
  return cudaErrorStreamCaptureUnjoined;
}

// What was asked of another stream than the one that began runs on one of its own: nothing but what waits orders it behind that stream's.
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new Graph(*graph);
  for (size_t i = 1; i < graph->streams.size(); i++) {
    Stream* captured = graph->streams[i];
    Stream* own = new Stream{.device = captured->device, .pace = captured->pace};
    {
      const std::lock_guard lock(mutex);
      (*executable)->streams[i] = streams.emplace_back(own);
    }
    for (CapturedOperation& operation : (*executable)->operations)
      if (operation.stream == captured) operation.stream = own;
  }
  return cudaSuccess;
}

// On the stream that began, which is the one that it was captured on.
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  launched_graphs++;
  std::vector<std::pair<Stream*, uint64_t>> recorded(executable->operations.size());
  for (size_t i = 0; i < executable->operations.size(); i++) {
    const CapturedOperation& captured = executable->operations[i];
    if (captured.is_record) recorded[i] = {captured.stream, enqueued_on(captured.stream)};
    else if (captured.waits_for == 0) enqueue_now(captured.stream, captured.operation);
    else enqueue_now(captured.stream, {nullptr, [until = recorded[captured.waits_for - 1]] { advance(until.first, until.second); }});
  }
  return outcome();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  for (size_t i = 1; i < executable->streams.size(); i++) cudaStreamDestroy(executable->streams[i]);
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return outcome(); }

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure) return "unspecified launch failure";
  if (error == cudaErrorStreamCaptureUnjoined) return "capturing stream has unjoined work";
  if (error == cudaErrorInvalidResourceHandle) return "invalid resource handle";
  if (error == cudaErrorStreamCaptureUnsupported) return "operation not permitted when stream is capturing";
  return error == cudaSuccess ? "no error" : error == cudaErrorMemoryAllocation ? "out of memory" : "invalid value";
}

}  // namespace ziya::emulator
