// What devices that compute together give each other: the parts of a sum, and columns. The trick: none; a device reads the others' memory where
// it is, 4 columns a thread of all parts at once, and adds in one order whoever asks. So all have the same bytes, and a sum takes one launch on each.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int parts_threads = 128;
constexpr int columns_a_thread = 4;

__global__ void add_parts_kernel(PartsView parts, ActivationView to) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int column = (blockIdx.y * parts_threads + threadIdx.x) * columns_a_thread;
  if (column >= to.columns) return;
  const int64_t at = int64_t(blockIdx.x) * parts.stride + column;
  float4 part[tensor_parallel_max];
#pragma unroll
  for (int i = 0; i < tensor_parallel_max; i++)
    if (i < parts.count) part[i] = *reinterpret_cast<const float4*>(parts.parts[i] + at);
  float4 sum = part[0];
#pragma unroll
  for (int i = 1; i < tensor_parallel_max; i++)
    if (i < parts.count) sum = plus(sum, part[i]);
  float4* own = reinterpret_cast<float4*>(to.row(blockIdx.x) + column);
  *own = plus(*own, sum);
}

__global__ void copy_columns_kernel(ActivationView from, int first_column, ActivationView to) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int column = blockIdx.y * parts_threads + threadIdx.x;
  if (column < from.columns) to.row(blockIdx.x)[first_column + column] = from.row(blockIdx.x)[column];
}

}  // namespace

void add_parts(const PartsView& parts, int tokens, const ActivationView& to, cudaStream_t stream) {
  LAUNCH(add_parts_kernel, dim3(tokens, ceil_div(to.columns, parts_threads * columns_a_thread)), parts_threads, 0, stream, parts, to);
}

void copy_columns(const ActivationView& from, int rows, int first_column, const ActivationView& to, cudaStream_t stream) {
  LAUNCH(copy_columns_kernel, dim3(rows, ceil_div(from.columns, parts_threads)), parts_threads, 0, stream, from, first_column, to);
}

}  // namespace ziya::ZIYA_DEVICE
