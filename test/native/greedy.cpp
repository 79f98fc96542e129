// Whole models beside the CPU, decoded greedily: a random one and the embedded one; and decode steps replayed as graphs beside the
// same ones launched kernel by kernel.
#include <algorithm>
#include <cmath>

#include "reference.h"
#include "safetensors.h"

namespace ziya::test {
namespace {

using BeforeStep = std::function<void(int step)>;
const std::atomic<bool> not_cancelled{false};

// One sequence, on the CPU and on the device.
struct GreedyPair {
  template <class Load>
  GreedyPair(const Device& device, const ModelShape& shape, const Load& load)
      : cpu_device(make_cpu_kernels(shape, limits, 1, CpuIsa::automatic), shape.layers),
        own_device(device.make(shape, limits, 1), shape.layers), cpu(load(limits, cpu_device)), own(load(limits, own_device)) {
    for (int i = 0; i < limits.blocks; i++) blocks.push_back(i);
  }

  StepResult step(Model& model, const std::vector<int32_t>& tokens, int start) {
    return model.step(greedy_batch({{tokens, start, blocks}}), not_cancelled);
  }

  // Calls check(of the CPU, of the device) for each of `count` tokens; both continue with the CPU's.
  template <class Check>
  void decode(std::vector<int32_t> tokens, int count, const BeforeStep& before_step, const Check& check) {
    int start = 0;
    for (int i = 0; i < count; i++) {
      before_step(i);
      const StepResult want = step(*cpu, tokens, start), got = step(*own, tokens, start);
      check(want, got);
      start += int(tokens.size());
      tokens = {want.tokens[0]};
    }
    before_step(0);
  }

