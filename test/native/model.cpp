// Whole random models against the float64 reference, and the promise of the engine: the same token gives the same bytes
// alone, in any batch, in any chunks, on any number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "reference.h"

namespace ziya::test {
namespace {

const std::atomic<bool> not_cancelled{false};
constexpr int sequence_blocks = 16;

using MakeRandom = RandomModel (*)(const ModelShape&, Random&);

ModelShape random_shape_of(const Device& device, WeightFormat weights, KvFormat kv_cache, Random& random) {
  ModelShape shape = random_shape(random, device.ranks);
  shape.weights = weights;
  shape.kv_cache = kv_cache;
  return shape;
}

struct LoadedModel {
  LoadedModel(const Device& device, const RandomModel& random, int threads, Dtype dtype = Dtype::f32, int device_count = 1)
      : vocab(random.shape.vocab_size),
        devices(several(device, random.shape, threads, device_count), random.shape.layers),
        model(load_model(random, limits, devices, dtype)) {}

  static std::vector<std::unique_ptr<Kernels>> several(const Device& device, const ModelShape& shape, int threads, int count) {
    std::vector<std::unique_ptr<Kernels>> kernels;
    for (int i = 0; i < count; i++) kernels.push_back(device.make(shape, limits, threads));
    return kernels;
  }

  // The logits of each sampled row.
  std::vector<std::vector<float>> logits(const std::vector<Piece>& pieces) {
    const StepResult result = model->step(greedy_batch(pieces), not_cancelled);
    std::vector<std::vector<float>> rows;
    for (size_t row = 0; row < result.tokens.size(); row++)
      rows.emplace_back(result.logits.begin() + row * vocab, result.logits.begin() + (row + 1) * vocab);
    return rows;
  }

