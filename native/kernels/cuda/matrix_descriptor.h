// How wgmma is told where an operand lies in shared memory. One function for the GPU and the emulator, which reads it field by field.
#pragma once

#include <cstdint>

#include "../../half.h"

namespace ziya {

// Describes a tile of rows of 64 halves, 128 bytes apart, in the 128-byte swizzle; the tile begins at a multiple of 1024 bytes and
// the address may be 32, 64 or 96 bytes into its first row, for the next 16 of K. PTX ISA, "Matrix Descriptor": address / 16 in bits 0-13,
// the stride between groups of 8 rows / 16 in bits 32-45, the kind of swizzle in bits 62-63.
ZIYA_EVERYWHERE constexpr uint64_t descriptor_of(uint32_t shared_address) {
  constexpr uint64_t group_stride = 1024 / 16, swizzle_128 = 1;
  return (uint64_t(shared_address) >> 4 & 0x3fff) | uint64_t(1) << 16 | group_stride << 32 | swizzle_128 << 62;
}

}  // namespace ziya
