// A piece of memory that one object owns, and that moves with it. Where it comes from, and how it is given back, is its
// device's business.
#pragma once

#include <cstddef>
#include <utility>

namespace ziya {

template <void (*give_back)(void* data, size_t bytes)>
class OwnedMemory {
 public:
  OwnedMemory() = default;
  OwnedMemory(OwnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  OwnedMemory& operator=(OwnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~OwnedMemory() {
    if (data_ != nullptr) give_back(data_, bytes_);
  }

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 protected:
  OwnedMemory(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace ziya