  static constexpr StepLimits limits = {.batch_tokens_max = 256, .sequences_max = 64, .blocks = 600};
  const int vocab;
  const Devices devices;
  const std::unique_ptr<Model> model;
};

void expect_same(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
  expect(a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0, what);
}

using Logits = std::vector<Doubles>;  // (tokens, vocab)

Logits no_slack(const Logits& want) { return Logits(want.size(), Doubles(want[0].size())); }

// How far each logit may be off because a device rounds to another code what lies near the middle of two: the ties in groups, each rounded to the
// other side in turn, and what that changes added up.
Logits slack_of_ties(const RandomModel& model, const std::vector<int32_t>& tokens, const Logits& want, const Device& device) {
  constexpr int groups_max = 24;
  CacheTies ties = {.nearness = 8 * device.precision};
  reference_logits(model, tokens, &ties);
  const int groups = int(std::min<int64_t>(groups_max, ties.count));
  Logits slack = no_slack(want);
  for (int group = 0; group < groups; group++) {
    ties = {.nearness = ties.nearness, .groups = groups, .turned = group};
    const Logits turned = reference_logits(model, tokens, &ties);
    for (size_t t = 0; t < want.size(); t++)
      for (size_t i = 0; i < want[t].size(); i++) slack[t][i] += std::abs(turned[t][i] - want[t][i]);
  }
  return slack;
}

// Activations in fp16 add up over the layers: a single logit may be off by some roundings, all of them together by less. What is wrong, or nothing.
std::string far_off(const std::vector<std::vector<float>>& got, const Logits& want, const Logits& slack, const Device& device) {
  double highest = 1;
  for (const auto& row : want)
    for (const double value : row) highest = std::max(highest, std::abs(value));
  const double element_error_max = std::max(2e-3, 8 * device.precision) * highest;
  double error = 0, size = 0, slack_size = 0;
  for (size_t t = 0; t < want.size(); t++)
    for (size_t i = 0; i < want[t].size(); i++) {
      if (!(std::abs(got[t][i] - want[t][i]) <= element_error_max + slack[t][i]))
        return "position " + std::to_string(t) + ": got " + std::to_string(got[t][i]) + ", want " + std::to_string(want[t][i]);
      error += std::pow(got[t][i] - want[t][i], 2);
      size += want[t][i] * want[t][i];
      slack_size += slack[t][i] * slack[t][i];
    }
  const double relative = std::sqrt(error / size), relative_max = std::max(1e-3, 4 * device.precision) + std::sqrt(slack_size / size);
  return relative <= relative_max ? "" : "relative L2 " + std::to_string(relative);
}

void logits_match_the_reference(const Device& device, Random& random) {
  constexpr auto fp16 = WeightFormat::fp16, fp8 = WeightFormat::fp8;
  constexpr auto cache16 = KvFormat::fp16, cache8 = KvFormat::fp8;
  const std::vector<std::tuple<Dtype, MakeRandom, WeightFormat, KvFormat>> cases = {
      {Dtype::f16, random_model, fp16, cache16},       {Dtype::f32, random_model, fp16, cache16}, {Dtype::f16, random_gpt_bigcode, fp16, cache16},
      {Dtype::f32, random_gpt_bigcode, fp16, cache16}, {Dtype::f16, random_model, fp8, cache16},  {Dtype::f32, random_gpt_bigcode, fp8, cache16},
      {Dtype::f16, random_gpt_bigcode, fp16, cache8},  {Dtype::f16, random_model, fp8, cache8}};
  for (const auto& [dtype, make_random, weights, cache] : cases_of(device, random, cases, 4)) {
    const RandomModel random_weights = make_random(with_wide_norms(random_shape_of(device, weights, cache, random), random), random);
    LoadedModel loaded(device, random_weights, random.between(1, 3), dtype);
    const auto tokens = random_tokens(random.between(1, 90), random_weights.shape.vocab_size, random);
    const auto want = reference_logits(as_computed(random_weights), tokens);
    const auto blocks = random_blocks(1, 256, 600, random)[0];
    const auto got = loaded.logits({{tokens, 0, blocks, true}});
    std::string wrong = far_off(got, want, no_slack(want), device);
    if (!wrong.empty() && cache == cache8) wrong = far_off(got, want, slack_of_ties(as_computed(random_weights), tokens, want, device), device);
    expect(wrong.empty(), wrong);
  }
}

void bytes_do_not_depend_on_company(const Device& device, Random& random) {
  const std::vector<MakeRandom> cases = {random_model, random_gpt_bigcode, random_model, random_gpt_bigcode};
  for (const MakeRandom make_random : cases_of(device, random, cases, 3)) {
    const WeightFormat weights = random.one_of<WeightFormat>({WeightFormat::fp16, WeightFormat::fp8});
    const KvFormat cache = random.one_of<KvFormat>({KvFormat::fp16, KvFormat::fp8});
    const RandomModel random_weights = make_random(random_shape_of(device, weights, cache, random), random);
    LoadedModel alone(device, random_weights, 1), crowded(device, random_weights, random.between(2, 4));
    const int vocab = random_weights.shape.vocab_size;
    const auto tokens = random_tokens(70, vocab, random);
    const auto blocks = random_blocks(33, sequence_blocks * block_tokens, 600, random);

    const auto whole = alone.logits({{tokens, 0, blocks[0], true}});
    std::vector<std::vector<float>> chunked;
    for (int start = 0; start < int(tokens.size());) {
      std::vector<Piece> pieces;
      const int count = std::min(int(tokens.size()) - start, random.between(1, 30));
      const int sequences = random.one_of<int>({1, 2, 5, 33});
      const int place = random.between(0, sequences - 1);
      for (int s = 0; s < sequences; s++) {
        if (s == place)
          pieces.push_back({{tokens.begin() + start, tokens.begin() + start + count}, start, blocks[0], true});
        else
          pieces.push_back({random_tokens(random.between(1, 4), vocab, random), random.between(0, 200),
                            blocks[s < place ? s + 1 : s]});
      }
      const auto rows = crowded.logits(pieces);
      chunked.insert(chunked.end(), rows.begin() + place, rows.begin() + place + count);
      start += count;
    }
    for (size_t t = 0; t < tokens.size(); t++)
      expect_same(whole[t], chunked[t], "position " + std::to_string(t) + " differs in a batch");
  }
}

void more_rows_than_the_logits_hold(const Device& device, Random& random) {
  const RandomModel random_weights = random_model(random_shape(random, device.ranks), random);
  LoadedModel loaded(device, random_weights, 2);
  const auto tokens = random_tokens(200, random_weights.shape.vocab_size, random);
  const auto blocks = random_blocks(1, 256, 600, random)[0];
  const auto all = loaded.logits({{tokens, 0, blocks, true}});
  expect(all.size() == tokens.size(), "every row comes back");
  const auto last = loaded.logits({{tokens, 0, blocks}});
  expect_same(all.back(), last[0], "the last row is the same");
}

// Ranges of layers on devices of their own; the same device stands for all of them here.
void bytes_do_not_depend_on_the_number_of_devices(const Device& device, Random& random) {
  for (const bool tied : {false, true}) {
    ModelShape shape = random_shape(random, device.ranks);
    shape.layers = random.between(2, 4);
    shape.tied_embeddings = tied;
    shape.kv_cache = random.one_of<KvFormat>({KvFormat::fp16, KvFormat::fp8});
    const RandomModel random_weights = tied ? random_model(shape, random) : random_gpt_bigcode(shape, random);
    LoadedModel one(device, random_weights, 1);
    LoadedModel several(device, random_weights, 1, Dtype::f32, random.between(2, shape.layers));
    const auto tokens = random_tokens(40, shape.vocab_size, random);
    const auto blocks = random_blocks(1, 256, 600, random)[0];
    const auto want = one.logits({{tokens, 0, blocks, true}});
    for (const int begin : {0, 25}) {
      const int end = begin == 0 ? 25 : 40;
      const auto got = several.logits({{{tokens.begin() + begin, tokens.begin() + end}, begin, blocks, true}});
      for (int t = begin; t < end; t++) expect_same(want[t], got[t - begin], "position " + std::to_string(t));
    }
  }
}

// A Llama's logit of one id is the value of a model whose head is that id's row. Rows are of some tokens, or of all, as decode steps have
// them; and layers are on one device or on two.
void values_match_the_reference(const Device& device, Random& random) {
  ModelShape shape = with_wide_norms(random_shape(random, device.ranks), random);
  shape.layers = 2;
  shape.tied_embeddings = false;
  const RandomModel writer = random_model(shape, random);
  RandomModel judge = writer;
  judge.architecture = "llama_reward";
  const int id = random.between(0, shape.vocab_size - 1);
  const std::vector<float> rows = judge.tensors.extract("lm_head.weight").mapped();
  judge.tensors["value_head.weight"] = {rows.begin() + id * shape.hidden_size, rows.begin() + (id + 1) * shape.hidden_size};
  judge.tensors["value_head.bias"] = {0.75f};
  judge.shapes["value_head.weight"] = {1, shape.hidden_size};
  judge.shapes["value_head.bias"] = {1};
  LoadedModel loaded(device, judge, 2, Dtype::f16, random.between(1, 2));
  const auto tokens = random_tokens(40, shape.vocab_size, random);
  const auto blocks = random_blocks(1, 256, 600, random)[0];
  const auto want = reference_logits(writer, tokens);
  double highest = 1;
  for (const auto& logits : want) highest = std::max(highest, std::abs(logits[id]));
  for (const auto& [begin, end, every_row] : {std::tuple(0, 30, true), std::tuple(30, 38, false), std::tuple(38, 39, false), std::tuple(39, 40, true)}) {
    StepBatch batch = greedy_batch({{{tokens.begin() + begin, tokens.begin() + end}, begin, blocks, every_row}});
    batch.want_logits = false;
    const StepResult result = loaded.model->step(batch, not_cancelled);
    expect(result.tokens == std::vector<int32_t>(batch.rows.size(), 0), "no row is broken");
    for (size_t i = 0; i < batch.rows.size(); i++) {
      const double value = want[begin + batch.rows[i].token][id] + 0.75;
      expect(std::abs(result.logprobs[i] - value) <= std::max(2e-3, 8 * device.precision) * highest, "a value: got " + std::to_string(result.logprobs[i]) + ", want " + std::to_string(value));
    }
  }
}

void a_cancelled_step_ends(const Device& device, Random& random) {
  const RandomModel random_weights = random_model(random_shape(random, device.ranks), random);
  LoadedModel loaded(device, random_weights, 2);
  const std::atomic<bool> cancelled{true};
  const StepBatch batch = greedy_batch({{{0}, 0, {0}}});
  expect(error_code([&] { loaded.model->step(batch, cancelled); }) == "engine_closed", "engine_closed");
}

}  // namespace

std::vector<Test> model_tests(const Device& device) {
  const auto on = [&](const std::string& name, void (*body)(const Device&, Random&)) {
    return Test{device.name + ": " + name, [=](Random& random) { body(device, random); }};
  };
  return {on("a model's logits match float64", logits_match_the_reference),
          on("a token's logits are the same bytes alone, in any batch, in any chunks", bytes_do_not_depend_on_company),
          on("more rows than the logits' buffer has are sampled in parts", more_rows_than_the_logits_hold),
          on("several devices give the same bytes as one", bytes_do_not_depend_on_the_number_of_devices),
          on("values match float64", values_match_the_reference),
          on("a cancelled step ends between layers", a_cancelled_step_ends)};
}

}  // namespace ziya::test
