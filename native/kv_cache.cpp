// One KvLayer a layer, on its device, all of the same number of blocks.
#include "kv_cache.h"

namespace ziya {

KvCache::KvCache(const ModelShape& shape, int blocks, const Devices& devices) {
  const int64_t before = devices.allocated_bytes();
  for (int layer = 0; layer < shape.layers; layer++) layers_.push_back(devices.of_layer(layer).make_kv_layer(blocks));
  bytes_ = devices.allocated_bytes() - before;
}

}  // namespace ziya
