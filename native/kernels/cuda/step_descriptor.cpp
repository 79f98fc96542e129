// Lists of ids have their distinct ones once, so that one thread may own each: see apply_penalties in sample.cu.
#include "step_descriptor.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int64_t other_words = 1 << 20;  // biases and bans, where not even all ids of all rows are fewer
constexpr int64_t words_bound = int64_t(1) << 28;

size_t align(size_t offset) { return (offset + 255) / 256 * 256; }

// Every sequence's blocks, and for as many rows a history of distinct ids and a mask.
int32_t words_max(const ModelShape& shape, const StepLimits& limits, int64_t attention_parts) {
  const int64_t blocks = (shape.context_tokens + block_tokens - 1) / block_tokens;
  const int64_t history = 2 * std::min(shape.vocab_size, shape.context_tokens);
  const int64_t attention = shape.has_attention() ? attention_plan_words_max(limits, attention_parts) : 0;
  const int64_t adapters = limits.adapters > 0 ? int64_t(limits.batch_tokens_max) * adapter_item_words : 0;
  const int64_t other = std::min(int64_t(limits.batch_tokens_max) * 3 * shape.vocab_size + other_words / 64, other_words);
  return int32_t(std::min(limits.sequences_max * (blocks + history + mask_words(shape.vocab_size)) + attention + adapters + other, words_bound));
}

}  // namespace

StepDescriptor::StepDescriptor(const ModelShape& shape, const StepLimits& limits, int multiprocessors,
                               int64_t attention_parts)
    : parts_([&] {
        Parts parts;
        parts.rows = align(sizeof(StepCounts));
        parts.tokens = align(parts.rows + limits.batch_tokens_max * sizeof(RowPlace));
        parts.words = align(parts.tokens + limits.batch_tokens_max * sizeof(TokenPlace));
        return parts;
      }()),
      attention_bounds_{shape.heads_a_kv_head(), shape.kv_heads, attention_parts, multiprocessors},
      words_max_(words_max(shape, limits, attention_parts)),
      bytes_(parts_.words + words_max_ * sizeof(int32_t)),
      vocab_size_(shape.vocab_size),
      staging_{Staging(bytes_), Staging(bytes_)},
      memory_(bytes_, "memory for the step descriptor"),
      history_counts_(shape.vocab_size) {
  char* base = memory_.as<char>();
  device_.counts = reinterpret_cast<StepCounts*>(base);
  device_.rows = reinterpret_cast<RowPlace*>(base + parts_.rows);
  device_.tokens = reinterpret_cast<TokenPlace*>(base + parts_.tokens);
  device_.words = reinterpret_cast<int32_t*>(base + parts_.words);
}

void StepDescriptor::upload(const StepBatch& batch, cudaStream_t stream) {
  const Staging& staging = staging_[uploads_++ % staging_.size()];
  staging.copied.synchronize();
  host_ = staging.memory.as<char>();
  words_ = 0;
  StepCounts& counts = *reinterpret_cast<StepCounts*>(host_);
  counts.tokens = int32_t(batch.tokens.size());
  counts.rows = int32_t(batch.rows.size());
  plan_attention(batch, attention_bounds_, plan_);
  place_tokens(batch);
  place_attention();
  place_adapters(batch);
  place_rows(batch);
  const size_t used = parts_.words + words_ * sizeof(int32_t);
  check(cudaMemcpyAsync(memory_.as<char>(), host_, used, cudaMemcpyHostToDevice, stream), "the step descriptor");
  staging.copied.record(stream);
}

void StepDescriptor::resolve(const DrawnToken* drawn, cudaStream_t stream) const {
  char* base = memory_.as<char>();
  ZIYA_DEVICE::resolve_references(reinterpret_cast<TokenPlace*>(base + parts_.tokens), counts().tokens,
                                  reinterpret_cast<RowPlace*>(base + parts_.rows), counts().rows, drawn, vocab_size_, stream);
}

int32_t StepDescriptor::append(int32_t word) {
  if (words_ == words_max_) {
    std::fill(history_counts_.begin(), history_counts_.end(), 0);
    throw EngineError("bad_batch", "the step's histories, biases, bans and masks are too many together");
  }
  reinterpret_cast<int32_t*>(host_ + parts_.words)[words_] = word;
  return words_++;
}

