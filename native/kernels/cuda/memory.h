// Device and pinned host memory that frees itself. All of it is asked for at start.
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

}  // namespace ziya::ZIYA_DEVICE
