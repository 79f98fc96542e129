// The part of the CUDA runtime that the backend uses, as operations of the host. A stream does what it is asked in order, and
// as late as it may: when somebody waits for it; or, where a test wants that, at once, or whenever chance has it go on. So what is
// read or overwritten too early shows, memory of the host too: a copy reads and writes it when its stream comes to it.
// A graph is the list of what was asked of its streams while it was captured: of that which began, and of those that came to wait for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "execution.h"

namespace ziya::emulator {

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorPeerAccessAlreadyEnabled = 704,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureUnjoined = 904,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2 };

// A kernel, or something else.
struct Operation {
  std::shared_ptr<const Launch> kernel;
  std::function<void()> other;
};
struct Stream;
// Of a captured stream: an operation, or the record of an event, or, of what was recorded there, to wait.
struct CapturedOperation {
  Stream* stream;
  Operation operation;
  bool is_record = false;
  size_t waits_for = 0;  // counted from 1; 0: for none
};
struct Graph {
  std::vector<CapturedOperation> operations;
  std::vector<Stream*> streams;  // the one that began first; where it runs, each of the others has another in its place
};
using cudaGraph_t = Graph*;
using cudaGraphExec_t = Graph*;

enum class Pace {
  late,    // what somebody waits for, and no more
  early,   // all that it may, at once
  random,  // with everything that is asked of anyone, some of the streams of this pace go on by some operations; seeded
};

struct Stream {
  int device = 0;
  Graph* capturing = nullptr;
  Pace pace = Pace::late;
  std::deque<Operation> waiting;
  uint64_t enqueued = 0, begun = 0;  // operations
};
using cudaStream_t = Stream*;
struct Event {
  int device = 0;
  const Graph* captured = nullptr;  // where it was recorded in a capture, as the `enqueued`th of its operations
  Stream* stream = nullptr;  // null until it is recorded
  uint64_t enqueued = 0;     // operations of the stream that it comes after
};
using cudaEvent_t = Event*;

// Of a multiprocessor of sm_90.
constexpr size_t shared_memory = 228 << 10, shared_bytes_reserved = 1 << 10;  // reserved in each block
constexpr int resident_threads = 2048;

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t sharedMemPerBlockOptin, l2CacheSize;
};

// Logical devices share this machine; the limit is of all memory together.
void set_devices(int count);
void set_memory_max(size_t bytes);
void set_compute_capability(int major);
// Whether a device can read another's memory.
void set_peer_access(bool can);
// Sets the order of the streams made from now on.
void set_pace(Pace pace, uint64_t seed = 1);
// The device is as after a sticky error: nothing is done any more, and every call says so.
void set_lost(bool is_lost);
// Device memory that has not been freed.
size_t memory_in_use();
// Graphs launched since the program began.
int graph_launches();
// Whether all of these bytes are pinned memory of the host.
bool is_pinned(const void* pointer, size_t bytes);
// A digest of all bytes that were copied to the host since the last call.
uint64_t take_download_digest();

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);  // of the device that this thread chose
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMalloc(void** pointer, size_t bytes);  // poisoned, or sparse from 1 GB on; a page that nobody may touch follows
cudaError_t cudaFree(void* pointer);                   // aborts when the slack after the last byte was written
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end);  // a microsecond an operation
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

// Blocks that a multiprocessor has place for at once, by their shared memory and their threads.
template <class... Parameters>
int resident_blocks(const char*, void (*)(Parameters...), int threads, size_t shared_bytes) {
  return int(std::min(shared_memory / (shared_bytes + shared_bytes_reserved), size_t(resident_threads / threads)));
}

inline std::atomic<bool> starts_early{true};  // kernels, before the one ahead of them ends
inline thread_local bool waits_for_all = false;  // those that this thread launches, because some of it may be another device's

// At once where there is no stream.
void enqueue(cudaStream_t stream, Operation operation);

template <class... Parameters, class... Arguments>
void launch_kernel(const char* name, void (*kernel)(Parameters...), unsigned cluster, dim3 grid, dim3 block_size, size_t shared_bytes,
                   cudaStream_t stream, Arguments... arguments) {
  const Launch launch = {name, cluster, grid, block_size, shared_bytes, [=] { kernel(Parameters(arguments)...); }, starts_early && !waits_for_all};
  enqueue(stream, {std::make_shared<const Launch>(launch), nullptr});
}

}  // namespace ziya::emulator
