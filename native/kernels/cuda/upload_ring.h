// Rows of weights on their way to the device: read by several threads straight into pinned slots, copied and packed there, so
// that reading, copying and packing overlap. A thread waits for a slot, not for its rows. There are as many slots as
// threads have needed at once, some spare ones, and none once all is packed.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "../kernels.h"
#include "layout.h"
#include "memory.h"

namespace ziya::ZIYA_DEVICE {

class UploadRing {
 public:
  explicit UploadRing(size_t slot_bytes) : slot_bytes_(slot_bytes) {}
  // As Kernels::upload_rows.
  void upload(const WeightView& to, int first_row, int rows, const Kernels::WriteRows& write, const float* scales);
  // Waits until all that was uploaded is packed, and gives the slots back. Beside no upload.
  void clear();

 private:
  struct Slot {
    explicit Slot(size_t bytes);
    PinnedMemory host;
    DeviceMemory device;
    StreamHandle stream;
  };
  // A slot in use, given back at the end of its scope.
  class Loan {
   public:
    explicit Loan(UploadRing& ring) : ring_(ring), slot_(ring.acquire()) {}
    Loan(const Loan&) = delete;
    ~Loan() { ring_.release(slot_); }
    Slot* operator->() const { return &slot_; }
    const Slot& operator*() const { return slot_; }

   private:
    UploadRing& ring_;
    Slot& slot_;
  };
  // What the slot holds goes to its device memory, and from there into the matrix.
  static void send(const Slot& slot, const WeightView& to, int first_row, int rows);
  static void send_as_fp8(const Slot& slot, const WeightView& to, int first_row, int rows, const float* given_scales);
  static void copy(const Slot& slot, size_t bytes);
  Slot& acquire();
  void release(Slot& slot);

  const size_t slot_bytes_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Slot*> free_;  // the longest free, whose rows are packed by now, first
};

}  // namespace ziya::ZIYA_DEVICE
