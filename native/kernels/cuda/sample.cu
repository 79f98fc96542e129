// One token for each row of logits (rows, vocab): penalties, bias, bans, temperature, top-k, top-p, min-p, then the inverse
// of the cumulative distribution in the order of ids, exactly as cpu/sample.cpp defines them.
// The trick: no sort. A candidate's key is (probability, then the lower id first); the filters are one threshold on keys,
// found by bisecting its bits with sums over the block. Probabilities are bit for bit those of the CPU; sums of them are
// doubles in a fixed order, so the token differs from the CPU's only if a draw falls within rounding of a boundary.
#include "block_reduce.h"
#include "launchers.h"
#include "philox.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int threads_max = 512, threads_min = 64;
constexpr int small_vocab = 4096;
constexpr float temperature_min = 1e-6f;
constexpr uint32_t one_bits = 0x3f800000u;  // of the highest probability

template <int threads>
struct Shared {
  BlockReduce<threads, double> sums;
  BlockReduce<threads, unsigned long long> keys;
  BlockReduce<threads, int> ids;
};

__device__ __forceinline__ float bounded(float score) { return fminf(fmaxf(score, -1e30f), 1e30f); }

// Cephes' expf as cpu/bodies.inc.h has it, fma for fma.
__device__ float exponential(float x) {
  constexpr float lowest = -87.33f;
  if (x < lowest) return 0;
  const float limited = fminf(x, 88.0f);
  const float n = rintf(limited * 1.44269504f);
  float r = fmaf(n, -0.693359375f, limited);
  r = fmaf(n, 2.12194440e-4f, r);
  float y = 1.9875691500e-4f;
  y = fmaf(y, r, 1.3981999507e-3f);
  y = fmaf(y, r, 8.3334519073e-3f);
  y = fmaf(y, r, 4.1665795894e-2f);
  y = fmaf(y, r, 1.6666665459e-1f);
  y = fmaf(y, r, 5.0000001201e-1f);
  y = fmaf(y, r * r, r) + 1.0f;
  return y * __uint_as_float(uint32_t(int(n) + 127) << 23);
}

__device__ double uniform(uint64_t seed, uint32_t counter) {
  const Random128 bits = philox({counter, 0, 0, 0}, seed);
  return double((uint64_t(bits.word[0]) << 32 | bits.word[1]) >> 11) * 0x1p-53;
}

// Orders as (score, then the lower id first); scores of any sign.
__device__ __forceinline__ unsigned long long score_key(float score, int id) {
  const uint32_t bits = __float_as_uint(score + 0.0f);  // -0 is 0
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t(ordered) << 32 | uint32_t(~id);
}
__device__ __forceinline__ int id_of(unsigned long long key) { return int(~uint32_t(key)); }

template <int threads>
class RowSampler {
 public:
  __device__ RowSampler(const RowPlace& row, const int32_t* words, const float* logits, float* scores, int vocab_size)
      : row_(row), words_(words), logits_(logits), scores_(scores), vocab_size_(vocab_size),
        shared_(block_shared<Shared<threads>>()) {}

  __device__ void draw(DrawnToken& drawn) {
    const bool finite = load_scores();
    const float log_sum = log_probabilities(drawn);
    apply_penalties();
    const int token = row_.temperature < temperature_min ? highest() : draw_token();
    if (threadIdx.x != 0) return;
    drawn.token = token;
    drawn.is_finite = finite;
    drawn.logprob = log_sum + logits_[token];
  }

 private:
  template <class Visit>
  __device__ void each_id(const Visit& visit) {
    for (int id = threadIdx.x; id < vocab_size_; id += threads) visit(id);
  }

  __device__ bool load_scores() {
    int broken = 0;
    each_id([&](int id) {
      scores_[id] = logits_[id];
      broken |= !isfinite(logits_[id]);
    });
    return shared_.ids.largest(broken) == 0;
  }

  __device__ unsigned long long largest_key_below(unsigned long long limit) {
    unsigned long long best = 0;
    each_id([&](int id) {
      const unsigned long long key = score_key(scores_[id], id);
      if (key < limit && key > best) best = key;
    });
    return shared_.keys.largest(best);
  }

  __device__ int highest() { return id_of(largest_key_below(~0ull)); }

  // Of the raw logits. Returns -log(sum of exp).
  __device__ float log_probabilities(DrawnToken& drawn) {
    unsigned long long key = largest_key_below(~0ull);
    const float high = logits_[id_of(key)];
    double sum = 0;
    each_id([&](int id) { sum += double(exponential(logits_[id] - high)); });
    const float log_sum = -(high + float(log(shared_.sums.sum(sum))));
    const int count = min(max(row_.logprobs, 0), vocab_size_);
    for (int i = 0; i < count; i++) {
      if (threadIdx.x == 0) {
        drawn.top_ids[i] = id_of(key);
        drawn.top_logprobs[i] = logits_[id_of(key)] + log_sum;
      }
      key = largest_key_below(key);
    }
    if (threadIdx.x == 0) drawn.top_count = count;
    return log_sum;
  }

