// Rotation and attention through kernels.h, against float64 and bit by bit against themselves: the same token decoded,
// verified, prefilled, in chunks.
#include "bench.h"

namespace ziya::test {
namespace {

// The keys and values of a sequence, as the cache has to hold them.
struct History {
  std::vector<Doubles> keys, values;  // (positions)(kv_heads * head_size)
};

// What the cache holds is what the kernel computed, rounded: one unit of fp16 next to a tie would drown all else.
void remember(const Bench& b, const float* qkv, History& history) {
  const int queries = b.shape.heads * b.shape.head_size, keys = b.shape.kv_heads * b.shape.head_size;
  Doubles key(qkv + queries, qkv + queries + keys), value(qkv + queries + keys, qkv + queries + 2 * keys);
  round_to_cache(key, b.shape);
  round_to_cache(value, b.shape);
  history.keys.push_back(key);
  history.values.push_back(value);
}

ModelShape random_shape_of(KvFormat format, Random& random) {
  ModelShape shape = random_shape(random);
  shape.kv_cache = format;
  return shape;
}

void expect_rotated(const Bench& b, const Doubles& projected, const float* got, int position, History& history) {
  const ModelShape& s = b.shape;
  Doubles want = projected;
  const int queries = s.heads * s.head_size, keys = s.kv_heads * s.head_size;
  for (int head = 0; head < s.heads + s.kv_heads; head++) rotate_half(&want[head * s.head_size], s, position);
  // An fp32 angle of `position` radians is off by up to position * 2^-23, and turns the other half's value (below 4) by as much.
  const double scale = 4 + 4 * position * std::pow(2., -23) / b.precision;
  for (int i = 0; i < queries; i++)
    b.expect_near(got[i], want[i] / std::sqrt(double(s.head_size)), scale, "query at position " + std::to_string(position));
  for (int i = queries; i < queries + keys; i++)
    b.expect_near(got[i], want[i], scale, "key at position " + std::to_string(position));
  remember(b, got, history);
}

Doubles attend(const Bench& b, const float* q, const History& history, int visible) {
  const int size = b.shape.head_size;
  Doubles out;
  for (int head = 0; head < b.shape.heads; head++) {
    const int kv = head / (b.shape.heads / b.shape.kv_heads) * size;
    Doubles weights;
    double sum = 0, highest = -1e300;
    for (int t = 0; t < visible; t++) {
      double score = 0;
      for (int i = 0; i < size; i++) score += double(q[head * size + i]) * history.keys[t][kv + i];
      weights.push_back(score);
      highest = std::max(highest, score);
    }
    for (auto& weight : weights) sum += weight = std::exp(weight - highest);
    for (int i = 0; i < size; i++) {
      double value = 0;
      for (int t = 0; t < visible; t++) value += weights[t] / sum * history.values[t][kv + i];
      out.push_back(value);
    }
  }
  return out;
}

// Runs qkv_rope and attention for pieces of several sequences, in however many steps, and returns each token's output.
class AttentionRun {
 public:
  AttentionRun(Bench& b, const Matrix& weight, const std::vector<Floats>& inputs,
               std::vector<std::vector<int32_t>> blocks)
      : b_(b),
        weight_(weight),
        inputs_(inputs),
        blocks_(std::move(blocks)),
        layer_(b.kernels->make_kv_layer(b.limits.blocks)),
        done_(inputs.size()),
        qkv(inputs.size()),
        out(inputs.size()) {}

  // Every sequence goes on from this position; what came out so far is dropped.
  void seek(int position) {
    done_.assign(done_.size(), position);
    for (auto* all : {&qkv, &out}) all->assign(all->size(), {});
  }

