// Owners of what CUDA gives and takes back: device and pinned host memory, all of it asked for at start; streams, events, graphs.
#pragma once

#include <cstddef>

#include "../owned_memory.h"
#include "error.h"

namespace ziya::ZIYA_DEVICE {

inline void free_device(void* data, size_t) { cudaFree(data); }
inline void free_pinned(void* data, size_t) { cudaFreeHost(data); }

// Nothing is allocated where no bytes are wanted.
inline void* device_memory(size_t bytes, const char* what) {
  void* data = nullptr;
  if (bytes > 0) check(cudaMalloc(&data, bytes), what);
  return data;
}
inline void* pinned_memory(size_t bytes, const char* what) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes), what);
  return data;
}

struct DeviceMemory : OwnedMemory<free_device> {
  DeviceMemory() = default;
  DeviceMemory(size_t bytes, const char* what) : OwnedMemory(device_memory(bytes, what), bytes) {}
};

struct PinnedMemory : OwnedMemory<free_pinned> {
  PinnedMemory(size_t bytes, const char* what) : OwnedMemory(pinned_memory(bytes, what), bytes) {}
};

class StreamHandle {
 public:
  StreamHandle() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  StreamHandle(const StreamHandle&) = delete;
  ~StreamHandle() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "the device's work"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class EventHandle {
 public:
  EventHandle() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  EventHandle(const EventHandle&) = delete;
  ~EventHandle() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }
  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "an event"); }
  void synchronize() const { check(cudaEventSynchronize(event_), "the device's work"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// The same, with the moment by the device's clock.
class TimingEvent {
 public:
  TimingEvent() { check(cudaEventCreateWithFlags(&event_, cudaEventDefault), "an event"); }
  TimingEvent(const TimingEvent&) = delete;
  ~TimingEvent() { cudaEventDestroy(event_); }
  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "an event"); }
  // Waits for the later one.
  double seconds_until(const TimingEvent& later) const {
    float ms = 0;
    check(cudaEventSynchronize(later.event_), "the device's work");
    check(cudaEventElapsedTime(&ms, event_, later.event_), "the time between events");
    return ms * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Holds what a stream was asked to do from here on until end(), which can then be launched at once, again and again.
class Recording {
 public:
  explicit Recording(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  }
  Recording(const Recording&) = delete;
  ~Recording() {
    if (executable_ == nullptr) {  // left in its middle
      cudaGraph_t graph = nullptr;
      if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    } else {
      cudaGraphExecDestroy(executable_);
    }
  }
  void end() {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph), "recording a step");
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "recording a step");
  }
  bool has_ended() const { return executable_ != nullptr; }
  void launch() const { check(cudaGraphLaunch(executable_, stream_), "replaying a step"); }

 private:
  const cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace ziya::ZIYA_DEVICE
