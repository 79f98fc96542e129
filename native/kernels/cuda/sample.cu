// One token for each row of logits (rows, vocab): penalties, bias, bans, mask, temperature, top-k, top-p, min-p, then the inverse
// of the cumulative distribution in the order of ids, exactly as cpu/sample.cpp defines them.
// The trick: no sort. A candidate's key is (probability, then the lower id first); the filters are one threshold on keys,
// found from three histograms of ten bits each, in fixed point so that any order of adding gives one sum. Probabilities are
// bit for bit those of the CPU; a draw sums them as doubles in a fixed order, so the token differs from the CPU's only if a
// draw falls within rounding of a boundary. The reference bisects the threshold's bits with sums over the block instead.
#include "block_reduce.h"
#include "launchers.h"
#include "philox.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int threads_max = 512, threads_min = 64;
constexpr int small_vocab = 4096;
constexpr float temperature_min = 1e-6f;
constexpr uint32_t one_bits = 0x3f800000u;  // of the highest probability

constexpr int bin_bits = 10, bins = 1 << bin_bits;
constexpr int probability_bits = 3 * bin_bits;
static_assert(one_bits < 1u << probability_bits);

template <int threads>
struct Shared {
  unsigned long long histogram[bins];
  BlockReduce<threads, unsigned long long> masses;
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

__device__ __forceinline__ int fraction_bits_of(int vocab_size) {
  int bits = 63;
  while (vocab_size > 1 << (63 - bits)) bits--;
  return bits;
}

template <int threads, bool by_bisection>
class RowSampler {
 public:
  __device__ RowSampler(const RowPlace& row, const int32_t* words, const float* logits, float* scores, int vocab_size)
      : row_(row), words_(words), logits_(logits), scores_(scores), vocab_size_(vocab_size),
        fraction_bits_(fraction_bits_of(vocab_size)), shared_(block_shared<Shared<threads>>()) {}

  __device__ void draw(DrawnToken& drawn) {
    const bool finite = load_scores();
    const float log_sum = log_probabilities(drawn);
    const int token = row_.scored >= 0 ? row_.scored : choose();
    if (threadIdx.x != 0) return;
    drawn.token = token;
    drawn.is_finite = finite;
    drawn.logprob = log_sum + logits_[token];
  }

 private:
  // All threads of the block have one row, so that they score or choose together.
  __device__ int choose() {
    apply_penalties();
    return row_.temperature < temperature_min ? highest() : draw_token();
  }

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

  // Reads the raw logits. Returns -log(sum of exp).
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

  __device__ void penalise(int id, int outputs) {
    const float score = scores_[id];
    float penalised = bounded(score > 0 ? score / row_.repetition_penalty : score * row_.repetition_penalty);
    if (outputs > 0)
      penalised = bounded(penalised - row_.frequency_penalty * float(outputs) - row_.presence_penalty);
    scores_[id] = penalised;
  }