void StepDescriptor::place_tokens(const StepBatch& batch) {
  auto* tokens = reinterpret_cast<TokenPlace*>(host_ + parts_.tokens);
  const int32_t* blocks = batch.block_tables.data();
  int32_t token = 0;
  for (size_t s = 0; s < batch.starts.size(); s++) {
    const int32_t start = batch.starts[s], count = batch.token_counts[s], first_block = words_;
    const int32_t needed = (start + count + block_tokens - 1) / block_tokens;
    for (int32_t i = 0; i < needed; i++) append(blocks[i]);
    blocks += batch.block_counts[s];
    for (int32_t i = 0; i < count; i++, token++)
      tokens[token] = {batch.tokens[token], start + i, first_block, plan_.parts[token].first, plan_.parts[token].count};
  }
}

void StepDescriptor::place_attention() {
  StepCounts& counts = *reinterpret_cast<StepCounts*>(host_);
  counts.narrow_items = int32_t(plan_.narrow.size());
  counts.wide_items = int32_t(plan_.wide.size());
  counts.merged_tokens = int32_t(plan_.merged.size());
  counts.first_item = words_;
  for (const auto* items : {&plan_.narrow, &plan_.wide})
    for (const AttentionItem& item : *items)
      for (const int32_t word : {item.first_token, item.tokens, item.first_split, item.splits}) append(word);
  counts.first_merged = words_;
  for (const int32_t token : plan_.merged) append(token);
}

void StepDescriptor::place_adapters(const StepBatch& batch) {
  StepCounts& counts = *reinterpret_cast<StepCounts*>(host_);
  counts.adapter_items = 0;
  counts.first_adapter_item = words_;
  for (const AdapterRun& run : adapter_runs(batch))
    for (int done = 0; done < run.tokens; done += adapter_item_tokens, counts.adapter_items++)
      for (const int32_t word : {run.adapter, run.first_token + done, std::min(run.tokens - done, adapter_item_tokens)}) append(word);
}

void StepDescriptor::place_rows(const StepBatch& batch) {
  auto* places = reinterpret_cast<RowPlace*>(host_ + parts_.rows);
  for (const Row& row : batch.rows) {
    RowPlace place = {row, no_token};
    append_history(batch, row, place);
    place.bias = append_biases(batch, row.bias);
    place.banned.begin = words_;
    for (int32_t i = row.banned.begin; i < row.banned.end(); i++) append(batch.banned_ids[i]);
    place.mask.begin = words_;
    for (int32_t i = row.mask.begin; i < row.mask.end(); i++) append(batch.mask_words[i]);
    *places++ = place;
  }
}

void StepDescriptor::append_history(const StepBatch& batch, const Row& row, RowPlace& place) {
  place.history = {words_, 0};
  if (row.repetition_penalty == 1 && row.frequency_penalty == 0 && row.presence_penalty == 0) return;
  const int32_t* ids = batch.history.data() + row.history.begin;
  int32_t count = row.history.count;
  const int32_t prompt_count = count - row.output_tokens;
  if (count > 0 && is_reference(ids[count - 1])) place.latest = ids[--count];
  for (int32_t i = 0; i < count; i++) {
    if (history_counts_[ids[i]] == 0) history_counts_[ids[i]] = 1;
    if (i >= prompt_count) history_counts_[ids[i]]++;
  }
  for (int32_t i = 0; i < count; i++) {
    if (history_counts_[ids[i]] == 0) continue;
    append(ids[i]);
    append(history_counts_[ids[i]] - 1);
    history_counts_[ids[i]] = 0;
    place.history.count++;
  }
}

Span StepDescriptor::append_biases(const StepBatch& batch, Span bias) {
  const Span words = {words_, bias.count};
  std::vector<int32_t> order(bias.count);
  std::iota(order.begin(), order.end(), bias.begin);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return batch.bias_ids[a] < batch.bias_ids[b]; });
  for (const int32_t i : order) {
    append(batch.bias_ids[i]);
    append(std::bit_cast<int32_t>(batch.bias_values[i]));
  }
  return words;
}

}  // namespace ziya::ZIYA_DEVICE
