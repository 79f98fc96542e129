// mmap gives zero pages lazily, and an overcommitted promise is paid by the out-of-memory killer: whoever allocates
// much holds it against available_memory() first.
#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "../../engine_error.h"

namespace ziya {
namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;
constexpr size_t unlimited = std::numeric_limits<size_t>::max();

size_t machine_available(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string key, rest;
  for (size_t kilobytes = 0; file >> key >> kilobytes; std::getline(file, rest))
    if (key == "MemAvailable:") return kilobytes * 1024;
  return unlimited;
}

// How the two versions of cgroups say it. The first says of memory.stat with "total_" what the second says without.
struct CgroupVersion {
  const char *mount, *limit, *used, *prefix;
};
constexpr CgroupVersion version1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"};
constexpr CgroupVersion version2 = {"/sys/fs/cgroup", "memory.max", "memory.current", ""};

std::optional<size_t> number_in(const std::string& path) {
  std::ifstream file(path);
  size_t number = 0;
  if (!(file >> number)) return {};  // there is no such file, or it says "max"
  return number;
}

size_t reclaimable_in(const std::string& folder, const std::string& prefix) {
  std::ifstream file(folder + "/memory.stat");
  std::string key;
  size_t sum = 0;
  for (size_t bytes = 0; file >> key >> bytes;)
    if (key == prefix + "inactive_file" || key == prefix + "active_file" || key == "slab_reclaimable") sum += bytes;
  return sum;
}

size_t available_in(const std::string& folder, const CgroupVersion& version) {
  const auto limit = number_in(folder + "/" + version.limit), used = number_in(folder + "/" + version.used);
  if (!limit || !used) return unlimited;
  const size_t held = *used - std::min(*used, reclaimable_in(folder, version.prefix));
  return *limit > held ? *limit - held : 0;
}

// A group has what the groups around it leave. In a container the path may be the host's, of which only the end, or nothing, is mounted.
size_t available_along(const std::string& root, std::string path, const CgroupVersion& version) {
  const std::string mount = root + version.mount;
  size_t available = available_in(mount, version);
  for (; path.size() > 1; path.resize(path.rfind('/'))) available = std::min(available, available_in(mount + path, version));
  return available;
}

// Lines are "0::/path" of version 2 and "7:memory,hugetlb:/path" of version 1.
size_t cgroups_available(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  size_t available = unlimited;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", path = line.substr(second + 1);
    if (controllers == ",,") available = std::min(available, available_along(root, path, version2));
    if (controllers.find(",memory,") != std::string::npos) available = std::min(available, available_along(root, path, version1));
  }
  return available;
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

size_t available_memory(const std::string& root) { return std::min(machine_available(root), cgroups_available(root)); }

void unmap(void* data, size_t bytes) { munmap(data, bytes); }

Memory::Memory(size_t bytes) : OwnedMemory(mapped(bytes), bytes) {}

void Memory::populate() {
  if (bytes() == 0) return;
#if defined(MADV_POPULATE_WRITE)
  if (madvise(as<void>(), bytes(), MADV_POPULATE_WRITE) == 0) return;
#endif
  std::memset(as<void>(), 0, bytes());  // a kernel before 5.14
}

}  // namespace ziya