  __device__ void apply_penalties() {
    // The ids of the history are distinct, but for the latest, which may be one of them or new; those of the biases are sorted,
    // so that one thread has all of an id.
    int is_known = 0;
    for (int i = threadIdx.x; i < row_.history.count; i += threads) {
      const int id = words_[row_.history.begin + 2 * i], outputs = words_[row_.history.begin + 2 * i + 1];
      const int is_latest = id == row_.latest;
      penalise(id, outputs + is_latest);
      is_known |= is_latest;
    }
    if (row_.latest >= 0 && shared_.ids.largest(is_known) == 0 && threadIdx.x == 0) penalise(row_.latest, 1);
    __syncthreads();
    const int32_t* biases = words_ + row_.bias.begin;
    for (int i = threadIdx.x; i < row_.bias.count; i += threads) {
      const int id = biases[2 * i];
      if (i > 0 && biases[2 * i - 2] == id) continue;
      for (int same = i; same < row_.bias.count && biases[2 * same] == id; same++)
        scores_[id] = bounded(scores_[id] + __uint_as_float(uint32_t(biases[2 * same + 1])));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < row_.banned.count; i += threads) scores_[words_[row_.banned.begin + i]] = -INFINITY;
    __syncthreads();
    if (row_.mask.count == 0) return;
    each_id([&](int id) {
      const uint32_t word = words_[row_.mask.begin + id / mask_word_bits];
      if (!(word >> id % mask_word_bits & 1)) scores_[id] = -INFINITY;
    });
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

  // Gives an integer of which the whole vocabulary's sum fits into 63 bits.
  __device__ unsigned long long fixed_point(float probability) const {
    return static_cast<unsigned long long>(probability * __uint_as_float(uint32_t(127 + fraction_bits_) << 23));
  }

  // The largest key from which on the candidates from `least` on measure up to the goal; `least` when they do not.
  template <class Measure>
  __device__ unsigned long long select(unsigned long long goal, unsigned long long least, const Measure& measure) {
    unsigned long long above = 0;
    uint32_t prefix = 0;
    for (int shift = probability_bits - bin_bits; shift >= 0; shift -= bin_bits) {
      for (int bin = threadIdx.x; bin < bins; bin += threads) shared_.histogram[bin] = 0;
      __syncthreads();
      each_id([&](int id) {
        const uint32_t bits = __float_as_uint(scores_[id]);
        if (bits >> shift >> bin_bits == prefix && probability_key(id) >= least)
          atomicAdd(&shared_.histogram[bits >> shift & (bins - 1)], measure(scores_[id]));
      });
      __syncthreads();
      const int bin = bin_that_reaches(goal, above);
      if (bin < 0) return least;
      prefix = prefix << bin_bits | uint32_t(bin);
    }
    const unsigned long long each = measure(__uint_as_float(prefix));
    const unsigned long long key = uint64_t(prefix) << 32 | uint32_t(vocab_size_ - 1 - equal_id(prefix, (goal - above - 1) / each));
    return key > least ? key : least;
  }

  // The highest bin with which the goal is reached, and adds to `above` what the bins above it hold; -1 when none is.
  __device__ int bin_that_reaches(unsigned long long goal, unsigned long long& above) {
    constexpr int bins_a_thread = bins / threads;
    const int top = bins - 1 - int(threadIdx.x) * bins_a_thread;  // the first thread has the highest bins
    unsigned long long own = 0;
    for (int i = 0; i < bins_a_thread; i++) own += shared_.histogram[top - i];
    unsigned long long passed = above + shared_.masses.exclusive_sum(own), before = 0;
    int found = -1;
    for (int i = 0; i < bins_a_thread && found < 0; i++) {
      before = passed;
      passed += shared_.histogram[top - i];
      if (before < goal && passed >= goal) found = top - i;
    }
    const int bin = shared_.ids.largest(found);
    above = shared_.masses.largest(found >= 0 ? before : 0);
    return bin;
  }

  // The id of the candidate of this probability that has `rank` lower ids of the same before it.
  __device__ int equal_id(uint32_t probability, unsigned long long rank) {
    const int share = ceil_div(vocab_size_, threads);
    const int begin = min(int(threadIdx.x) * share, vocab_size_), end = min(begin + share, vocab_size_);
    int own = 0;
    for (int id = begin; id < end; id++) own += __float_as_uint(scores_[id]) == probability;
    unsigned long long passed = shared_.ids.exclusive_sum(own);
    int found = -1;
    for (int id = begin; id < end; id++)
      if (__float_as_uint(scores_[id]) == probability && passed++ == rank) found = id;
    return shared_.ids.largest(found);
  }

  __device__ unsigned long long top_k_threshold(unsigned long long least) {
    if constexpr (by_bisection)
      return bisect(double(row_.top_k), least, [&](unsigned long long from) { return count_from(from); });
    else
      return select(uint64_t(row_.top_k), least, [](float) { return 1ull; });
  }

  __device__ unsigned long long top_p_threshold(unsigned long long least) {
    if constexpr (by_bisection) {
      const double goal = double(row_.top_p) * mass_from(least);
      return bisect(goal, least, [&](unsigned long long from) { return mass_from(from); });
    } else {
      unsigned long long total = 0;
      each_id([&](int id) { total += probability_key(id) >= least ? fixed_point(scores_[id]) : 0; });
      total = shared_.masses.sum(total);
      const auto goal = static_cast<unsigned long long>(ceil(double(row_.top_p) * double(total)));
      return select(goal > 0 ? goal : 1, least, [&](float probability) { return fixed_point(probability); });
    }
  }

  __device__ unsigned long long threshold() {
    unsigned long long key = uint64_t(1) << 32;  // any probability that is not 0
    if (row_.top_k > 0 && row_.top_k < vocab_size_) key = top_k_threshold(key);
    if (row_.top_p < 1) key = top_p_threshold(key);
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
  const int vocab_size_, fraction_bits_;
  Shared<threads>& shared_;
};

template <int threads, bool by_bisection>
__global__ void __launch_bounds__(threads)
    sample_kernel(StepView step, int first_row, ActivationView logits, int vocab_size, float* scores, DrawnToken* drawn) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int row = blockIdx.x;
  if (first_row + row >= step.counts->rows) return;
  const RowPlace place = step.rows[first_row + row];
  RowSampler<threads, by_bisection> sampler(place, step.words, logits.row(row), scores + int64_t(row) * vocab_size, vocab_size);
  sampler.draw(drawn[row]);
}

template <int threads, bool by_bisection>
void launch(const StepView& step, int first_row, const ActivationView& logits, int rows, int vocab_size, float* scores,
            DrawnToken* drawn, cudaStream_t stream) {
  LAUNCH((sample_kernel<threads, by_bisection>), rows, threads, sizeof(Shared<threads>), stream, step, first_row, logits,
         vocab_size, scores, drawn);
}

}  // namespace

void sample(SampleBy by, const StepView& step, int first_row, const ActivationView& logits, int rows, int vocab_size,
            float* scores, DrawnToken* drawn, cudaStream_t stream) {
  const bool is_small = vocab_size < small_vocab;
  const auto run = by == SampleBy::bisection ? is_small ? launch<threads_min, true> : launch<threads_max, true>
                   : is_small                ? launch<threads_min, false>
                                             : launch<threads_max, false>;
  run(step, first_row, logits, rows, vocab_size, scores, drawn, stream);
}

}  // namespace ziya::ZIYA_DEVICE
