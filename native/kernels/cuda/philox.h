// Philox4x32-10, as cpu/philox.h.
#pragma once

#include "device.h"

namespace ziya::ZIYA_DEVICE {

struct Random128 {
  uint32_t word[4];
};

__device__ inline Random128 philox(Random128 counter, uint64_t seed) {
  uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
  uint32_t(&c)[4] = counter.word;
  for (int round = 0; round < 10; round++) {
    const uint64_t first = uint64_t(0xD2511F53u) * c[0], second = uint64_t(0xCD9E8D57u) * c[2];
    const uint32_t next[4] = {uint32_t(second >> 32) ^ c[1] ^ key[0], uint32_t(second),
                              uint32_t(first >> 32) ^ c[3] ^ key[1], uint32_t(first)};
    for (int i = 0; i < 4; i++) c[i] = next[i];
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace ziya::ZIYA_DEVICE
