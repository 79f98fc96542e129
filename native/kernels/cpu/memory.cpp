// mmap gives zero pages lazily; large requests are first held against what the kernel calls available, because an
// overcommitted promise is paid by the out-of-memory killer.
#include "memory.h"

#include <sys/mman.h>

#include <fstream>
#include <string>
#include <utility>

#include "../../engine_error.h"

namespace ziya {
namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;
constexpr size_t unchecked_bytes = size_t(64) << 20;

bool is_available(size_t bytes) {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (size_t kilobytes = 0; file >> key >> kilobytes; std::getline(file, unit))
    if (key == "MemAvailable:") return bytes / 1024 <= kilobytes;
  return true;
}

}  // namespace

Memory::Memory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes < unchecked_bytes || is_available(bytes))
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  else
    data_ = MAP_FAILED;
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw EngineError("out_of_memory", "cannot have " + std::to_string(bytes >> 20) + " MiB of memory");
  }
#if defined(MADV_HUGEPAGE)
  if (bytes >= huge_page_bytes) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace ziya
