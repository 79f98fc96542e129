// How fast this GPU reads, and copies, memory that its cache does not hold, which is the ceiling of decode; how fast all multiprocessors read
// what the L2 cache holds, which is that of large products; and how long one read of it takes that waits for the one before.
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>

constexpr size_t bytes = size_t(8) << 30;
constexpr int rounds = 10;
constexpr size_t cached_bytes = size_t(16) << 20;
constexpr int cached_passes = 64, chased_reads = 20000;

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

// Each block reads all of it, a power of two, from another place on, and never from its own L1 cache.
__global__ void read_cached(const uint4* from, size_t count, uint32_t* sink) {
  uint32_t sum = 0;
  for (int pass = 0; pass < cached_passes; pass++) {
#pragma unroll 8
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) {
      const uint4 value = __ldcg(from + ((i + blockIdx.x * size_t(9973)) & (count - 1)));
      sum ^= value.x ^ value.y ^ value.z ^ value.w;
    }
  }
  if (sum == 0x12345678u) *sink = sum;
}

// Each place holds that of the next.
__global__ void link(uint32_t* places, uint32_t count) {
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) places[i] = (i + 4099) % count;
}
__global__ void chase(const uint32_t* places, uint32_t* sink) {
  uint32_t at = 0;
  for (int i = 0; i < chased_reads; i++) at = __ldcg(places + at);
  *sink = at;
}

template <class Work>
double seconds_of(const Work& work) {
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
  return 1e-3 * ms / rounds;
}

template <class Work>
void measure(const char* name, double bytes_moved, const Work& work) {
  std::printf("{\"part\": \"bandwidth\", \"what\": \"%s\", \"tb_per_s\": %.3f}\n", name, 1e-12 * bytes_moved / seconds_of(work));
  std::fflush(stdout);
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
  const double cached = double(properties.multiProcessorCount) * cached_passes * cached_bytes;
  measure("l2_to_sm", cached, [&] { read_cached<<<properties.multiProcessorCount, 1024>>>(from, cached_bytes / sizeof(uint4), sink); });
  const uint32_t places = cached_bytes / sizeof(uint32_t);
  link<<<1, 1024>>>(reinterpret_cast<uint32_t*>(to), places);
  const double wait = seconds_of([&] { chase<<<1, 1>>>(reinterpret_cast<uint32_t*>(to), sink); }) / chased_reads;
  std::printf("{\"part\": \"bandwidth\", \"what\": \"l2_wait\", \"ns\": %.0f}\n", 1e9 * wait);
  int mhz = 0;
  cudaDeviceGetAttribute(&mhz, cudaDevAttrClockRate, 0);
  std::printf("{\"part\": \"bandwidth\", \"what\": \"device\", \"multiprocessors\": %d, \"mhz_max\": %d}\n", properties.multiProcessorCount, mhz / 1000);
  return cudaGetLastError() == cudaSuccess ? 0 : 1;
}
