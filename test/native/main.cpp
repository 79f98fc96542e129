// Runs every test on every device this machine has.
// usage: kernel-test [--seed N] [--only PART_OF_A_NAME]... [--slow SECONDS: name the tests that take as long] [--at-most N: of those tests]
//        [--list: name them and run none] [--require-device: fail where there is no GPU] [--no-early-start] [--no-recording: on a GPU]
// DRAWS=all takes every case of the emulator's tests too.
#include <algorithm>
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
  for (const auto& of : {model_tests, identity_tests, lookahead_tests, sample_tests, adapter_step_tests})
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

std::vector<Test> all_tests([[maybe_unused]] const Launches& launches) {
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
  take(tensor_parallel_tests(devices.back(), [make = devices.back().make](const ModelShape& shape, const StepLimits& limits, int threads, int) {
    return make(shape, limits, threads);
  }));
#if defined(ZIYA_CUDA)
  take(cuda_tests(launches));
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

struct Arguments {
  uint64_t seed = std::random_device()();
  std::vector<std::string> only;
  double slow = 1e9;
  size_t at_most = SIZE_MAX;
  bool lists = false, requires_device = false;
  Launches launches;
};

Arguments parsed(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--list") arguments.lists = true;
    else if (name == "--require-device") arguments.requires_device = true;
    else if (name == "--no-early-start") arguments.launches.start_early = false;
    else if (name == "--no-recording") arguments.launches.record_steps = false;
    else if (i + 1 == argc) throw EngineError("usage", name);
    else if (name == "--seed") arguments.seed = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--only") arguments.only.push_back(argv[++i]);
    else if (name == "--slow") arguments.slow = std::strtod(argv[++i], nullptr);
    else if (name == "--at-most") arguments.at_most = std::strtoull(argv[++i], nullptr, 10);
    else throw EngineError("usage", name);
  }
  return arguments;
}

std::vector<Test> wanted_tests(const Arguments& arguments) {
  std::vector<Test> tests = all_tests(arguments.launches);
  std::erase_if(tests, [&](const Test& test) {
    return !arguments.only.empty() && std::none_of(arguments.only.begin(), arguments.only.end(), [&](const std::string& part) {
      return test.name.find(part) != std::string::npos;
    });
  });
  if (tests.size() > arguments.at_most) tests.resize(arguments.at_most);
  return tests;
}

bool is_device_missing(const Arguments& arguments) {
#if defined(ZIYA_CUDA)
  return arguments.requires_device && !has_cuda_device();
#else
  return arguments.requires_device;
#endif
}

int run(const Arguments& arguments) {
  int passed = 0, failed = 0;
  for (const Test& test : wanted_tests(arguments)) {
    const auto start = std::chrono::steady_clock::now();
    ++(passes(test, arguments.seed) ? passed : failed);
    std::fflush(stdout);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds >= arguments.slow) std::printf("%.1f s: %s\n", seconds, test.name.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && (passed > 0 || !arguments.requires_device) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parsed(argc, argv);
    if (arguments.lists) {
      for (const Test& test : wanted_tests(arguments)) std::printf("%s\n", test.name.c_str());
      return 0;
    }
    std::printf("kernel-test --seed %llu\n", static_cast<unsigned long long>(arguments.seed));
    if (!is_device_missing(arguments)) return run(arguments);
    std::printf("there is no device that the kernels are for\n");
  } catch (const EngineError& error) {
    std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
  }
  return 2;
}
