// Host twins of cuda/ptx.h, written from the PTX manual's own descriptions and not from the kernels that use them.
#pragma once

#include "../cuda/matrix_descriptor.h"
#include "device.h"

namespace ziya::emulator {

inline void keep_memory_order() {}
inline void wait_for_previous_kernel() { block->wait_for_kernel_ahead(); }
inline void let_next_kernel_start() {}
template <int registers>
void raise_registers() {
  block->current().registers = registers;
}
template <int registers>
void lower_registers() {
  block->current().registers = registers;
}

inline TransactionBarrier* transaction_barrier(uint64_t* barrier) { return reinterpret_cast<TransactionBarrier*>(barrier); }

inline void mbarrier_init(uint64_t* barrier, int arrivals) {
  *transaction_barrier(barrier) = {int16_t(arrivals), int16_t(arrivals), 0};
  block->current().unfenced_barriers.push_back(transaction_barrier(barrier));
}
inline void mbarrier_fence_init() { block->show_barriers(); }
inline void fence_async_proxy() {}
inline void mbarrier_arrive(uint64_t* barrier) { block->arrive(transaction_barrier(barrier), 1, 0); }
inline void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
  block->arrive(transaction_barrier(barrier), 1, int(bytes));
}
inline void mbarrier_wait(uint64_t* barrier, int phase) { block->wait(transaction_barrier(barrier), phase); }
inline void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  block->start_copy({shared, global, bytes, transaction_barrier(barrier)});
}
inline void bulk_copy_to_cluster(void* shared, const void* global, uint32_t bytes, uint64_t* barrier, uint16_t blocks) {
  for (int rank = 0; rank < block->cluster(); rank++)
    if (blocks >> rank & 1)
      block->start_copy({block->at_rank(shared, rank), global, bytes, transaction_barrier(block->at_rank(barrier, rank))});
}
inline int block_in_cluster() { return block->current().rank; }
inline void mbarrier_arrive_at(uint64_t* barrier, int rank) { block->arrive(transaction_barrier(block->at_rank(barrier, rank)), 1, 0); }
inline void cluster_sync() { block->cluster_barrier(); }
inline void bulk_copy_once(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  bulk_copy(shared, global, bytes, barrier);
}
inline void named_barrier_sync(int id, int threads) { block->named_barrier(id, threads); }

inline void cp_async_16(void* shared, const void* global, bool is_inside) {
  block->start_thread_copy({shared, is_inside ? global : nullptr, 16, nullptr});
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
inline void ldmatrix_x2_transposed(uint32_t (&out)[2], const void* row) { load_matrices<2, true>(out, row); }

inline uint32_t transposed_8x8(uint32_t pair) {
  const uint32_t* lanes = block->exchange(pair, "movmatrix");
  const int lane = block->current().lane(), row = lane / 4, column = lane % 4 * 2;
  uint32_t result = 0;
  for (int i = 0; i < 2; i++) result |= (lanes[(column + i) * 4 + row / 2] >> 16 * (row % 2) & 0xffff) << 16 * i;
  return result;
}
// E4M3: NaN where all bits but the sign are set; else 2^(exponent - 7) * 1.mantissa, or 2^-6 * 0.mantissa.
inline uint32_t codes_to_halves(uint16_t codes) {
  uint32_t result = 0;
  for (int i = 0; i < 2; i++) {
    const int code = codes >> 8 * i & 0xff, exponent = code >> 3 & 15, mantissa = code & 7;
    const float magnitude = exponent == 0 ? std::ldexp(float(mantissa), -9) : std::ldexp(float(8 + mantissa), exponent - 10);
    const uint32_t half = (code & 0x7f) == 0x7f ? 0x7fff : float_to_half(magnitude);
    result |= (half | uint32_t(code & 0x80) << 8) << 16 * i;
  }
  return result;
}
inline uint32_t multiply_halves(uint32_t a, uint32_t b) {
  const auto product = [&](int shift) {
    const __half left{uint16_t(a >> shift)}, right{uint16_t(b >> shift)};
    return uint32_t(__float2half_rn(__half2float(left) * __half2float(right)).bits) << shift;
  };
  return product(0) | product(16);
}
inline float exp2_approximate(float x) { return std::exp2(x); }

template <int count>
void halves_to_floats(const void* halves, float* to) {
  uint16_t bits[count];
  std::memcpy(bits, halves, sizeof(bits));
  for (int i = 0; i < count; i++) {
    const uint32_t exponent_of_nan = (bits[i] & half_exponent_mask) == half_exponent_mask ? 0x7f800000u : 0;
    to[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(half_to_float(bits[i])) | exponent_of_nan);
  }
}

// d + left * right over 16 of K, summed as a tree.
inline float add_products(float d, const float* left, const float* right) {
  using Four = float __attribute__((vector_size(16)));
  Four sums = {};
  for (int k = 0; k < 16; k += 4) {
    Four a, b;
    std::memcpy(&a, left + k, sizeof(a));
    std::memcpy(&b, right + k, sizeof(b));
    sums += a * b;
  }
  return d + ((sums[0] + sums[2]) + (sums[1] + sums[3]));
}

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Operands {
    float a[16][16], b[8][16];  // b transposed
  };
  static_assert(sizeof(Operands) <= warp_threads * exchange_bytes);
  auto& all = *reinterpret_cast<Operands*>(block->next_slots());
  const int lane = block->current().lane();
  for (int r = 0; r < 4; r++) halves_to_floats<2>(&a[r], &all.a[lane / 4 + r % 2 * 8][lane % 4 * 2 + r / 2 * 8]);
  for (int r = 0; r < 2; r++) halves_to_floats<2>(&b[r], &all.b[lane / 4][lane % 4 * 2 + r * 8]);
  block->warp_barrier("mma.sync");
  for (int i = 0; i < 4; i++) d[i] = add_products(d[i], all.a[lane / 4 + i / 2 * 8], all.b[lane % 4 * 2 + i % 2]);
}

