// The door: a shape or a batch that passes here cannot make the kernels read or write outside their memory. TypeScript
// checks the same, with better words; this is what stands between a bug there and the heap.
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine.h"

namespace ziya {
namespace {

[[noreturn]] void refuse(const char* field, const char* why) {
  throw EngineError("bad_batch", std::string(field) + ": " + why);
}

void require(bool holds, const char* field, const char* why) {
  if (!holds) refuse(field, why);
}

template <class T>
void require_size(const std::vector<T>& values, size_t size, const char* field) {
  require(values.size() == size, field, "has the wrong length");
}

// Counts are not negative and add up to the length of what they divide.
void require_counts(const std::vector<int32_t>& counts, size_t total, const char* field) {
  int64_t sum = 0;
  for (const int32_t count : counts) {
    require(count >= 0, field, "has a negative count");
    sum += count;
  }
  require(sum == int64_t(total), field, "does not add up");
}

void require_within(std::span<const int32_t> values, int limit, const char* field) {
  for (const int32_t value : values) require(value >= 0 && value < limit, field, "has a value out of range");
}

void require_finite(const std::vector<float>& values, const char* field) {
  for (const float value : values) require(std::isfinite(value), field, "has a value that is not finite");
}

void check_blocks(const StepBatch& batch, const StepLimits& limits) {
  require_within(batch.block_tables, limits.blocks, "block_tables");
  std::vector<bool> is_written(limits.blocks);
  size_t table = 0;
  for (size_t s = 0; s < batch.starts.size(); s++) {
    const int64_t end = int64_t(batch.starts[s]) + batch.token_counts[s];
    require((end + block_tokens - 1) / block_tokens <= batch.block_counts[s], "block_counts",
            "has too few for the positions");
    for (int64_t block = batch.starts[s] / block_tokens; block * block_tokens < end; block++) {
      const int32_t id = batch.block_tables[table + size_t(block)];
      require(!is_written[id], "block_tables", "has one block written twice");
      is_written[id] = true;
    }
    table += size_t(batch.block_counts[s]);
  }
}

void require_ids(std::span<const int32_t> tokens, const ModelShape& shape, int rows_before, const char* field) {
  for (const int32_t token : tokens) {
    if (is_reference(token))
      require(token >= reference_to(rows_before - 1), field, "refers to a row that the step before did not draw");
    else
      require(token < shape.vocab_size, field, "has a value out of range");
  }
}

void check_adapters(const StepBatch& batch, const StepLimits& limits) {
  if (batch.adapters.empty()) return;
  require_size(batch.adapters, batch.token_counts.size(), "adapters");
  for (const int32_t adapter : batch.adapters)
    require(adapter >= no_adapter && adapter < limits.adapters, "adapters", "has a value out of range");
}

void check_sequences(const StepBatch& batch, const ModelShape& shape, const StepLimits& limits, int rows_before) {
  const size_t sequences = batch.token_counts.size();
  require(sequences > 0 && sequences <= size_t(limits.sequences_max), "token_counts", "has no sequence, or too many");
  require(batch.tokens.size() <= size_t(limits.batch_tokens_max), "tokens", "has too many");
  require_size(batch.starts, sequences, "starts");
  require_size(batch.block_counts, sequences, "block_counts");
  require_counts(batch.token_counts, batch.tokens.size(), "token_counts");
  require_counts(batch.block_counts, batch.block_tables.size(), "block_counts");
  require_ids(batch.tokens, shape, rows_before, "tokens");
  for (size_t s = 0; s < sequences; s++) {
    require(batch.token_counts[s] > 0, "token_counts", "has a sequence without tokens");
    require(batch.starts[s] >= 0 && int64_t(batch.starts[s]) + batch.token_counts[s] <= shape.context_tokens, "starts",
            "goes beyond the context");
  }
  check_blocks(batch, limits);
  check_adapters(batch, limits);
}

void require_number(float value, bool is_in_range, const char* field) {
  require(std::isfinite(value), field, "has a value that is not finite");
  require(is_in_range, field, "has a value out of range");
}

void check_parameters(const Row& row) {
  require_number(row.temperature, row.temperature >= 0, "temperature");
  require_number(row.top_p, row.top_p > 0 && row.top_p <= 1, "top_p");
  require_number(row.min_p, row.min_p >= 0 && row.min_p <= 1, "min_p");
  require_number(row.repetition_penalty, row.repetition_penalty > 0, "repetition_penalty");
  require_number(row.frequency_penalty, true, "frequency_penalty");
  require_number(row.presence_penalty, true, "presence_penalty");
  require(row.top_k >= 0, "top_k", "has a negative value");
  require(row.counter >= 0, "counter", "has a negative value");
  require(row.logprobs >= -1 && row.logprobs <= top_logprobs_max, "logprobs", "has a value out of range");
}

// The spans of one list, row after row, divide it: each begins where the one before ended, and the last ends with the list.
void require_spans(const std::vector<Row>& rows, Span Row::* span, size_t total, const char* field) {
  int64_t end = 0;
  for (const Row& row : rows) {
    require((row.*span).count >= 0, field, "has a negative count");
    require((row.*span).begin == end, field, "does not begin where the row before ends");
    end += (row.*span).count;
    require(end <= int64_t(total), field, "does not add up");
  }
  require(end == int64_t(total), field, "does not add up");
}

void check_history(const StepBatch& batch, const ModelShape& shape, int rows_before) {
  require_spans(batch.rows, &Row::history, batch.history.size(), "history");
  const std::span<const int32_t> history = batch.history;
  for (const Row& row : batch.rows) {
    require(row.output_tokens >= 0 && row.output_tokens <= row.history.count, "output_tokens", "is more than the history");
    const auto own = history.subspan(size_t(row.history.begin), size_t(row.history.count));
    const bool has_latest = row.output_tokens > 0;  // which alone may be a reference
    require_within(own.first(own.size() - has_latest), shape.vocab_size, "history");
    require_ids(own.last(has_latest), shape, rows_before, "history");
  }
}

void check_biases(const StepBatch& batch, const ModelShape& shape) {
  require_spans(batch.rows, &Row::bias, batch.bias_ids.size(), "bias");
  require_size(batch.bias_values, batch.bias_ids.size(), "bias_values");
  require_within(batch.bias_ids, shape.vocab_size, "bias_ids");
  require_finite(batch.bias_values, "bias_values");
}

void check_banned(const StepBatch& batch, const ModelShape& shape) {
  require_spans(batch.rows, &Row::banned, batch.banned_ids.size(), "banned");
  require_within(batch.banned_ids, shape.vocab_size, "banned_ids");
  for (const Row& row : batch.rows) {
    if (row.banned.count < shape.vocab_size) continue;
    std::vector<bool> is_banned(shape.vocab_size);
    int different = 0;
    for (int32_t i = row.banned.begin; i < row.banned.end(); i++)
      if (!is_banned[batch.banned_ids[i]]) is_banned[batch.banned_ids[i]] = true, different++;
    require(different < shape.vocab_size, "banned_ids", "leaves no token to draw");
  }
}

bool leaves_a_token(const StepBatch& batch, const Row& row, const ModelShape& shape) {
  const auto banned = std::span(batch.banned_ids).subspan(size_t(row.banned.begin), size_t(row.banned.count));
  const int32_t* words = batch.mask_words.data() + row.mask.begin;
  for (int id = 0; id < shape.vocab_size; id++)
    if (is_in_mask(words, id) && std::find(banned.begin(), banned.end(), id) == banned.end()) return true;
  return false;
}

void check_masks(const StepBatch& batch, const ModelShape& shape) {
  require_spans(batch.rows, &Row::mask, batch.mask_words.size(), "mask");
  for (const Row& row : batch.rows) {
    if (row.mask.count == 0) continue;
    require(row.mask.count == mask_words(shape.vocab_size), "mask", "has not a bit for each id");
    require(leaves_a_token(batch, row, shape), "mask_words", "leaves no token to draw");
  }
}

void check_rows(const StepBatch& batch, const ModelShape& shape) {
  require(batch.rows.size() <= batch.tokens.size(), "rows", "has more than there are tokens");
  for (const Row& row : batch.rows) {
    require(row.token >= 0 && row.token < int(batch.tokens.size()), "rows", "has a token out of range");
    require(row.scored >= -1 && row.scored < shape.vocab_size, "scored", "has a value out of range");
    check_parameters(row);
  }
}

bool is_dimension(int64_t value) { return value >= 1 && value <= dimension_max; }

void check_attention(const ModelShape& shape) {
  require_shape(shape.heads >= 1 && shape.heads <= heads_max, "heads");
  require_shape(shape.kv_heads >= 1 && shape.kv_heads <= shape.heads && shape.heads % shape.kv_heads == 0, "kv_heads");
  require_shape(shape.head_size >= 2 && shape.head_size <= head_size_max && shape.head_size % 2 == 0, "head_size");
  require_shape(is_dimension(int64_t(shape.heads + 2 * shape.kv_heads) * shape.head_size), "heads");
}

}  // namespace

void check_shape(const Architecture& architecture, const ModelShape& shape, const StepLimits& limits) {
  require_shape(is_dimension(shape.vocab_size), "vocab_size");
  require_shape(is_dimension(shape.hidden_size), "hidden_size");
  require_shape(shape.intermediate_size == 0 || is_dimension(shape.intermediate_size), "intermediate_size");
  require_shape(shape.layers >= 1 && shape.layers <= layers_max, "layers");
  if (shape.heads != 0 || shape.kv_heads != 0 || shape.head_size != 0) check_attention(shape);
  require_shape(is_dimension(shape.context_tokens), "context_tokens");
  require_shape(!shape.has_rope() || (std::isfinite(shape.rope_theta) && shape.rope_theta > 1), "rope_theta");
  require_shape(!shape.has_rope() || shape.has_attention(), "rope_theta");
  require_shape(std::isfinite(shape.rope_scaling_factor) && shape.rope_scaling_factor > 0, "rope_scaling_factor");
  require_shape(shape.rope_original_tokens == 0 || is_dimension(shape.rope_original_tokens), "rope_original_tokens");
  const bool has_turns = shape.rope_low_turns > 0 && shape.rope_low_turns < shape.rope_high_turns && std::isfinite(shape.rope_high_turns);
  require_shape(shape.rope_original_tokens == 0 || has_turns, "rope_high_turns");
  require_shape(std::isfinite(shape.rms_norm_eps) && shape.rms_norm_eps >= 0, "rms_norm_eps");
  require_shape(std::isfinite(shape.layer_norm_eps) && shape.layer_norm_eps >= 0, "layer_norm_eps");
  require_shape(is_dimension(limits.batch_tokens_max), "batch_tokens_max");
  require_shape(is_dimension(limits.sequences_max), "sequences_max");
  require_shape(limits.adapters >= 0 && limits.adapters <= adapters_max, "adapters");
  require_shape(limits.blocks == 0 || is_dimension(limits.blocks), "blocks");
  architecture.check(shape);
}

void check_batch(const StepBatch& batch, const ModelShape& shape, const StepLimits& limits, int rows_before) {
  check_sequences(batch, shape, limits, rows_before);
  check_rows(batch, shape);
  check_history(batch, shape, rows_before);
  check_biases(batch, shape);
  check_banned(batch, shape);
  check_masks(batch, shape);
}

}  // namespace ziya
