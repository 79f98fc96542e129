// The paged KV cache of all layers: memory only. Which block belongs to whom is decided by the caller, in TypeScript.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "devices.h"

namespace ziya {

class KvCache {
 public:
  KvCache(const ModelShape& shape, int blocks, const Devices& devices);
  KvLayer& layer(int index) { return *layers_[index]; }
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<std::unique_ptr<KvLayer>> layers_;
  int64_t bytes_ = 0;
};

}  // namespace ziya
