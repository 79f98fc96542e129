// Which device this is compiled for: CUDA, or the emulator in its place. A failed call of the runtime becomes an
// EngineError: out_of_memory, which a start may report, or device_failed, after which the process must end.
#pragma once

#include <string>

#include "../../engine_error.h"

#if defined(ZIYA_EMULATOR)
#include "../emulator/runtime.h"
#define ZIYA_DEVICE emulator
#else
#include <cuda_runtime.h>
#define ZIYA_DEVICE cuda
#endif

namespace ziya::ZIYA_DEVICE {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const char* code = error == cudaErrorMemoryAllocation ? "out_of_memory" : "device_failed";
  throw EngineError(code, std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace ziya::ZIYA_DEVICE