inline uint64_t matrix_descriptor(const void* tile) { return descriptor_of(block->shared_offset(tile)); }

// What this file takes for granted of a descriptor: the 128-byte swizzle, in which bits 4-6 of an address are XORed with its bits 7-9, and tiles
// that begin at multiples of it.
inline bool is_swizzled_by_128(uint64_t descriptor) { return descriptor >> 62 == 1 && (descriptor >> 49 & 7) == 0; }

// 16 of K of some rows.
inline void load_described_rows(uint64_t descriptor, int first, int rows, std::vector<float>& to) {
  const uint32_t begin = uint32_t(descriptor & 0x3fff) << 4, stride = uint32_t(descriptor >> 32 & 0x3fff) << 4;
  to.resize(rows * 16);
  for (int unit = 0; unit < 2 * rows; unit++) {
    const int row = first + unit / 2;
    const uint32_t plain = begin + row / 8 * stride + row % 8 * 128 + unit % 2 * 16;
    halves_to_floats<8>(block->shared() + (plain ^ (plain >> 7 & 7) << 4), to.data() + unit * 8);
  }
}

// The warp's 16 rows of a, from its lanes' registers.
inline void load_registers_of_lanes(uint32_t product, std::vector<float>& to) {
  to.resize(16 * 16);
  for (int lane = 0; lane < warp_threads; lane++) {
    const uint32_t* registers = block->of_lane(lane).product(product).a_registers;
    for (int r = 0; r < 4; r++) halves_to_floats<2>(&registers[r], &to[(lane / 4 + r % 2 * 8) * 16 + lane % 4 * 2 + r / 2 * 8]);
  }
}

inline void compute_product(const MatrixProduct& product) {
  Fiber& fiber = block->current();
  const int lane = fiber.lane();
  const uint32_t number = fiber.products_done + 1;
  MatrixOperands& operands = block->matrix_operands(number);
  if (operands.product != number) {
    operands.product = number;
    if (product.a_registers != nullptr)
      load_registers_of_lanes(number, operands.a);
    else
      load_described_rows(product.a, fiber.warp() % 4 * 16, 16, operands.a);
    load_described_rows(product.b, 0, product.n, operands.b);
  }
  fiber.products_done = number;
  for (int i = 0; i < product.n / 2; i++) {
    const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    product.sums[i] = add_products(product.accumulate ? product.sums[i] : 0, &operands.a[row * 16], &operands.b[column * 16]);
  }
}

inline void wgmma_fence() { block->current().are_sums_fenced = true; }
// Operands are read, and sums written, when the group is waited for: the latest moment that the hardware may.
template <int n>
void wgmma(float (&sums)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  if (!block->current().are_sums_fenced) block->fail("wgmma without wgmma.fence before it");
  if (!is_swizzled_by_128(a) || !is_swizzled_by_128(b)) block->fail("a matrix descriptor of another layout");
  block->current().products.back().push_back({sums, n, a, b, accumulate});
}
template <int n>
void wgmma(float (&sums)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  if (!block->current().are_sums_fenced) block->fail("wgmma without wgmma.fence before it");
  if (!is_swizzled_by_128(b)) block->fail("a matrix descriptor of another layout");
  block->current().products.back().push_back({sums, n, 0, b, accumulate, a});
}
inline void wgmma_commit() {
  block->warpgroup_barrier("wgmma.commit_group");
  block->current().products.emplace_back();
}
template <int groups_left>
void wgmma_wait() {
  block->warp_barrier("wgmma.wait_group");  // until all of the warp are here, its operands may still be overwritten
  if (groups_left == 0) block->current().are_sums_fenced = false;
  auto& groups = block->current().products;
  while (groups.size() - 1 > size_t(groups_left)) {
    for (const MatrixProduct& product : groups.front()) compute_product(product);
    block->current().products_forgotten += uint32_t(groups.front().size());
    groups.erase(groups.begin());
  }
  block->warp_barrier("wgmma.wait_group");
}

}  // namespace ziya::emulator
