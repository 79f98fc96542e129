// Large zeroed memory on huge pages where the system has them: a 4 KiB page every 4 KiB of weights costs a TLB miss.
#pragma once

#include <cstddef>
#include <string>

#include "../owned_memory.h"

namespace ziya {

// This process may still touch so many bytes: the machine's or those of any cgroup that it is in, whichever are fewest. Pages of files
// that the kernel would give up count as available. `root` is where /proc and /sys are.
size_t available_memory(const std::string& root = "");

void unmap(void* data, size_t bytes);

class Memory : public OwnedMemory<unmap> {
 public:
  Memory() = default;
  explicit Memory(size_t bytes);  // throws EngineError out_of_memory

  // Has all of its pages from now on, which it else has when they are first written: what a process holds is then known once it is
  // ready, and is not taken by another by the time that it is used.
  void populate();
};

}  // namespace ziya
