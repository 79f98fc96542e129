// The step descriptor as kernels see it: one piece of memory, uploaded in one copy, at addresses that never change, so that
// a captured graph serves every step.
#pragma once

#include <cstdint>

#include "../shape.h"
#include "device.h"

namespace ziya::ZIYA_DEVICE {

struct StepCounts {
  int32_t tokens, rows;
};

struct TokenPlace {
  int32_t id, position, first_block;  // first_block indexes words
};

struct RowPlace {
  int32_t token, history_begin, history_count, bias_begin, bias_count, banned_begin, banned_count, logprobs;
  float temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;
  int32_t top_k, counter;
  uint64_t seed;
};

struct StepView {
  const StepCounts* counts;
  const TokenPlace* tokens;  // (tokens)
  const RowPlace* rows;      // (rows)
  const int32_t* words;      // block tables, histories (id, times in the output), biases (id, float bits), banned ids
};

// One row's result.
struct DrawnToken {
  int32_t token;
  float logprob;
  int32_t is_finite;
  int32_t top_count;
  int32_t top_ids[top_logprobs_max];
  float top_logprobs[top_logprobs_max];
};

}  // namespace ziya::ZIYA_DEVICE