  __device__ void apply_penalties() {
    // The ids of the history are distinct; those of the biases are sorted, so that one thread has all of an id.
    for (int i = threadIdx.x; i < row_.history_count; i += threads) {
      const int id = words_[row_.history_begin + 2 * i], outputs = words_[row_.history_begin + 2 * i + 1];
      const float score = scores_[id];
      float penalised = bounded(score > 0 ? score / row_.repetition_penalty : score * row_.repetition_penalty);
      if (outputs > 0)
        penalised = bounded(penalised - row_.frequency_penalty * float(outputs) - row_.presence_penalty);
      scores_[id] = penalised;
    }
    __syncthreads();
    const int32_t* biases = words_ + row_.bias_begin;
    for (int i = threadIdx.x; i < row_.bias_count; i += threads) {
      const int id = biases[2 * i];
      if (i > 0 && biases[2 * i - 2] == id) continue;
      for (int same = i; same < row_.bias_count && biases[2 * same] == id; same++)
        scores_[id] = bounded(scores_[id] + __uint_as_float(uint32_t(biases[2 * same + 1])));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < row_.banned_count; i += threads) scores_[words_[row_.banned_begin + i]] = -INFINITY;
    __syncthreads();
  }

  __device__ int draw_token() {
    const float high = scores_[highest()];
    const float scale = 1.0f / row_.temperature;
    __syncthreads();  // `high` has been read
    each_id([&](int id) { scores_[id] = exponential((scores_[id] - high) * scale); });
    __syncthreads();
    return draw_above(threshold());
  }

  __device__ unsigned long long probability_key(int id) const {
    return uint64_t(__float_as_uint(scores_[id])) << 32 | uint32_t(vocab_size_ - 1 - id);
  }

  __device__ double count_from(unsigned long long key) {
    double count = 0;
    each_id([&](int id) { count += probability_key(id) >= key; });
    return shared_.sums.sum(count);
  }

  __device__ double mass_from(unsigned long long key) {
    double mass = 0;
    each_id([&](int id) { mass += probability_key(id) >= key ? double(scores_[id]) : 0.0; });
    return shared_.sums.sum(mass);
  }

  // The largest key from which on there is at least the goal of what `measure` adds up; `least` when nothing reaches it.
  template <class Measure>
  __device__ unsigned long long bisect(double goal, unsigned long long least, const Measure& measure) {
    uint32_t low = uint32_t(least >> 32), high = one_bits + 1;  // low reaches the goal, high does not
    while (high - low > 1) {
      const uint32_t middle = low + (high - low) / 2;
      (measure(uint64_t(middle) << 32) >= goal ? low : high) = middle;
    }
    uint32_t rank_low = 0, rank_high = uint32_t(vocab_size_);
    while (rank_high - rank_low > 1) {
      const uint32_t middle = rank_low + (rank_high - rank_low) / 2;
      (measure(uint64_t(low) << 32 | middle) >= goal ? rank_low : rank_high) = middle;
    }
    const unsigned long long key = uint64_t(low) << 32 | rank_low;
    return key > least ? key : least;
  }

  __device__ unsigned long long threshold() {
    unsigned long long key = uint64_t(1) << 32;  // any probability that is not 0
    if (row_.top_k > 0 && row_.top_k < vocab_size_)
      key = bisect(double(row_.top_k), key, [&](unsigned long long from) { return count_from(from); });
    if (row_.top_p < 1) {
      const double goal = double(row_.top_p) * mass_from(key);
      key = bisect(goal, key, [&](unsigned long long from) { return mass_from(from); });
    }
    const unsigned long long least = uint64_t(__float_as_uint(row_.min_p)) << 32;
    return key > least ? key : least;
  }

  // Each thread has neighbouring ids here, so that sums pass over them in order.
  __device__ int draw_above(unsigned long long key) {
    const int share = ceil_div(vocab_size_, threads);
    const int begin = min(int(threadIdx.x) * share, vocab_size_), end = min(begin + share, vocab_size_);
    double own = 0;
    int last = -1;
    for (int id = begin; id < end; id++) {
      if (probability_key(id) < key) continue;
      own += double(scores_[id]);
      last = id;
    }
    double passed = shared_.sums.exclusive_sum(own);
    const double goal = uniform(row_.seed, uint32_t(row_.counter)) * shared_.sums.sum(own);
    int first = vocab_size_;
    for (int id = begin; id < end && first == vocab_size_; id++)
      if (probability_key(id) >= key && (passed += double(scores_[id])) > goal) first = id;
    const int drawn = -shared_.ids.largest(-first);
    const int fallback = shared_.ids.largest(last);
    return drawn < vocab_size_ ? drawn : fallback;
  }

  const RowPlace& row_;
  const int32_t* words_;
  const float* logits_;
  float* scores_;
  const int vocab_size_;
  Shared<threads>& shared_;
};

template <int threads>
__global__ void __launch_bounds__(threads)
    sample_kernel(StepView step, int first_row, ActivationView logits, int vocab_size, float* scores, DrawnToken* drawn) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int row = blockIdx.x;
  if (first_row + row >= step.counts->rows) return;
  const RowPlace place = step.rows[first_row + row];
  RowSampler<threads> sampler(place, step.words, logits.row(row), scores + int64_t(row) * vocab_size, vocab_size);
  sampler.draw(drawn[row]);
}

}  // namespace

void sample(const StepView& step, int first_row, const ActivationView& logits, int rows, int vocab_size, float* scores,
            DrawnToken* drawn, cudaStream_t stream) {
  if (vocab_size < small_vocab)
    LAUNCH(sample_kernel<threads_min>, rows, threads_min, sizeof(Shared<threads_min>), stream, step, first_row, logits,
           vocab_size, scores, drawn);
  else
    LAUNCH(sample_kernel<threads_max>, rows, threads_max, sizeof(Shared<threads_max>), stream, step, first_row, logits,
           vocab_size, scores, drawn);
}

}  // namespace ziya::ZIYA_DEVICE
