// The order of things: penalties, bias, bans, mask, temperature, top-k, top-p, min-p (Hugging Face's), then the inverse of
// the cumulative distribution in the order of ids. Logprobs come first, from the raw logits.
#include "sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "philox.h"

namespace ziya {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

// Below this a temperature is greedy: its inverse would leave the range of floats.
constexpr float temperature_min = 1e-6f;

// However large a penalty or a bias is, no score becomes infinite.
float bounded(float score) { return std::clamp(score, -1e30f, 1e30f); }

}  // namespace

Sampler::Sampler(const Bodies& bodies, int vocab_size)
    : bodies_(bodies),
      vocab_size_(vocab_size),
      scores_((vocab_size + bodies.width - 1) / bodies.width * bodies.width, minus_infinity),
      probabilities_(scores_.size()),
      counts_(vocab_size) {}

Drawn Sampler::draw(const float* logits, const SamplingRow& row) {
  Drawn drawn;
  drawn.token = nothing_drawn;
  if (!load_scores(logits)) return drawn;
  log_probabilities(row.parameters.logprobs, drawn);
  drawn.token = row.parameters.scored >= 0 ? row.parameters.scored : choose(row);
  drawn.logprob += logits[drawn.token];
  return drawn;
}

int Sampler::choose(const SamplingRow& row) {
  apply_penalties(row);
  return row.parameters.temperature < temperature_min ? highest() : draw_token(row.parameters);
}

bool Sampler::load_scores(const float* logits) {
  bool finite = true;
  for (int i = 0; i < vocab_size_; i++) {
    finite &= std::abs(logits[i]) <= std::numeric_limits<float>::max();
    scores_[i] = logits[i];
  }
  return finite;
}

// Leaves -log(sum of exp) in drawn.logprob, to which the drawn token's logit is added.
void Sampler::log_probabilities(int top_count, Drawn& drawn) {
  const float high = bodies_.maximum(scores_.data(), int(scores_.size()));
  const float sum = bodies_.exp_sum(scores_.data(), int(scores_.size()), high, 1.0f, probabilities_.data());
  drawn.logprob = -(high + std::log(sum));
  if (top_count <= 0) return;
  keep_highest(std::min(top_count, vocab_size_), drawn.top_ids);
  for (const int id : drawn.top_ids) drawn.top_logprobs.push_back(scores_[id] + drawn.logprob);
}

// Leaves so many ids in order, of equal scores the lower one first: few are better than the worst of those kept so far.
void Sampler::keep_highest(int count, std::vector<int32_t>& ids) const {
  const auto is_higher = [&](float score, int id) { return score > scores_[id]; };
  for (int id = 0; id < vocab_size_; id++) {
    const bool is_full = int(ids.size()) == count;
    if (is_full && scores_[id] <= scores_[ids.back()]) continue;
    if (is_full) ids.pop_back();
    ids.insert(std::upper_bound(ids.begin(), ids.end(), scores_[id], is_higher), id);
  }
}

void Sampler::apply_penalties(const SamplingRow& row) {
  const Row& parameters = row.parameters;
  const auto repeat = [&](int id) {
    if (counts_[id]++ > 0) return;
    const float penalty = parameters.repetition_penalty;
    scores_[id] = bounded(scores_[id] > 0 ? scores_[id] / penalty : scores_[id] * penalty);
  };
  for (const int id : row.prompt) repeat(id);
  for (const int id : row.output) repeat(id);
  for (const int id : row.prompt) counts_[id] = 0;
  for (const int id : row.output) counts_[id] = 0;

  for (const int id : row.output) counts_[id]++;
  for (const int id : row.output) {
    if (counts_[id] == 0) continue;
    scores_[id] = bounded(scores_[id] - parameters.frequency_penalty * float(counts_[id]) - parameters.presence_penalty);
    counts_[id] = 0;
  }
  for (size_t i = 0; i < row.bias_ids.size(); i++)
    scores_[row.bias_ids[i]] = bounded(scores_[row.bias_ids[i]] + row.bias_values[i]);
  for (const int id : row.banned) scores_[id] = minus_infinity;
  if (row.mask.empty()) return;
  for (int id = 0; id < vocab_size_; id++)
    if (!is_in_mask(row.mask.data(), id)) scores_[id] = minus_infinity;
}

int Sampler::highest() const {
  const float high = bodies_.maximum(scores_.data(), int(scores_.size()));
  return int(std::find(scores_.begin(), scores_.end(), high) - scores_.begin());
}

int Sampler::draw_token(const Row& row) {
  const int size = int(scores_.size());
  const float high = bodies_.maximum(scores_.data(), size);
  const float sum = bodies_.exp_sum(scores_.data(), size, high, 1 / row.temperature, probabilities_.data());
  const double random = uniform(row.seed, uint32_t(row.counter));
  const bool filtered = (row.top_k > 0 && row.top_k < vocab_size_) || row.top_p < 1 || row.min_p > 0;
  if (!filtered) return draw_from_all(random);

  keep_candidates(row, sum);
  double kept = 0;
  for (const auto& candidate : candidates_) kept += candidate.probability;
  double passed = 0;
  for (const auto& candidate : candidates_)
    if ((passed += candidate.probability) > random * kept) return candidate.id;
  return candidates_.back().id;
}

int Sampler::draw_from_all(double random) const {
  double total = 0;
  for (int id = 0; id < vocab_size_; id++) total += probabilities_[id];
  double passed = 0;
  int last = highest();
  for (int id = 0; id < vocab_size_; id++) {
    if (probabilities_[id] == 0) continue;
    last = id;
    if ((passed += probabilities_[id]) > random * total) break;
  }
  return last;
}

// Leaves the ids that pass every filter, in the order of ids. The most probable one always passes.
void Sampler::keep_candidates(const Row& row, double total) {
  const auto less = [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.id > b.id;
  };
  // All that is below `negligible` adds up to less than what top-p drops, so it need not be put in order.
  const double negligible = row.top_k > 0 ? 0 : total * (1 - row.top_p) / vocab_size_ / 2;
  candidates_.clear();
  for (int id = 0; id < vocab_size_; id++)
    if (probabilities_[id] > negligible) candidates_.push_back({probabilities_[id], id});

  if (row.top_k > 0) {
    if (row.top_k < int(candidates_.size())) {
      std::nth_element(candidates_.begin(), candidates_.begin() + row.top_k, candidates_.end(),
                       [&](const Candidate& a, const Candidate& b) { return less(b, a); });
      candidates_.resize(row.top_k);
    }
    total = 0;
    for (const auto& candidate : candidates_) total += candidate.probability;
  }
  if (row.top_p < 1) {
    std::make_heap(candidates_.begin(), candidates_.end(), less);
    auto kept = candidates_.end();
    double passed = 0;
    do {
      std::pop_heap(candidates_.begin(), kept, less);
      passed += (--kept)->probability;
    } while (passed < row.top_p * total && kept != candidates_.begin());
    candidates_.erase(candidates_.begin(), kept);
  }
  // Probabilities are relative to the highest, which is 1.
  if (row.min_p > 0) std::erase_if(candidates_, [&](const Candidate& c) { return c.probability < row.min_p; });
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

}  // namespace ziya
