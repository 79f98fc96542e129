// The step descriptor as kernels see it: one piece of memory, uploaded in one copy, at addresses that never change, so that
// a captured graph serves every step.
#pragma once

#include <cstdint>

#include "../row.h"
#include "../shape.h"
#include "device.h"

namespace ziya::ZIYA_DEVICE {

struct StepCounts {
  int32_t tokens, rows;
  int32_t narrow_items, wide_items, merged_tokens;  // of the attention: see AttentionItem
  int32_t adapter_items;
  int32_t first_item, first_merged, first_adapter_item;  // index words
};

struct TokenPlace {
  int32_t id, position, first_block;  // id may be a reference, until resolve(); first_block indexes words
  int32_t first_part, parts;          // partial results of its attention; none when its tile is computed whole
};

// A tile of one sequence's neighbouring tokens, over some splits of its context: one when the tokens have parts, all of them
// otherwise. The splits are those of the context, whatever the step.
struct AttentionItem {
  int32_t first_token, tokens, first_split, splits;
};
constexpr int split_positions = 256;
__host__ __device__ constexpr int splits_of(int position) { return position / split_positions + 1; }

// Neighbouring tokens whose sequences have one adapter.
struct AdapterItem {
  int32_t adapter, first_token, tokens;
};
constexpr int adapter_item_words = 3, adapter_item_tokens = 8;

// A tile's columns are (token, query head) of one KV head; heads beyond 8 to a KV head are other tiles' columns.
constexpr int narrow_tile_columns = 8, wide_tile_columns = 128;
__host__ __device__ constexpr int heads_a_column_group(int group) { return group < 8 ? group : 8; }
__host__ __device__ constexpr int column_groups(int group) { return (group + 7) / 8; }

constexpr int32_t no_token = INT32_MIN;
// A row on the device: its spans are of the step's words, where its history is (id, times in the output) of distinct ids.
struct RowPlace : Row {
  int32_t latest;  // the end of the history where that is a reference, which resolve() makes an id; else no_token
};

struct StepView {
  const StepCounts* counts;
  const TokenPlace* tokens;  // (tokens)
  const RowPlace* rows;      // (rows)
  const int32_t* words;      // block tables, attention items, merged tokens, adapter items, histories (id, times in the output),
                             // biases (id, float bits), banned ids, masks
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