  // The next counts[s] tokens of sequence s. Without attention, only the cache is written.
  void step(const std::vector<int>& counts, bool attends = true) {
    std::vector<Piece> pieces;
    Floats rows;
    for (size_t s = 0; s < counts.size(); s++) {
      if (counts[s] == 0) continue;
      const auto from = inputs_[s].begin() + int64_t(done_[s]) * b_.shape.hidden_size;
      rows.insert(rows.end(), from, from + int64_t(counts[s]) * b_.shape.hidden_size);
      pieces.push_back({std::vector<int32_t>(counts[s]), done_[s], blocks_[s]});
    }
    const StepBatch batch = greedy_batch(pieces);
    const int count = int(batch.tokens.size());
    b_.kernels->begin_step(batch);
    auto qkv_rows = b_.poisoned(b_.shape.qkv_columns()), out_rows = b_.poisoned(b_.shape.attention_columns());
    b_.kernels->qkv_rope(*b_.activations(count, b_.shape.hidden_size, rows), weight_, *qkv_rows, *layer_);
    if (attends) b_.kernels->attention(*qkv_rows, *layer_, *out_rows);
    take(counts, b_.rows_of(*qkv_rows, count), qkv, b_.shape.qkv_columns());
    take(counts, b_.rows_of(*out_rows, count), out, b_.shape.attention_columns());
    for (size_t s = 0; s < counts.size(); s++) done_[s] += counts[s];
  }

 private:
  Bench& b_;
  const Matrix& weight_;
  const std::vector<Floats>& inputs_;
  const std::vector<std::vector<int32_t>> blocks_;
  std::unique_ptr<KvLayer> layer_;
  std::vector<int> done_;

  static void take(const std::vector<int>& counts, const Floats& rows, std::vector<Floats>& to, int columns) {
    auto from = rows.begin();
    for (size_t s = 0; s < counts.size(); s++) {
      to[s].insert(to[s].end(), from, from + int64_t(counts[s]) * columns);
      from += int64_t(counts[s]) * columns;
    }
  }

