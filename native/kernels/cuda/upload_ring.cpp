#include "upload_ring.h"

#include <algorithm>

#include "../../fp8.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr size_t slots_max = 24;
constexpr size_t spare_slots = 4;  // free ones, whose rows may still be on their way

}  // namespace

UploadRing::Slot::Slot(size_t bytes) : host(bytes, "pinned memory for loading"), device(bytes, "memory for loading") {}

void UploadRing::upload(const WeightView& to, int first_row, int rows, const Kernels::WriteRows& write, const float* scales) {
  const size_t row_bytes = size_t(to.inputs) * sizeof(uint16_t) + (to.codes != nullptr ? 2 * sizeof(float) : 0);
  const int rows_a_slot = std::max(1, int(slot_bytes_ / row_bytes));
  for (int row = 0; row < rows; row += rows_a_slot) {
    const int count = std::min(rows_a_slot, rows - row);
    const Loan slot(*this);
    slot->stream.synchronize();
    write(row, count, slot->host.as<uint16_t>());
    if (to.codes != nullptr)
      send_as_fp8(*slot, to, first_row + row, count, scales != nullptr ? scales + row : nullptr);
    else
      send(*slot, to, first_row + row, count);
  }
}

void UploadRing::send(const Slot& slot, const WeightView& to, int first_row, int rows) {
  copy(slot, size_t(rows) * to.inputs * sizeof(uint16_t));
  pack(slot.device.as<half>(), first_row, rows, to, slot.stream);
}

// The codes overwrite the halves, and the scales lie behind them.
void UploadRing::send_as_fp8(const Slot& slot, const WeightView& to, int first_row, int rows, const float* given_scales) {
  const auto* halves = slot.host.as<uint16_t>();
  const size_t codes_bytes = (size_t(rows) * to.inputs + sizeof(float) - 1) / sizeof(float) * sizeof(float);
  std::vector<float> scales(rows);
  for (int row = 0; row < rows; row++) {
    const int64_t begin = int64_t(row) * to.inputs;
    scales[row] = given_scales != nullptr ? given_scales[row] : row_scale(halves + begin, to.inputs);
    quantize(halves + begin, to.inputs, scales[row], slot.host.as<uint8_t>() + begin);
  }
  std::copy(scales.begin(), scales.end(), reinterpret_cast<float*>(slot.host.as<char>() + codes_bytes));
  copy(slot, codes_bytes + scales.size() * sizeof(float));
  pack_fp8(slot.device.as<uint8_t>(), reinterpret_cast<float*>(slot.device.as<char>() + codes_bytes), first_row, rows, to, slot.stream);
}

void UploadRing::copy(const Slot& slot, size_t bytes) {
  check(cudaMemcpyAsync(slot.device.as<char>(), slot.host.as<char>(), bytes, cudaMemcpyHostToDevice, slot.stream), "a copy of weights");
}

void UploadRing::clear() {
  for (const auto& slot : slots_) slot->stream.synchronize();
  free_.clear();
  slots_.clear();
}

UploadRing::Slot& UploadRing::acquire() {
  std::unique_lock lock(mutex_);
  if (free_.size() < spare_slots && slots_.size() < slots_max) return *slots_.emplace_back(std::make_unique<Slot>(slot_bytes_));
  changed_.wait(lock, [&] { return !free_.empty(); });
  Slot& slot = *free_.front();
  free_.pop_front();
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