  const StepLimits limits = {.batch_tokens_max = 32, .sequences_max = 1, .blocks = 8};
  const Devices cpu_device, own_device;
  const std::unique_ptr<Model> cpu, own;
  std::vector<int32_t> blocks;
};

// What the CPU has of the token that the device takes is less than its own highest logit by no more than a part of that.
void expect_nearly_the_highest(const StepResult& want, const StepResult& got, float part) {
  const float highest = want.logits[want.tokens[0]], lost = highest - want.logits[got.tokens[0]];
  expect(lost <= part * std::max(1.0f, std::abs(highest)), "a token that the CPU would not take, by " + std::to_string(lost));
}

void a_tiny_model_decodes_as_on_the_cpu(const Device& device, Random& random, const BeforeStep& before_step) {
  const RandomModel model = random_model(random_shape(random), random);
  GreedyPair pair(device, model.shape, [&](const auto&... made) { return load_model(model, made...); });
  // The highest of random logits may be the highest by less than fp16 can tell.
  pair.decode(random_tokens(20, model.shape.vocab_size, random), 32, before_step,
              [](const StepResult& want, const StepResult& got) { expect_nearly_the_highest(want, got, 4e-3f); });
}

void the_embedded_model_decodes_as_on_the_cpu(const Device& device, const BeforeStep& before_step, WeightFormat weights, KvFormat kv_cache) {
  const auto file = read_safetensors(ZIYA_ROOT "/models/ziya-coding-mini/model.safetensors");
  if (!file) {
    std::printf("no embedded model here: its greedy tokens are not compared\n");
    return;
  }
  ModelShape shape = file->shape();
  shape.weights = weights;
  shape.kv_cache = kv_cache;
  GreedyPair pair(device, shape, [&](const StepLimits& limits, const Devices& devices) {
    auto model = make_llama(shape, limits, devices);
    load_weights(model->weights(), file->placed(shape), 1, {nullptr, not_cancelled});
    return model;
  });
  std::vector<int32_t> got_ids, want_ids;
  const int few = weights == WeightFormat::fp8 || kv_cache == KvFormat::fp8 ? 8 : 20;
  pair.decode({1, 300, 301, 302, 303, 304}, takes_all_cases() ? 64 : few, before_step, [&](const StepResult& want, const StepResult& got) {
    want_ids.push_back(want.tokens[0]);
    got_ids.push_back(got.tokens[0]);
    expect_nearly_the_highest(want, got, 4e-3f);
  });
  // What lies near a tie of fp8 is rounded up by one and down by the other: so may a token be that is nearly another.
  if (kv_cache == KvFormat::fp16) expect(got_ids == want_ids, "greedy tokens");
}

// Batches of every bucket's sizes, with whatever came before still in the padding, and contexts of one and of several splits.
void recorded_steps_give_the_same_bytes(const Device& plain, const Device& recording, Random& random) {
  const StepLimits limits = {.batch_tokens_max = 128, .sequences_max = 128, .blocks = 256};
  ModelShape llama = random_shape(random, plain.ranks);
  llama.context_tokens = 1024;
  llama.weights = random.one_of<WeightFormat>({WeightFormat::fp16, WeightFormat::fp8});
  llama.kv_cache = random.one_of<KvFormat>({KvFormat::fp16, KvFormat::fp8});
  const RandomModel model = random.between(0, 1) ? random_model(llama, random) : random_gpt_bigcode(llama, random);
  const ModelShape& shape = model.shape;  // a network has one of its own
  const Devices want_devices(plain.make(shape, limits, 1), shape.layers), got_devices(recording.make(shape, limits, 1), shape.layers);
  const auto want_model = load_model(model, limits, want_devices), got_model = load_model(model, limits, got_devices);
  // Each has a last block of its own, after some that nobody writes.
  std::vector<std::vector<int32_t>> blocks;
  std::vector<int> positions;
  for (int s = 0; s < limits.sequences_max; s++) {
    blocks.emplace_back(random.one_of<int>({0, 0, 1, 16, 40}), limits.blocks - 1);
    positions.push_back(int(blocks[s].size()) * block_tokens);
    blocks[s].push_back(s);
  }
  for (const int sequences : cases_of<int>(recording, random, {3, 1, 100, 8, 65, 7, 128, 2, 64, 66, 1, 9}, size_t(recorded_steps()))) {
    std::vector<Piece> pieces;
    for (int s = 0; s < sequences; s++) pieces.push_back({random_tokens(1, shape.vocab_size, random), positions[s]++, blocks[s]});
    StepBatch batch = greedy_batch(pieces);
    batch.want_logits = false;
    for (Row& row : batch.rows) row.temperature = float(random.between(0, 1));
    for (Row& row : batch.rows) row.seed = random.bits();
    for (Row& row : batch.rows) row.logprobs = random.between(-1, 3);
    const StepResult want = want_model->step(batch, not_cancelled), got = got_model->step(batch, not_cancelled);
    const std::string what = "of " + std::to_string(sequences) + " sequences";
    expect(got.tokens == want.tokens, "the tokens " + what);
    expect(got.logprobs == want.logprobs && got.top_ids == want.top_ids, "the logprobs " + what);
  }
}

}  // namespace

std::vector<Test> greedy_tests(const Device& device, const BeforeStep& before_step) {
  return {{device.name + ": a tiny model decodes as on the CPU",
           [=](Random& random) { a_tiny_model_decodes_as_on_the_cpu(device, random, before_step); }},
          {device.name + ": the embedded model decodes as on the CPU",
           [=](Random&) { the_embedded_model_decodes_as_on_the_cpu(device, before_step, WeightFormat::fp16, KvFormat::fp16); }},
          {device.name + ": the embedded model with fp8 weights decodes as on the CPU",
           [=](Random&) { the_embedded_model_decodes_as_on_the_cpu(device, before_step, WeightFormat::fp8, KvFormat::fp16); }},
          {device.name + ": the embedded model with an fp8 cache decodes as on the CPU",
           [=](Random&) { the_embedded_model_decodes_as_on_the_cpu(device, before_step, WeightFormat::fp16, KvFormat::fp8); }}};
}

int recorded_steps() { return takes_all_cases() ? 12 : 7; }

Test recorded_test(const Device& plain, const Device& recording) {
  return {recording.name + ": recorded steps give the same bytes",
          [=](Random& random) { recorded_steps_give_the_same_bytes(plain, recording, random); }};
}

}  // namespace ziya::test
