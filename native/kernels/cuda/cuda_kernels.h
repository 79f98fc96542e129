// The CUDA backend: kernels.h on one GPU, or on the emulator that stands in for one in tests.
#pragma once

#include <functional>
#include <memory>

#include "../kernels.h"

namespace ziya {

// Each fast kernel has a simple one beside it, for any shape: its reference, and what is used where it cannot run.
struct CudaParts {
  bool gemm = true;          // products by wgmma, rather than a warp a row
  bool prefill_gemm = true;  // its large tiles from 256 tokens on
  bool attention = true;     // tiles by mma.sync, rather than a warp a query head
  bool sampling = true;      // thresholds by histograms, rather than by bisection
};
constexpr CudaParts simple_cuda_parts = {false, false, false, false};

struct CudaOptions {
  int device = 0;
  CudaParts fast = {};
  bool records_steps = true;            // decode steps, as graphs
  bool has_random_cache = false;        // keys and values begin as normal(0, 1) rather than zero: for measurements
  int64_t attention_parts_max = 8192;  // 272 MB of the 34B's heads; what has no part left is computed whole
};

// make_kernels throws EngineError unsupported_device and out_of_memory.
namespace cuda {
int device_count();
bool is_suitable(int device);
int64_t free_bytes(int device);
std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options);
// Random weights, normal(0, deviation), made on the device of the kernels that made the matrix: for measurements.
void fill(Kernels& kernels, Matrix& matrix, uint64_t seed, float deviation);
// How long the device is busy with what the work enqueues on these kernels, by its own clock.
double device_seconds(Kernels& kernels, const std::function<void()>& work);
// Whether kernels may begin before the one ahead of them ends, of the whole process, and whether these kernels record steps from now on: to
// find out on a device what either is worth, or to blame.
void set_launches(Kernels& kernels, bool start_early, bool record_steps);
}  // namespace cuda

namespace emulator {
int device_count();
bool is_suitable(int device);
int64_t free_bytes(int device);
std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options);
void fill(Kernels& kernels, Matrix& matrix, uint64_t seed, float deviation);
double device_seconds(Kernels& kernels, const std::function<void()>& work);
void set_launches(Kernels& kernels, bool start_early, bool record_steps);
}  // namespace emulator

}  // namespace ziya
