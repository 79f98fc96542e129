// The CUDA backend: kernels.h on one GPU, or on the emulator that stands in for one in tests.
#pragma once

#include <memory>

#include "../kernels.h"

namespace ziya {

enum class CudaVariant {
  fast,    // tensor cores where the shapes allow them
  simple,  // a warp a row everywhere: the reference
};

struct CudaOptions {
  int device = 0;
  CudaVariant variant = CudaVariant::fast;
  bool records_steps = true;  // decode steps, as graphs
};

// make_kernels throws EngineError unsupported_device and out_of_memory.
namespace cuda {
int device_count();
bool is_suitable(int device);
int64_t free_bytes(int device);
std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options);
// Random weights, normal(0, deviation), made on the device of the kernels that made the matrix: for measurements.
void fill(Kernels& kernels, Matrix& matrix, uint64_t seed, float deviation);
}  // namespace cuda

namespace emulator {
int device_count();
bool is_suitable(int device);
int64_t free_bytes(int device);
std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options);
void fill(Kernels& kernels, Matrix& matrix, uint64_t seed, float deviation);
}  // namespace emulator

}  // namespace ziya
