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

constexpr int64_t dimension_max = int64_t(1) << 24;

void require_shape(bool holds, const char* field) {
  if (!holds) throw EngineError("bad_shape", std::string(field) + " is out of range");
}

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
}

void check_parameters(const StepBatch& batch) {
  const size_t rows = batch.rows.size();
  const auto check = [&](const std::vector<float>& values, const char* field, auto in_range) {
    require_size(values, rows, field);
    require_finite(values, field);
    for (const float value : values) require(in_range(value), field, "has a value out of range");
  };
  check(batch.temperature, "temperature", [](float v) { return v >= 0; });
  check(batch.top_p, "top_p", [](float v) { return v > 0 && v <= 1; });
  check(batch.min_p, "min_p", [](float v) { return v >= 0 && v <= 1; });
  check(batch.repetition_penalty, "repetition_penalty", [](float v) { return v > 0; });
  check(batch.frequency_penalty, "frequency_penalty", [](float) { return true; });
  check(batch.presence_penalty, "presence_penalty", [](float) { return true; });
  require_size(batch.top_k, rows, "top_k");
  for (const int32_t k : batch.top_k) require(k >= 0, "top_k", "has a negative value");
  require_size(batch.seeds, rows, "seeds");
  require_size(batch.counters, rows, "counters");
  for (const int32_t counter : batch.counters) require(counter >= 0, "counters", "has a negative value");
  require_size(batch.logprobs, rows, "logprobs");
  for (const int32_t count : batch.logprobs)
    require(count >= -1 && count <= top_logprobs_max, "logprobs", "has a value out of range");
}

void check_history(const StepBatch& batch, const ModelShape& shape, int rows_before) {
  require_size(batch.history_counts, batch.rows.size(), "history_counts");
  require_size(batch.output_counts, batch.rows.size(), "output_counts");
  require_counts(batch.history_counts, batch.history.size(), "history_counts");
  std::span<const int32_t> rest = batch.history;
  for (size_t row = 0; row < batch.rows.size(); row++) {
    require(batch.output_counts[row] >= 0 && batch.output_counts[row] <= batch.history_counts[row], "output_counts",
            "is more than the history");
    const auto own = rest.first(size_t(batch.history_counts[row]));
    const bool has_latest = batch.output_counts[row] > 0;  // which alone may be a reference
    require_within(own.first(own.size() - has_latest), shape.vocab_size, "history");
    require_ids(own.last(has_latest), shape, rows_before, "history");
    rest = rest.subspan(own.size());
  }
}

void check_banned(const StepBatch& batch, const ModelShape& shape) {
  require_size(batch.banned_counts, batch.rows.size(), "banned_counts");
  require_counts(batch.banned_counts, batch.banned_ids.size(), "banned_counts");
  require_within(batch.banned_ids, shape.vocab_size, "banned_ids");
  const int32_t* ids = batch.banned_ids.data();
  for (const int32_t count : batch.banned_counts) {
    if (count >= shape.vocab_size) {
      std::vector<bool> is_banned(shape.vocab_size);
      int different = 0;
      for (int i = 0; i < count; i++)
        if (!is_banned[ids[i]]) is_banned[ids[i]] = true, different++;
      require(different < shape.vocab_size, "banned_ids", "leaves no token to draw");
    }
    ids += count;
  }
}

}  // namespace

void check_shape(const ModelShape& shape, const StepLimits& limits) {
  const auto in_range = [](int64_t value) { return value >= 1 && value <= dimension_max; };
  require_shape(in_range(shape.vocab_size), "vocab_size");
  require_shape(in_range(shape.hidden_size), "hidden_size");
  require_shape(in_range(shape.intermediate_size), "intermediate_size");
  require_shape(shape.layers >= 1 && shape.layers <= 10000, "layers");
  require_shape(shape.heads >= 1 && shape.heads <= 65536, "heads");
  require_shape(shape.kv_heads >= 1 && shape.kv_heads <= shape.heads && shape.heads % shape.kv_heads == 0, "kv_heads");
  require_shape(shape.head_size >= 2 && shape.head_size <= 4096 && shape.head_size % 2 == 0, "head_size");
  require_shape(in_range(int64_t(shape.heads + 2 * shape.kv_heads) * shape.head_size), "heads");
  require_shape(in_range(shape.context_tokens), "context_tokens");
  require_shape(std::isfinite(shape.rope_theta) && shape.rope_theta > 1, "rope_theta");
  require_shape(std::isfinite(shape.rope_scaling_factor) && shape.rope_scaling_factor > 0, "rope_scaling_factor");
  require_shape(std::isfinite(shape.rms_norm_eps) && shape.rms_norm_eps >= 0, "rms_norm_eps");
  require_shape(in_range(limits.batch_tokens_max), "batch_tokens_max");
  require_shape(in_range(limits.sequences_max), "sequences_max");
  require_shape(limits.blocks == 0 || in_range(limits.blocks), "blocks");
}

void check_batch(const StepBatch& batch, const ModelShape& shape, const StepLimits& limits, int rows_before) {
  check_sequences(batch, shape, limits, rows_before);
  require(batch.rows.size() <= batch.tokens.size(), "rows", "has more than there are tokens");
  require_within(batch.rows, int(batch.tokens.size()), "rows");
  check_parameters(batch);
  check_history(batch, shape, rows_before);
  require_size(batch.bias_counts, batch.rows.size(), "bias_counts");
  require_counts(batch.bias_counts, batch.bias_ids.size(), "bias_counts");
  require_size(batch.bias_values, batch.bias_ids.size(), "bias_values");
  require_within(batch.bias_ids, shape.vocab_size, "bias_ids");
  require_finite(batch.bias_values, "bias_values");
  check_banned(batch, shape);
}

}  // namespace ziya
