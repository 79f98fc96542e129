// Packs a batch into the memory that StepView describes, in pinned memory first, then with one copy on the device.
#pragma once

#include <array>

#include "attention_plan.h"
#include "memory.h"

namespace ziya::ZIYA_DEVICE {

class StepDescriptor {
 public:
  StepDescriptor(const ModelShape& shape, const StepLimits& limits, int multiprocessors, int64_t attention_parts);

  // Throws EngineError bad_batch when histories, biases, bans and masks exceed the memory for them.
  void upload(const StepBatch& batch, cudaStream_t stream);
  // Makes ids of the references in what was uploaded: they are to these tokens, on this device.
  void resolve(const DrawnToken* drawn, cudaStream_t stream) const;
  const StepView& view() const { return device_; }
  const StepCounts& counts() const { return *reinterpret_cast<const StepCounts*>(host_); }  // as they were uploaded
  int64_t bytes() const { return int64_t(bytes_); }

 private:
  struct Parts {
    size_t rows, tokens, words;  // byte offsets
  };
  // The copy of one step's may still wait when the next one's is put together.
  struct Staging {
    explicit Staging(size_t bytes) : memory(bytes, "pinned memory for the step descriptor") {}
    PinnedMemory memory;
    EventHandle copied;
  };
  void place_tokens(const StepBatch& batch);
  void place_attention();
  void place_adapters(const StepBatch& batch);
  void place_rows(const StepBatch& batch);
  int32_t append(int32_t word);
  void append_history(const StepBatch& batch, const Row& row, RowPlace& place);
  Span append_biases(const StepBatch& batch, Span bias);

  const Parts parts_;
  const AttentionBounds attention_bounds_;
  const int32_t words_max_;
  const size_t bytes_;
  const int vocab_size_;
  std::array<Staging, unfinished_steps_max> staging_;
  int uploads_ = 0;
  char* host_ = nullptr;  // of the staging in use
  DeviceMemory memory_;
  StepView device_;
  int32_t words_ = 0;
  AttentionPlan plan_;
  std::vector<int32_t> history_counts_;  // (vocab) zero between rows: 1 + times in the output
};

}  // namespace ziya::ZIYA_DEVICE
