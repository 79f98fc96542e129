// Rows of weights on their way to the device: read by several threads into pinned slots, copied and packed there, so that
// reading, copying and packing overlap. A thread waits for a slot, not for its rows.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "layout.h"
#include "memory.h"

namespace ziya::ZIYA_DEVICE {

class UploadRing {
 public:
  explicit UploadRing(size_t slot_bytes);
  void upload(const WeightView& to, int first_row, int rows, const uint16_t* fp16);
  // Until all that was uploaded is packed.
  void synchronize();

 private:
  struct Slot {
    explicit Slot(size_t bytes);
    PinnedMemory host;
    DeviceMemory device;
    StreamHandle stream;
  };
  Slot& acquire();
  void release(Slot& slot);

  const size_t slot_bytes_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot*> free_;
};

}  // namespace ziya::ZIYA_DEVICE
