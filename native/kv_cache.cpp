// One KvLayer a layer, all of the same number of blocks.
#include "kv_cache.h"

namespace ziya {

KvCache::KvCache(const ModelShape& shape, int blocks, Kernels& kernels) {
  const int64_t before = kernels.allocated_bytes();
  for (int layer = 0; layer < shape.layers; layer++) layers_.push_back(kernels.make_kv_layer(blocks));
  bytes_ = kernels.allocated_bytes() - before;
}

}  // namespace ziya
