// One step's input and output as flat host arrays, exactly as the addon receives and returns them.
#pragma once

#include <cstdint>
#include <vector>

namespace ziya {

struct StepBatch {
  std::vector<int32_t> tokens;        // (tokens) sequence after sequence
  std::vector<int32_t> token_counts;  // (sequences)
  std::vector<int32_t> starts;        // (sequences) position of the first scheduled token
  std::vector<int32_t> block_counts;  // (sequences)
  std::vector<int32_t> block_tables;  // (sum of block_counts)

  std::vector<int32_t> rows;  // (rows) indexes into tokens
  std::vector<float> temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;  // (rows)
  std::vector<int32_t> top_k;                                                                             // (rows)
  std::vector<uint64_t> seeds;                                                                            // (rows)
  std::vector<int32_t> counters;        // (rows) index of the output token being drawn
  std::vector<int32_t> history;         // (sum of history_counts) prompt, then output
  std::vector<int32_t> history_counts;  // (rows)
  std::vector<int32_t> output_counts;   // (rows) how many at the end of the history are output
  std::vector<int32_t> bias_counts;     // (rows)
  std::vector<int32_t> bias_ids;        // (sum of bias_counts)
  std::vector<float> bias_values;       // (sum of bias_counts)
  std::vector<int32_t> banned_counts;   // (rows)
  std::vector<int32_t> banned_ids;      // (sum of banned_counts)
  std::vector<int32_t> logprobs;        // (rows) 0..top_logprobs_max, or -1
  bool want_logits = false;
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
