// What CUDA gives and takes back: device and pinned host memory, all of it asked for at start; streams, events, graphs.
#pragma once

#include <cstddef>
#include <utility>

#include "error.h"

namespace ziya::ZIYA_DEVICE {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(size_t bytes, const char* what) : bytes_(bytes) { check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), what); }
  DeviceMemory(DeviceMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() { cudaFree(data_); }

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class PinnedMemory {
 public:
  PinnedMemory(size_t bytes, const char* what) { check(cudaMallocHost(&data_, bytes), what); }
  PinnedMemory(const PinnedMemory&) = delete;
  ~PinnedMemory() { cudaFreeHost(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
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

// What a stream was asked to do from here on until end(), which can then be launched at once, again and again.
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
