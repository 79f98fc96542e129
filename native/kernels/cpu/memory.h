// Large zeroed memory on huge pages where the system has them: a 4 KiB page every 4 KiB of weights costs a TLB miss.
#pragma once

#include <cstddef>

namespace ziya {

// What this process may still touch: the machine's or its cgroup's, whichever is less.
size_t available_memory();

class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes);  // throws EngineError out_of_memory
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
