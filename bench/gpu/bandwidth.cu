// How fast this GPU reads, and copies, memory that its cache does not hold: the ceilings of decode.
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>

constexpr size_t bytes = size_t(8) << 30;
constexpr int rounds = 10;

__global__ void fill(uint4* to, size_t count) {
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
    const uint32_t x = uint32_t(i) * 2654435761u;
    to[i] = make_uint4(x, x ^ 0x9e3779b9u, x * 3, x * 7);
  }
}

__global__ void read(const uint4* from, size_t count, uint32_t* sink) {
  uint32_t sum = 0;
#pragma unroll 8
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
    const uint4 value = __ldcs(from + i);
    sum ^= value.x ^ value.y ^ value.z ^ value.w;
  }
  if (sum == 0x12345678u) *sink = sum;
}

template <class Work>
void measure(const char* name, size_t bytes_moved, const Work& work) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  work();
  cudaEventRecord(begin);
  for (int i = 0; i < rounds; i++) work();
  cudaEventRecord(end);
  cudaEventSynchronize(end);
  float ms = 0;
  cudaEventElapsedTime(&ms, begin, end);
  std::printf("{\"part\": \"bandwidth\", \"what\": \"%s\", \"tb_per_s\": %.3f}\n", name, 1e-9 * double(bytes_moved) * rounds / ms);
}

int main() {
  uint4 *from, *to;
  uint32_t* sink;
  if (cudaMalloc(&from, bytes) != cudaSuccess || cudaMalloc(&to, bytes) != cudaSuccess || cudaMalloc(&sink, 4) != cudaSuccess) {
    std::fprintf(stderr, "no memory for the bandwidth test\n");
    return 1;
  }
  cudaDeviceProp properties;
  cudaGetDeviceProperties(&properties, 0);
  const int blocks = properties.multiProcessorCount * 8;
  fill<<<blocks, 256>>>(from, bytes / sizeof(uint4));
  measure("read", bytes, [&] { read<<<blocks, 256>>>(from, bytes / sizeof(uint4), sink); });
  measure("copy", 2 * bytes, [&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice); });
  return cudaGetLastError() == cudaSuccess ? 0 : 1;
}
