// What a process may still have, read from trees of files as machines and containers of both versions of cgroups have them.
#include "../../native/kernels/cpu/layout.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "harness.h"
#include "reference.h"

namespace ziya::test {
namespace {

constexpr size_t mebi = size_t(1) << 20;

class Tree {
 public:
  Tree() { set("proc/meminfo", "MemTotal: 9999999 kB\nMemFree: 5 kB\nMemAvailable: 1048576 kB\n"); }
  ~Tree() { std::filesystem::remove_all(root_); }

  void set(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  // A group with its files as version 2 has them, in MiB.
  void group(const std::string& path, const std::string& limit, size_t used, size_t files) {
    const std::string folder = "sys/fs/cgroup" + path + "/";
    set(folder + "memory.max", limit + "\n");
    set(folder + "memory.current", std::to_string(used * mebi) + "\n");
    set(folder + "memory.stat", "anon 1\nfile 5\ninactive_file " + std::to_string(files * mebi) + "\nactive_file 0\nunevictable 7\n");
  }
  size_t available() const { return available_memory(root_.string()) / mebi; }

 private:
  std::filesystem::path root_ = std::filesystem::temp_directory_path() / ("ziya-memory-" + std::to_string(getpid()));
};

std::string bytes(size_t mebibytes) { return std::to_string(mebibytes * mebi); }

void no_group_limits_a_machine(Random&) {
  expect(Tree().available() == 1024, "MemAvailable");
  Tree tree;
  tree.set("proc/self/cgroup", "0::/a/b\n");
  tree.group("/a", "max", 700, 0);
  expect(tree.available() == 1024, "a group without a limit");
}

void files_that_can_be_given_up_are_available(Random&) {
  Tree tree;
  tree.set("proc/self/cgroup", "0::/\n");
  tree.group("", bytes(500), 450, 400);
  expect(tree.available() == 450, "of a container whose files were read");
  tree.group("", bytes(500), 600, 0);
  expect(tree.available() == 0, "of one that is over its limit");
}

void the_narrowest_of_nested_groups_counts(Random&) {
  Tree tree;
  tree.set("proc/self/cgroup", "0::/a/b/c\n");
  tree.group("/a", bytes(900), 800, 50);
  tree.group("/a/b", bytes(300), 10, 0);
  tree.group("/a/b/c", "max", 10, 0);
  expect(tree.available() == 150, "what the outermost leaves");
  tree.group("/a/b/c", bytes(100), 10, 5);
  expect(tree.available() == 95, "what the innermost leaves");
}

void the_first_version_is_read_too(Random&) {
  Tree tree;
  tree.set("proc/self/cgroup", "12:cpu,cpuacct:/x\n7:hugetlb,memory:/docker/1\n1:name=systemd:/docker/1\n");
  const std::string folder = "sys/fs/cgroup/memory/";  // a container has its own group at the top, and the path is the host's
  tree.set(folder + "memory.limit_in_bytes", bytes(400));
  tree.set(folder + "memory.usage_in_bytes", bytes(390));
  tree.set(folder + "memory.stat", "inactive_file 1\ntotal_inactive_file " + bytes(200) + "\ntotal_active_file " + bytes(100) + "\n");
  expect(tree.available() == 310, "of a container");
  tree.set(folder + "docker/1/memory.limit_in_bytes", "9223372036854771712");
  tree.set(folder + "docker/1/memory.usage_in_bytes", bytes(390));
  expect(tree.available() == 310, "beside a group without a limit");
}

size_t pages_of(const Memory& memory) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  return (memory.bytes() + page - 1) / page;
}

size_t pages_there(const Memory& memory) {
  std::vector<unsigned char> pages(pages_of(memory));
  if (pages.empty()) return 0;
  expect(mincore(memory.as<void>(), memory.bytes(), pages.data()) == 0, "mincore");
  return size_t(std::count_if(pages.begin(), pages.end(), [](unsigned char one) { return one & 1; }));
}

void a_cache_has_its_memory_from_the_start(Random& random) {
  Memory memory(size_t(random.between(1, 5 * int(mebi))));
  expect(pages_there(memory) == 0, "nothing of what nobody wrote");
  memory.populate();
  expect(pages_there(memory) == pages_of(memory), "all of what is populated");
  expect(std::all_of(memory.as<char>(), memory.as<char>() + memory.bytes(), [](char one) { return one == 0; }), "zeros");
  for (const KvFormat format : {KvFormat::fp16, KvFormat::fp8}) {
    ModelShape shape = random_shape(random);
    shape.kv_cache = format;
    const auto kernels = make_cpu_kernels(shape, {.batch_tokens_max = 4, .sequences_max = 2}, 1, CpuIsa::automatic);
    const auto layer = kernels->make_kv_layer(random.between(100, 1000));
    const auto& [keys, values] = static_cast<const CpuKvLayer&>(*layer);
    for (const Memory* one : {&keys.numbers, &keys.scales, &values.numbers, &values.scales})
      expect(pages_there(*one) == pages_of(*one), "all of a cache's");
  }
}

}  // namespace

std::vector<Test> memory_tests() {
  return {{"no group limits a machine", no_group_limits_a_machine},
          {"files that can be given up are available", files_that_can_be_given_up_are_available},
          {"the narrowest of nested groups counts", the_narrowest_of_nested_groups_counts},
          {"a cache has its memory from the start", a_cache_has_its_memory_from_the_start},
          {"the first version of groups is read, too", the_first_version_is_read_too}};
}

}  // namespace ziya::test
