// Draws one token from one row of logits, or scores a given one. Everything it looks at is the row's own, so neighbours cannot change the
// draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../step.h"
#include "bodies.h"

namespace ziya {

struct SamplingRow {
  const Row& parameters;
  std::span<const int32_t> prompt, output;  // the history's two parts
  std::span<const int32_t> bias_ids;
  std::span<const float> bias_values;
  std::span<const int32_t> banned;
  std::span<const int32_t> mask;
};

struct Drawn {
  int token = 0;
  float logprob = 0;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

// One a thread; keeps its memory between rows.
class Sampler {
 public:
  Sampler(const Bodies& bodies, int vocab_size);
  // nothing_drawn where a logit is not finite.
  Drawn draw(const float* logits, const SamplingRow& row);

 private:
  struct Candidate {
    float probability;
    int id;
  };
  bool load_scores(const float* logits);
  void log_probabilities(int top_count, Drawn& drawn);
  void keep_highest(int count, std::vector<int32_t>& ids) const;
  int choose(const SamplingRow& row);
  void apply_penalties(const SamplingRow& row);
  int highest() const;
  int draw_token(const Row& row);
  int draw_from_all(double target) const;
  void keep_candidates(const Row& row, double total);

  const Bodies& bodies_;
  const int vocab_size_;
  std::vector<float> scores_;         // (vocab, padded with -infinity)
  std::vector<float> probabilities_;  // same
  std::vector<int32_t> counts_;       // (vocab) zero between rows
  std::vector<Candidate> candidates_;
};

}  // namespace ziya
