// The smallest test frame that prints its seed: a test is a fact and a function; a failed expectation is counted and
// told.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace ziya::test {

// A way to make kernels: the case tables run on each of these.
struct Device {
  std::string name;
  std::function<std::unique_ptr<Kernels>(const ModelShape&, const StepLimits&, int threads)> make;
  double precision = 1e-5;  // of what a kernel computes, relative to the sizes that it adds up
  bool is_slow = false;     // fewer rounds of the same, and fewer of its cases
  int ranks = 1;            // that compute together, so that their models are of what these can share
};

// How the tests of a GPU launch kernels there.
struct Launches {
  bool start_early = true, record_steps = true;
};

// Random inputs of one test; seeded by the run's seed and the test's name, so that a test repeats when run alone.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  float normal(float deviation = 1) { return std::normal_distribution<float>(0, deviation)(engine_); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(engine_); }
  uint64_t bits() { return engine_(); }
  template <class T>
  T one_of(const std::vector<T>& values) {
    return values[size_t(between(0, int(values.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

struct Test {
  std::string name;
  std::function<void(Random&)> body;
};

// Whether the environment's DRAWS asks for every case, as `npm run test:all` does, where a slow device else takes some of them.
bool takes_all_cases();

// All of these cases, in their order; of a slow device, unless all are asked for, only `few` that are drawn.
template <class T>
std::vector<T> cases_of(const Device& device, Random& random, std::vector<T> cases, size_t few) {
  while (device.is_slow && !takes_all_cases() && cases.size() > few)
    cases.erase(cases.begin() + random.between(0, int(cases.size()) - 1));
  return cases;
}

// Throws when it does not hold; ends the test.
void expect(bool holds, const std::string& what);

// Runs the function; returns the EngineError's code, or "" when none was thrown.
std::string error_code(const std::function<void()>& function);
// Returns the message of the error that it throws.
std::string error_text(const std::function<void()>& function);

// Each file's tests.
std::vector<Test> half_tests();
std::vector<Test> memory_tests();
std::vector<Test> architecture_tests();
std::vector<Test> adapter_kernel_tests(const Device& device);  // among kernel_tests
std::vector<Test> adapter_step_tests(const Device& device);
std::vector<Test> attention_tests(const Device& device);
std::vector<Test> kernel_tests(const Device& device);
// before_step is called with each step's number, and with 0 at the end.
std::vector<Test> greedy_tests(const Device& device, const std::function<void(int step)>& before_step);
int recorded_steps();  // that this one takes
Test recorded_test(const Device& plain, const Device& recording);
std::vector<Test> model_tests(const Device& device);
std::vector<Test> identity_tests(const Device& device);
std::vector<Test> lookahead_tests(const Device& device);
std::vector<Test> sample_tests(const Device& device);
std::vector<Test> step_tests(const Device& device);  // what runs whole steps: the four before it, and adapter_step_tests
// Whole steps of ranks that compute together, and what is between them. make_rank makes each, of its number.
using MakeRank = std::function<std::unique_ptr<Kernels>(const ModelShape&, const StepLimits&, int threads, int rank)>;
Device together(const Device& device, const MakeRank& make_rank, int ranks);
std::vector<Test> tensor_parallel_tests(const Device& device, const MakeRank& make_rank);
std::vector<Test> check_tests();
std::vector<Test> weights_tests();
std::vector<Test> engine_tests();
std::vector<Test> emulator_tests();  // where there is an emulator
std::vector<Test> cuda_tests(const Launches& launches);  // where there is nvcc; on a device where there is one
bool has_cuda_device();

}  // namespace ziya::test
