// How a product reads what it multiplies, which is fp32 or fp16.
#pragma once

#include "device.h"
#include "layout.h"

namespace ziya::ZIYA_DEVICE {

// Eight neighbouring columns of a row, the first a multiple of 8.
template <class In>
__device__ __forceinline__ void load_inputs(const ActivationView& in, int row, int k, float (&to)[unit_halves]) {
  if constexpr (sizeof(In) == sizeof(half))
    load8(in.unit(row, k), to);
  else
    load8(in.row(row) + k, to);
}

}  // namespace ziya::ZIYA_DEVICE
