// Large zeroed memory on huge pages where the system has them: a 4 KiB page every 4 KiB of weights costs a TLB miss.
#pragma once

#include <cstddef>

namespace ziya {

class Memory {
 public:
  Memory() = default;
  // Throws EngineError out_of_memory, also when the machine promises more than it has free.
  explicit Memory(size_t bytes);
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace ziya
