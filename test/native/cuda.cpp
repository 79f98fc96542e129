// What nvcc said of the kernels; and the shared tests on a GPU, where there is one.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/cuda/cuda_kernels.h"
#include "reference.h"

namespace ziya::test {
namespace {

std::string report_of(const std::string& kernel) {
  std::ifstream stream(std::string(ZIYA_PTXAS_REPORTS) + "/" + kernel + ".ptxas.txt");
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

void hot_kernels_do_not_spill(Random&) {
  for (const char* kernel : {"gemm", "gemm_fp8", "matmul", "prefill_gemm", "sample", "small_kernels", "tiled_attention"}) {
    std::istringstream lines(report_of(kernel));
    int functions = 0;
    bool is_hot = false;  // of sm_90a, and not sampling by bisection, sample_kernel<threads, true>
    for (std::string line; std::getline(lines, line);) {
      // The assembler calls it information that products wait for each other, or that registers were not moved.
      for (const char* bad : {"warning", "Potential Performance Loss", "(C75"})
        expect(line.find(bad) == std::string::npos, std::string(kernel) + ": " + line);
      if (line.find("Compiling entry function") != std::string::npos) is_hot = line.find("sm_90a") != std::string::npos && line.find("Lb1E") == std::string::npos;
      if (!is_hot || line.find("spill stores") == std::string::npos) continue;
      functions++;
      expect(line.find("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") != std::string::npos,
             std::string(kernel) + ": " + line);
    }
    expect(functions > 0, std::string("no report of ") + kernel);
  }
}

Device gpu(const char* name, CudaParts fast, const Launches& launches) {
  return {.name = name,
          .make = [=](const ModelShape& shape, const StepLimits& limits, int) {
            auto kernels = cuda::make_kernels(shape, limits, {.device = 0, .fast = fast, .records_steps = launches.record_steps});
            cuda::set_launches(*kernels, launches.start_early, launches.record_steps);
            return kernels;
          },
          .precision = 1e-3,
          .is_slow = false};
}

}  // namespace

bool has_cuda_device() { return cuda::is_suitable(0); }

std::vector<Test> cuda_tests(const Launches& launches) {
  std::vector<Test> tests = {{"cuda: hot kernels do not spill", hot_kernels_do_not_spill}};
  if (!has_cuda_device()) return tests;
  const auto take = [&](const std::vector<Test>& more) { tests.insert(tests.end(), more.begin(), more.end()); };
  const Device simple = gpu("cuda, simple", simple_cuda_parts, launches), fast = gpu("cuda", {}, launches);
  for (const Device& device : {simple, fast}) {
    take(kernel_tests(device));
    take(attention_tests(device));
  }
  take(greedy_tests(fast, [](int) {}));
  take({recorded_test(gpu("cuda", {}, {launches.start_early, false}), fast)});
  take(step_tests(fast));
  // Where there are fewer GPUs than ranks, one stands for several.
  take(tensor_parallel_tests(fast, [](const ModelShape& shape, const StepLimits& limits, int, int rank) {
    return cuda::make_kernels(shape, limits, {.device = rank % cuda::device_count()});
  }));
  return tests;
}

}  // namespace ziya::test
