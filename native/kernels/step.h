// One step's input and output as flat host arrays and a table of rows, exactly as the addon receives and returns them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "row.h"

namespace ziya {

// A step may be enqueued before the one ahead of it was read: where an id that step draws is needed, -1 - i stands for the
// token of its row i.
constexpr bool is_reference(int32_t token) { return token < 0; }
constexpr int32_t reference_to(int32_t row) { return -1 - row; }
constexpr int32_t referenced_row(int32_t token) { return -1 - token; }

// Stands for the token of a row that drew none, for want of finite logits or of memory: its sequence is broken, and no other.
constexpr int32_t nothing_drawn = -1;

constexpr int32_t no_adapter = -1;

constexpr int unfinished_steps_max = 2;  // that are ended: one runs, one waits behind it

struct StepBatch {
  std::vector<int32_t> tokens;        // (tokens) sequence after sequence; ids or references
  std::vector<int32_t> token_counts;  // (sequences)
  std::vector<int32_t> starts;        // (sequences) position of the first scheduled token
  std::vector<int32_t> block_counts;  // (sequences)
  std::vector<int32_t> block_tables;  // (sum of block_counts)
  std::vector<int32_t> adapters;      // (sequences) or no_adapter; empty where none has one

  std::vector<Row> rows;
  std::vector<int32_t> history;     // prompt, then output, of which the last may be a reference; row after row
  std::vector<int32_t> bias_ids;    // row after row, as are all of these
  std::vector<float> bias_values;   // (bias_ids)
  std::vector<int32_t> banned_ids;
  std::vector<int32_t> mask_words;  // the lowest bit is the first id's
  bool want_logits = false;

  bool has_references() const {
    return std::any_of(tokens.begin(), tokens.end(), is_reference) || std::any_of(history.begin(), history.end(), is_reference);
  }
  bool has_adapters() const {
    return std::any_of(adapters.begin(), adapters.end(), [](int32_t adapter) { return adapter != no_adapter; });
  }
  bool wants_alternatives() const {
    return std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.logprobs > 0; });
  }
};

// Neighbouring tokens of a step whose sequences have one adapter.
struct AdapterRun {
  int adapter, first_token, tokens;
};

inline std::vector<AdapterRun> adapter_runs(const StepBatch& batch) {
  std::vector<AdapterRun> runs;
  int token = 0;
  for (size_t s = 0; s < batch.adapters.size(); s++) {
    const int adapter = batch.adapters[s], tokens = batch.token_counts[s];
    if (adapter != no_adapter) {
      const bool goes_on = !runs.empty() && runs.back().adapter == adapter && runs.back().first_token + runs.back().tokens == token;
      if (goes_on) runs.back().tokens += tokens;
      else runs.push_back({adapter, token, tokens});
    }
    token += tokens;
  }
  return runs;
}

struct StepResult {
  std::vector<int32_t> tokens;      // (rows) or nothing_drawn
  std::vector<float> logprobs;      // (rows) of the drawn or scored token, under the raw logits
  std::vector<int32_t> top_ids;     // (rows, top_logprobs_max) padded with -1; empty when no row asks
  std::vector<float> top_logprobs;  // same shape, padded with -1
  std::vector<float> logits;        // (rows, vocab) when wanted
  std::vector<float> values;        // (rows) of a model that gives values and draws nothing, until its step is finished
  double seconds = 0;
};

}  // namespace ziya
