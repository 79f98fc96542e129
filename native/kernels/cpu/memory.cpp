// mmap gives zero pages lazily, and an overcommitted promise is paid by the out-of-memory killer: whoever allocates
// much holds it against available_memory() first.
#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "../../engine_error.h"

namespace ziya {
namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;
constexpr size_t unlimited = std::numeric_limits<size_t>::max();

size_t machine_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, rest;
  for (size_t kilobytes = 0; file >> key >> kilobytes; std::getline(file, rest))
    if (key == "MemAvailable:") return kilobytes * 1024;
  return unlimited;
}

size_t cgroup_available() {
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"), used_file("/sys/fs/cgroup/memory.current");
  size_t limit = 0, used = 0;
  if (!(limit_file >> limit) || !(used_file >> used)) return unlimited;  // none, or "max"
  return limit > used ? limit - used : 0;
}

void* mapped(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw EngineError("out_of_memory", "cannot have " + std::to_string(bytes >> 20) + " MiB of memory");
#if defined(MADV_HUGEPAGE)
  if (bytes >= huge_page_bytes) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

size_t available_memory() { return std::min(machine_available(), cgroup_available()); }

void unmap(void* data, size_t bytes) { munmap(data, bytes); }

Memory::Memory(size_t bytes) : OwnedMemory(mapped(bytes), bytes) {}

}  // namespace ziya
