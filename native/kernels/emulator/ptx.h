// Host twins of cuda/ptx.h, written from the PTX manual's own descriptions and not from the kernels that use them.
#pragma once

#include "device.h"

namespace ziya::emulator {

inline void keep_memory_order() {}
inline void wait_for_previous_kernel() {}
inline void let_next_kernel_start() {}
template <int registers>
void raise_registers() {}
template <int registers>
void lower_registers() {}

inline TransactionBarrier* transaction_barrier(uint64_t* barrier) { return reinterpret_cast<TransactionBarrier*>(barrier); }

inline void mbarrier_init(uint64_t* barrier, int arrivals) {
  *transaction_barrier(barrier) = {int16_t(arrivals), int16_t(arrivals), 0};
}
inline void mbarrier_fence_init() {}
inline void fence_async_proxy() {}
inline void mbarrier_arrive(uint64_t* barrier) { block->arrive(transaction_barrier(barrier), 1, 0); }
inline void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
  block->arrive(transaction_barrier(barrier), 1, int(bytes));
}
inline void mbarrier_wait(uint64_t* barrier, int phase) { block->wait(transaction_barrier(barrier), phase); }
inline void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  block->start_copy({shared, global, bytes, transaction_barrier(barrier)});
}
inline void bulk_copy_once(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  bulk_copy(shared, global, bytes, barrier);
}
inline void named_barrier_sync(int id, int threads) { block->named_barrier(id, threads); }

inline void cp_async_16(void* shared, const void* global, bool is_inside) {
  if (is_inside)
    block->current().copies.back().push_back({shared, global, 16, nullptr});
  else
    block->current().copies.back().push_back({shared, nullptr, 16, nullptr});
}
inline void cp_async_commit() { block->commit_copies(); }
template <int groups_left>
void cp_async_wait() {
  block->land_committed_copies(groups_left);
}

struct MatrixRow {
  const uint16_t* row;
};

// Lane i names row i % 8 of matrix i / 8.
template <int matrices, bool transposed>
void load_matrices(uint32_t (&out)[matrices], const void* row) {
  const MatrixRow* rows = block->exchange(MatrixRow{static_cast<const uint16_t*>(row)}, "ldmatrix");
  const int lane = block->current().lane();
  for (int m = 0; m < matrices; m++) {
    uint16_t pair[2];
    for (int i = 0; i < 2; i++)
      pair[i] = transposed ? rows[m * 8 + lane % 4 * 2 + i].row[lane / 4] : rows[m * 8 + lane / 4].row[lane % 4 * 2 + i];
    std::memcpy(&out[m], pair, sizeof(pair));
  }
  block->warp_barrier("ldmatrix");
}
inline void ldmatrix_x4(uint32_t (&out)[4], const void* row) { load_matrices<4, false>(out, row); }
inline void ldmatrix_x2(uint32_t (&out)[2], const void* row) { load_matrices<2, false>(out, row); }
inline void ldmatrix_x4_transposed(uint32_t (&out)[4], const void* row) { load_matrices<4, true>(out, row); }

struct MmaOperands {
  uint32_t a[4], b[2];
};

inline float half_of(uint32_t pair, int index) { return __half2float({uint16_t(pair >> 16 * index)}); }

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const MmaOperands* lanes = block->exchange(MmaOperands{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, "mma.sync");
  const int lane = block->current().lane();
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k++) {
      const float left = half_of(lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
      const float right = half_of(lanes[column * 4 + k % 8 / 2].b[k / 8], k % 2);
      d[i] += left * right;
    }
  }
}

// The matrix descriptor: address / 16 in bits 0-13, the stride between groups of 8 rows / 16 in bits 32-45, and 1 in bits
// 62-63 for the 128-byte swizzle, in which bits 4-6 of an address are XORed with its bits 7-9.
inline uint64_t matrix_descriptor(const void* tile) {
  constexpr uint64_t group_stride = 1024 / 16, swizzle_128 = 1;
  return (block->shared_offset(tile) >> 4 & 0x3fff) | uint64_t(1) << 16 | group_stride << 32 | swizzle_128 << 62;
}

// 16 of K of one row.
inline void load_described_row(uint64_t descriptor, int row, float (&to)[16]) {
  const uint32_t begin = uint32_t(descriptor & 0x3fff) << 4, stride = uint32_t(descriptor >> 32 & 0x3fff) << 4;
  const uint32_t address = begin + row / 8 * stride + row % 8 * 128;
  for (int unit = 0; unit < 2; unit++) {
    const uint32_t plain = address + unit * 16;
    __half halves[8];
    std::memcpy(halves, block->shared() + (plain ^ (plain >> 7 & 7) << 4), sizeof(halves));
    for (int i = 0; i < 8; i++) to[unit * 8 + i] = __half2float(halves[i]);
  }
}

inline void compute_product(const MatrixProduct& product) {
  const int thread = block->current().linear % 128;
  float left[2][16], right[16];
  for (int half = 0; half < 2; half++)
    load_described_row(product.a, thread / 32 * 16 + thread % 32 / 4 + half * 8, left[half]);
  for (int j = 0; j < product.n / 8; j++) {
    for (int i = 0; i < 2; i++) {
      load_described_row(product.b, j * 8 + thread % 4 * 2 + i, right);
      for (int half = 0; half < 2; half++) {
        float& sum = product.sums[j * 4 + half * 2 + i];
        if (!product.accumulate) sum = 0;
        for (int k = 0; k < 16; k++) sum += left[half][k] * right[k];
      }
    }
  }
}

inline void wgmma_fence() {}
// Operands are read, and sums written, when the group is waited for: the latest moment that the hardware may.
template <int n>
void wgmma(float (&sums)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  block->current().products.back().push_back({sums, n, a, b, accumulate});
}
inline void wgmma_commit() {
  block->warpgroup_barrier("wgmma.commit_group");
  block->current().products.emplace_back();
}
template <int groups_left>
void wgmma_wait() {
  auto& groups = block->current().products;
  while (groups.size() - 1 > size_t(groups_left)) {
    for (const MatrixProduct& product : groups.front()) compute_product(product);
    groups.erase(groups.begin());
  }
  block->warp_barrier("wgmma.wait_group");
}

}  // namespace ziya::emulator
