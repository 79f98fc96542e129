// One token to draw, or to score, as TypeScript packs it: the boundary copies the table of a step's rows as it is, so this is the layout.
// The addon exports its offsets, and gpu-node/run/native/row-table.ts is held against them when the addon is opened.
#pragma once

#include <cstdint>
#include <type_traits>

namespace ziya {

// Neighbouring entries of one of the batch's flat lists. A row's span begins where the one of the row before ended.
struct Span {
  int32_t begin = 0, count = 0;
  constexpr int32_t end() const { return begin + count; }
};

// The defaults are greedy: they change nothing about the highest logit.
struct Row {
  uint64_t seed = 0;
  int32_t token = 0;    // index into the step's tokens, of the one whose logits are drawn from
  int32_t counter = 0;  // index of the output token being drawn
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  int32_t top_k = 0;          // 0 = off
  int32_t logprobs = -1;      // how many alternatives, up to top_logprobs_max; -1 = none
  int32_t output_tokens = 0;  // how many at the end of the history are output
  Span history = {};          // of StepBatch::history; empty where no penalty is set
  Span bias = {};             // of bias_ids and bias_values
  Span banned = {};           // of banned_ids
  Span mask = {};             // of mask_words, a bit an id: only these may be drawn; empty where every id may
  int32_t scored = -1;        // the id whose log-probability is told, and which counts as drawn whatever else the row says; -1 = one is drawn
};
static_assert(std::is_standard_layout_v<Row> && std::is_trivially_copyable_v<Row> && sizeof(Row) == 88);

constexpr int mask_word_bits = 32;
constexpr int32_t mask_words(int vocab_size) { return (vocab_size + mask_word_bits - 1) / mask_word_bits; }
constexpr bool is_in_mask(const int32_t* words, int id) {
  return uint32_t(words[id / mask_word_bits]) >> id % mask_word_bits & 1;
}

}  // namespace ziya
