// One step's input and output as flat host arrays, exactly as the addon receives and returns them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ziya {

// A step may be enqueued before the one ahead of it was read: where an id that step draws is needed, -1 - i stands for the
// token of its row i.
constexpr bool is_reference(int32_t token) { return token < 0; }
constexpr int32_t reference_to(int32_t row) { return -1 - row; }
constexpr int32_t referenced_row(int32_t token) { return -1 - token; }

constexpr int unfinished_steps_max = 2;  // that are ended: one runs, one waits behind it

struct StepBatch {
  std::vector<int32_t> tokens;        // (tokens) sequence after sequence; ids or references
  std::vector<int32_t> token_counts;  // (sequences)
  std::vector<int32_t> starts;        // (sequences) position of the first scheduled token
  std::vector<int32_t> block_counts;  // (sequences)
  std::vector<int32_t> block_tables;  // (sum of block_counts)

  std::vector<int32_t> rows;  // (rows) indexes into tokens
  std::vector<float> temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;  // (rows)
  std::vector<int32_t> top_k;                                                                             // (rows)
  std::vector<uint64_t> seeds;                                                                            // (rows)
  std::vector<int32_t> counters;        // (rows) index of the output token being drawn
  std::vector<int32_t> history;         // (sum of history_counts) prompt, then output, of which the last may be a reference
  std::vector<int32_t> history_counts;  // (rows)
  std::vector<int32_t> output_counts;   // (rows) how many at the end of the history are output
  std::vector<int32_t> bias_counts;     // (rows)
  std::vector<int32_t> bias_ids;        // (sum of bias_counts)
  std::vector<float> bias_values;       // (sum of bias_counts)
  std::vector<int32_t> banned_counts;   // (rows)
  std::vector<int32_t> banned_ids;      // (sum of banned_counts)
  std::vector<int32_t> logprobs;        // (rows) 0..top_logprobs_max, or -1
  bool want_logits = false;

  bool has_references() const {
    return std::any_of(tokens.begin(), tokens.end(), is_reference) || std::any_of(history.begin(), history.end(), is_reference);
  }
};

struct StepResult {
  std::vector<int32_t> tokens;      // (rows)
  std::vector<float> logprobs;      // (rows) of the drawn token, under the raw logits
  std::vector<int32_t> top_ids;     // (rows, top_logprobs_max) padded with -1; empty when no row asks
  std::vector<float> top_logprobs;  // same shape, padded with -1
  std::vector<float> logits;        // (rows, vocab) when wanted
  double seconds = 0;
};

}  // namespace ziya
