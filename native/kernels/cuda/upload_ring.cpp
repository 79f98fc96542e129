#include "upload_ring.h"

#include <algorithm>
#include <cstring>

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int slots = 4;

}  // namespace

UploadRing::Slot::Slot(size_t bytes) : host(bytes, "pinned memory for loading"), device(bytes, "memory for loading") {}

UploadRing::UploadRing(size_t slot_bytes) : slot_bytes_(slot_bytes) {
  for (int i = 0; i < slots; i++) {
    slots_.push_back(std::make_unique<Slot>(slot_bytes));
    free_.push_back(slots_.back().get());
  }
}

void UploadRing::upload(const WeightView& to, int first_row, int rows, const uint16_t* fp16) {
  const size_t row_bytes = size_t(to.inputs) * sizeof(uint16_t);
  const int rows_a_slot = std::max(1, int(slot_bytes_ / row_bytes));
  for (int row = 0; row < rows; row += rows_a_slot) {
    const int count = std::min(rows_a_slot, rows - row);
    Slot& slot = acquire();
    slot.stream.synchronize();
    std::memcpy(slot.host.as<char>(), fp16 + int64_t(row) * to.inputs, count * row_bytes);
    check(cudaMemcpyAsync(slot.device.as<char>(), slot.host.as<char>(), count * row_bytes, cudaMemcpyHostToDevice, slot.stream),
          "a copy of weights");
    pack(slot.device.as<half>(), first_row + row, count, to, slot.stream);
    release(slot);
  }
}

void UploadRing::synchronize() {
  for (const auto& slot : slots_) slot->stream.synchronize();
}

UploadRing::Slot& UploadRing::acquire() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !free_.empty(); });
  Slot& slot = *free_.front();
  free_.erase(free_.begin());
  return slot;
}

void UploadRing::release(Slot& slot) {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(&slot);
  }
  changed_.notify_one();
}

}  // namespace ziya::ZIYA_DEVICE