 public:
  std::vector<Floats> qkv, out;  // (sequences)(positions, columns)
};

void attention_is_right_and_chunk_invariant(const Device& device, KvFormat format, Random& random) {
  for (int round = 0; round < (device.is_slow ? 4 : 12); round++) {
    Bench b(device, random, random_shape_of(format, random));
    const int sequences = 3, length = random.one_of<int>({1, 15, 16, 17, 40});
    Doubles w;
    const auto weight = b.matrix(b.shape.qkv_columns(), b.shape.hidden_size, MatrixLayout::plain, w);
    std::vector<Floats> inputs;
    for (int s = 0; s < sequences; s++) inputs.push_back(b.random_rows(length, b.shape.hidden_size));

    AttentionRun whole(b, *weight, inputs, random_blocks(sequences, length, b.limits.blocks, random));
    whole.step({length, length, length});
    for (int s = 0; s < sequences; s++) {
      History history;
      for (int t = 0; t < length; t++) {
        const Doubles projected = multiply(w, row_of(inputs[s], t, b.shape.hidden_size), b.shape.qkv_columns());
        expect_rotated(b, projected, &whole.qkv[s][t * b.shape.qkv_columns()], t, history);
        const Doubles want = attend(b, &whole.qkv[s][t * b.shape.qkv_columns()], history, t + 1);
        for (size_t i = 0; i < want.size(); i++)
          b.expect_near(whole.out[s][t * want.size() + i], want[i], 4, "attention at position " + std::to_string(t));
      }
    }

    // Their blocks were others' before, whose keys and values were larger.
    std::vector<Floats> fed = inputs;
    for (Floats& rows : fed)
      for (float& value : rows) value *= 64;
    AttentionRun chunked(b, *weight, fed, random_blocks(sequences, length, b.limits.blocks, random));
    chunked.step({length, length, length}, false);
    fed = inputs;
    chunked.seek(0);
    for (std::vector<int> left(sequences, length);
         std::any_of(left.begin(), left.end(), [](int n) { return n > 0; });) {
      std::vector<int> counts;
      for (auto& rest : left) {
        counts.push_back(std::min(rest, random.between(0, 9)));
        rest -= counts.back();
      }
      if (std::any_of(counts.begin(), counts.end(), [](int n) { return n > 0; })) chunked.step(counts);
    }
    for (int s = 0; s < sequences; s++)
      expect_same_bits(whole.out[s].data(), chunked.out[s].data(), int(whole.out[s].size()),
                       "attention in chunks differs from the whole");
  }
}

// Attends for its last token alone, and for the one before as the last of a prompt's.
void every_head_size_and_group_attends(const Device& device, KvFormat format, Random& random) {
  std::vector<std::pair<int, int>> shapes;
  for (const int head_size : {8, 16, 32, 48, 64, 128})
    for (const int group : {1, 2, 4, 8}) shapes.push_back({head_size, group});
  for (const auto& [head_size, group] : cases_of(device, random, shapes, 8)) {
    ModelShape shape = random_shape_of(format, random);
    shape.head_size = head_size;
    shape.kv_heads = random.between(1, 2);
    shape.heads = shape.kv_heads * group;
    Bench b(device, random, shape);
    const int length = random.between(18, 70);
    Doubles w;
    const auto weight = b.matrix(shape.qkv_columns(), shape.hidden_size, MatrixLayout::plain, w);
    const std::vector<Floats> inputs = {b.random_rows(length, shape.hidden_size)};
    AttentionRun run(b, *weight, inputs, random_blocks(1, length, b.limits.blocks, random));
    run.step({length - 17}, false);
    run.step({16});
    run.step({1});
    History history;
    double error = 0, size = 0;
    for (int t = 0; t < length; t++) {
      const float* qkv = &run.qkv[0][t * shape.qkv_columns()];
      expect_rotated(b, multiply(w, row_of(inputs[0], t, shape.hidden_size), shape.qkv_columns()), qkv, t, history);
      if (t < length - 2) continue;
      const Doubles want = attend(b, qkv, history, t + 1);
      for (size_t i = 0; i < want.size(); i++) {
        error += std::pow(run.out[0][t * want.size() + i] - want[i], 2);
        size += want[i] * want[i];
      }
    }
    expect(std::sqrt(error / size) <= 2e-3, "head size " + std::to_string(head_size) + ", group " + std::to_string(group) +
                                                ": relative L2 " + std::to_string(std::sqrt(error / size)));
  }
}

// More positions than one fold of the softmax, which are summed in another place.
void long_attention_is_right_and_chunk_invariant(const Device& device, KvFormat format, Random& random) {
  Bench b(device, random, random_shape_of(format, random));
  const int length = batch_tokens_max;
  Doubles w;
  const auto weight = b.matrix(b.shape.qkv_columns(), b.shape.hidden_size, MatrixLayout::plain, w);
  const std::vector<Floats> inputs = {b.random_rows(2 * length, b.shape.hidden_size)};
  const auto blocks = random_blocks(1, 2 * length, b.limits.blocks, random);
  AttentionRun whole(b, *weight, inputs, blocks), single(b, *weight, inputs, blocks);
  whole.step({length});
  whole.step({length});
  const int together = device.is_slow ? 90 : 0;  // which tells less, and takes a third of the time
  if (together > 0) single.step({together});
  for (int i = together; i < 2 * length; i++) single.step({1});
  expect_same_bits(whole.out[0].data(), single.out[0].data(), int(whole.out[0].size()), "one by one differs");

  History history;
  for (int t = 0; t < 2 * length; t++) {
    const Doubles projected = multiply(w, row_of(inputs[0], t, b.shape.hidden_size), b.shape.qkv_columns());
    const float* qkv = &whole.qkv[0][t * b.shape.qkv_columns()];
    expect_rotated(b, projected, qkv, t, history);
    const Doubles want = attend(b, qkv, history, t + 1);
    for (size_t i = 0; i < want.size(); i++) b.expect_near(whole.out[0][t * want.size() + i], want[i], 4, "long attention");
  }
}

// A token is decoded alone, verified with its neighbours or prefilled, around the ends of splits and of the context, in a
// cache that already holds what comes after.
void attention_is_the_same_decoded_verified_and_prefilled(const Device& device, KvFormat format, Random& random) {
  struct Case {
    int head_size, kv_heads, group, length;
  };
  const std::vector<Case> all = {{128, 1, 8, 280}, {16, 2, 1, 540}, {32, 1, 12, 280}, {48, 1, 3, 280}};
  for (const Case& c : cases_of(device, random, all, 2)) {
    ModelShape shape = random_shape_of(format, random);
    shape.head_size = c.head_size;
    shape.kv_heads = c.kv_heads;
    shape.heads = c.kv_heads * c.group;
    shape.context_tokens = 1024;
    Bench b(device, random, shape);
    const int sequences = 2, length = c.length + random.between(0, 30), count = 12;
    const std::string what = " of head size " + std::to_string(c.head_size) + ", group " + std::to_string(c.group);
    Doubles w;
    const auto weight = b.matrix(shape.qkv_columns(), shape.hidden_size, MatrixLayout::plain, w);
    const std::vector<Floats> inputs = {b.random_rows(length, shape.hidden_size), b.random_rows(length, shape.hidden_size)};
    AttentionRun run(b, *weight, inputs, random_blocks(sequences, length, b.limits.blocks, random));
    for (int done = 0; done < length; done += batch_tokens_max / sequences)
      run.step(std::vector<int>(sequences, std::min(batch_tokens_max / sequences, length - done)), false);
    std::vector<History> histories(sequences);
    for (int s = 0; s < sequences; s++)
      for (int t = 0; t < length; t++) remember(b, &run.qkv[s][t * shape.qkv_columns()], histories[s]);

    for (const int begin : {250, c.length > 512 ? 506 : 10, length - count}) {
      run.seek(begin);
      run.step(std::vector<int>(sequences, count));
      const auto out = run.out;
      double error = 0, size = 0;
      for (int s = 0; s < sequences; s++)
        for (int t = 0; t < count; t++) {
          const Doubles want = attend(b, &run.qkv[s][t * shape.qkv_columns()], histories[s], begin + t + 1);
          for (size_t i = 0; i < want.size(); i++) {
            error += std::pow(out[s][t * want.size() + i] - want[i], 2);
            size += want[i] * want[i];
          }
        }
      expect(std::sqrt(error / size) <= 2e-3, "attention" + what + ": relative L2 " + std::to_string(std::sqrt(error / size)));

      const auto expect_same = [&](const std::string& how) {
        for (int s = 0; s < sequences; s++)
          expect(run.out[s].size() == out[s].size() && std::memcmp(run.out[s].data(), out[s].data(), out[s].size() * sizeof(float)) == 0,
                 "tokens from " + std::to_string(begin) + what + " differ when " + how);
      };
      run.seek(begin);
      for (int i = 0; i < count; i++) run.step(std::vector<int>(sequences, 1));
      expect_same("decoded");
      run.seek(begin);
      for (int done = 0; done < count; done += 3) run.step(std::vector<int>(sequences, 3));
      expect_same("verified");
      const int before = random.between(1, std::min(begin, 20));
      run.seek(begin - before);
      run.step({before + count, 0});
      run.step({0, before + count});
      for (auto& rows : run.out) rows.erase(rows.begin(), rows.begin() + int64_t(before) * shape.attention_columns());
      expect_same("prefilled");
    }
  }
}

}  // namespace

std::vector<Test> attention_tests(const Device& device) {
  std::vector<Test> tests;
  for (const KvFormat format : {KvFormat::fp16, KvFormat::fp8}) {
    const auto on = [&](const std::string& name, void (*body)(const Device&, KvFormat, Random&)) {
      tests.push_back({device.name + (format == KvFormat::fp8 ? ": fp8 cache: " : ": ") + name,
                       [=](Random& random) { body(device, format, random); }});
    };
    on("queries and keys are rotated, attention is right, and the same in chunks", attention_is_right_and_chunk_invariant);
    on("every head size attends in every group", every_head_size_and_group_attends);
    on("attention over several folds is right, and the same one by one", long_attention_is_right_and_chunk_invariant);
    on("attention over several splits is right, and the same decoded, verified and prefilled",
       attention_is_the_same_decoded_verified_and_prefilled);
  }
  return tests;
}

}  // namespace ziya::test
