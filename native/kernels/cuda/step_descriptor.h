// Packs a batch into the memory that StepView describes, in pinned memory first, then with one copy on the device.
#pragma once

#include "../step.h"
#include "memory.h"
#include "step_view.h"

namespace ziya::ZIYA_DEVICE {

class StepDescriptor {
 public:
  StepDescriptor(const ModelShape& shape, const StepLimits& limits);

  // Throws EngineError bad_batch when histories, biases and bans exceed the memory for them.
  void upload(const StepBatch& batch, cudaStream_t stream);
  const StepView& view() const { return device_; }
  int64_t bytes() const { return int64_t(bytes_); }

 private:
  struct Parts {
    size_t rows, tokens, words;  // byte offsets
  };
  void place_tokens(const StepBatch& batch);
  void place_rows(const StepBatch& batch);
  int32_t append(int32_t word);
  void append_history(const StepBatch& batch, size_t row, size_t begin, RowPlace& place);
  void append_biases(const StepBatch& batch, size_t row, size_t begin, RowPlace& place);

  const Parts parts_;
  const int32_t words_max_;
  const size_t bytes_;
  PinnedMemory host_;
  DeviceMemory memory_;
  StepView device_;
  int32_t words_ = 0;
  std::vector<int32_t> history_counts_;  // (vocab) zero between rows: 1 + times in the output
};

}  // namespace ziya::ZIYA_DEVICE
