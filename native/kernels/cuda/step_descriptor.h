// Packs a batch into the memory that StepView describes, in pinned memory first, then with one copy on the device.
#pragma once

#include "attention_plan.h"
#include "memory.h"

namespace ziya::ZIYA_DEVICE {

class StepDescriptor {
 public:
  StepDescriptor(const ModelShape& shape, const StepLimits& limits, int multiprocessors, int64_t attention_parts);

  // Throws EngineError bad_batch when histories, biases and bans exceed the memory for them.
  void upload(const StepBatch& batch, cudaStream_t stream);
  const StepView& view() const { return device_; }
  const StepCounts& counts() const { return *host_.as<StepCounts>(); }  // as they were uploaded
  int64_t bytes() const { return int64_t(bytes_); }

 private:
  struct Parts {
    size_t rows, tokens, words;  // byte offsets
  };
  void place_tokens(const StepBatch& batch);
  void place_attention();
  void place_rows(const StepBatch& batch);
  int32_t append(int32_t word);
  void append_history(const StepBatch& batch, size_t row, size_t begin, RowPlace& place);
  void append_biases(const StepBatch& batch, size_t row, size_t begin, RowPlace& place);

  const Parts parts_;
  const AttentionBounds attention_bounds_;
  const int32_t words_max_;
  const size_t bytes_;
  PinnedMemory host_;
  DeviceMemory memory_;
  StepView device_;
  int32_t words_ = 0;
  AttentionPlan plan_;
  std::vector<int32_t> history_counts_;  // (vocab) zero between rows: 1 + times in the output
};

}  // namespace ziya::ZIYA_DEVICE
