// Runs every test on every device this machine has.
// usage: kernel-test [--seed N] [--only PART_OF_A_NAME] [--slow SECONDS: name the tests that take as long]
// DRAWS=all takes every case of the emulator's tests too.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "engine_error.h"
#include "harness.h"

namespace ziya::test {

bool takes_all_cases() {
  const char* draws = std::getenv("DRAWS");
  return draws != nullptr && std::strcmp(draws, "all") == 0;
}

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

std::string error_code(const std::function<void()>& function) {
  try {
    function();
  } catch (const EngineError& error) {
    return error.code;
  }
  return "";
}

std::string error_text(const std::function<void()>& function) {
  try {
    function();
  } catch (const EngineError& error) {
    return error.what();
  }
  return "";
}

std::vector<Test> step_tests(const Device& device) {
  std::vector<Test> tests;
  for (const auto& of : {model_tests, identity_tests, lookahead_tests, sample_tests})
    for (const Test& test : of(device)) tests.push_back(test);
  return tests;
}

}  // namespace ziya::test

namespace {

using namespace ziya;
using namespace ziya::test;

Device cpu_device(const char* name, CpuIsa isa) {
  return {name, [isa](const ModelShape& shape, const StepLimits& limits, int threads) {
            return make_cpu_kernels(shape, limits, threads, isa);
          }};
}

std::vector<Test> all_tests() {
  std::vector<Test> tests;
  const auto take = [&](std::vector<Test> more) { tests.insert(tests.end(), more.begin(), more.end()); };
  take(half_tests());
  take(memory_tests());
  take(architecture_tests());
  take(check_tests());
  take(weights_tests());
  take(engine_tests());
  std::vector<Device> devices = {cpu_device("scalar", CpuIsa::scalar)};
  if (cpu_supports(CpuIsa::avx2)) devices.push_back(cpu_device("avx2", CpuIsa::avx2));
  if (cpu_supports(CpuIsa::avx512)) devices.push_back(cpu_device("avx512", CpuIsa::avx512));
  for (const auto& device : devices) {
    take(kernel_tests(device));
    take(attention_tests(device));
    take(step_tests(device));
  }
#if defined(ZIYA_CUDA)
  take(cuda_tests());
#endif
#if defined(ZIYA_HAS_EMULATOR)
  take(emulator_tests());
#endif
  return tests;
}

bool passes(const Test& test, uint64_t seed) {
  try {
    Random random(seed ^ std::hash<std::string>()(test.name));
    test.body(random);
    return true;
  } catch (const std::exception& error) {
    std::printf("not ok: %s\n        %s\n", test.name.c_str(), error.what());
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = std::random_device()();
  const char* only = "";
  double slow = 1e9;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seed") == 0) seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--only") == 0) only = argv[i + 1];
    if (std::strcmp(argv[i], "--slow") == 0) slow = std::strtod(argv[i + 1], nullptr);
  }
  std::printf("kernel-test --seed %llu\n", static_cast<unsigned long long>(seed));
  int passed = 0, failed = 0;
  for (const auto& test : all_tests()) {
    if (test.name.find(only) == std::string::npos) continue;
    const auto start = std::chrono::steady_clock::now();
    ++(passes(test, seed) ? passed : failed);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds >= slow) std::printf("%.1f s: %s\n", seconds, test.name.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
