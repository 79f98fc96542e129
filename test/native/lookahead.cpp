// Steps that are begun before the one ahead of them was read, and refer to what it draws: the same bytes as one after the
// other, where every id is known.
#include <algorithm>
#include <future>
#include <optional>

#include "engine.h"
#include "reference.h"

namespace ziya::test {
namespace {

constexpr int steps = 6, sequences = 5;
constexpr StepLimits limits = {.batch_tokens_max = 128, .sequences_max = 8, .blocks = 64};
const std::atomic<bool> not_cancelled{false};

struct Drawn {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Drawn&) const = default;
};

// Sequences that decode side by side, in other rows in every step, some of them ending earlier than others.
class Decoding {
 public:
  Decoding(const ModelShape& shape, Random& random) : shape_(shape), blocks_(random_blocks(sequences, 40, limits.blocks, random)) {
    for (int s = 0; s < sequences; s++) {
      prompts_.push_back(random_tokens(random.between(1, 20), shape.vocab_size, random));
      temperatures_.push_back(float(random.between(0, 1)));
      penalties_.push_back(random.one_of<float>({1, 1.5f}));
      seeds_.push_back(random.bits());
    }
    for (int step = 0; step < steps; step++) {
      std::vector<int>& order = orders_.emplace_back();
      for (int s = 0; s < sequences - step / 2; s++) order.insert(order.begin() + random.between(0, s), s);
    }
  }

  // The row's token is named where `drawn` has it, and referred to otherwise.
  StepBatch batch(int step, const std::vector<Drawn>& drawn) const {
    std::vector<Piece> pieces;
    for (const int s : orders_[step]) {
      const int start = step == 0 ? 0 : int(prompts_[s].size()) + step - 1;
      pieces.push_back({step == 0 ? prompts_[s] : std::vector<int32_t>{latest(step, s, drawn)}, start, blocks_[s]});
    }
    StepBatch batch = greedy_batch(pieces);
    batch.want_logits = false;
    for (size_t row = 0; row < orders_[step].size(); row++) {
      const int s = orders_[step][row];
      Row& own = batch.rows[row];
      own.temperature = temperatures_[s];
      own.seed = seeds_[s];
      own.counter = step;
      own.logprobs = 1;
      own.repetition_penalty = penalties_[s];
      own.presence_penalty = penalties_[s] - 1;
      if (penalties_[s] != 1) append_history(batch, own, history(step, s, drawn), step);
    }
    return batch;
  }

  void take(int step, const StepResult& result, std::vector<Drawn>& drawn) const {
    for (size_t row = 0; row < orders_[step].size(); row++) {
      drawn[orders_[step][row]].tokens.push_back(result.tokens[row]);
      drawn[orders_[step][row]].logprobs.push_back(result.logprobs[row]);
    }
  }

 private:
  int32_t latest(int step, int s, const std::vector<Drawn>& drawn) const {
    if (int(drawn[s].tokens.size()) >= step) return drawn[s].tokens[step - 1];
    const std::vector<int>& before = orders_[step - 1];
    return reference_to(int(std::find(before.begin(), before.end(), s) - before.begin()));
  }

  std::vector<int32_t> history(int step, int s, const std::vector<Drawn>& drawn) const {
    std::vector<int32_t> ids = prompts_[s];
    if (step == 0) return ids;
    ids.insert(ids.end(), drawn[s].tokens.begin(), drawn[s].tokens.begin() + step - 1);
    ids.push_back(latest(step, s, drawn));
    return ids;
  }

  const ModelShape shape_;
  const std::vector<std::vector<int32_t>> blocks_;
  std::vector<std::vector<int32_t>> prompts_;
  std::vector<float> temperatures_, penalties_;
  std::vector<uint64_t> seeds_;
  std::vector<std::vector<int>> orders_;
};

ModelShape shape_of_layers(const Device& device, int layers, Random& random) {
  ModelShape shape = random_shape(random, device.ranks);
  shape.layers = layers;
  return shape;
}

Devices several(const Device& device, const ModelShape& shape, int count) {
  std::vector<std::unique_ptr<Kernels>> kernels;
  for (int i = 0; i < count; i++) kernels.push_back(device.make(shape, limits, 1));
  return {std::move(kernels), shape.layers};
}

void steps_begun_ahead_draw_the_same(const Device& device, Random& random) {
  for (const int device_count : {1, 2}) {
    const RandomModel weights = random_model(shape_of_layers(device, 2, random), random);
    const Decoding decoding(weights.shape, random);
    const Devices devices = several(device, weights.shape, device_count);
    const auto model = load_model(weights, limits, devices);
    std::vector<Drawn> want(sequences), got(sequences);
    for (int step = 0; step < steps; step++) decoding.take(step, model->step(decoding.batch(step, want), not_cancelled), want);
    StepResult ahead = model->begin(decoding.batch(0, got), not_cancelled);
    for (int step = 0; step < steps; step++) {
      StepResult running = std::move(ahead);
      if (step + 1 < steps) {
        const StepBatch batch = decoding.batch(step + 1, got);
        expect(batch.has_references(), "it is begun before its tokens are known");
        ahead = model->begin(batch, not_cancelled);
      }
      model->finish(running);
      decoding.take(step, running, got);
    }
    expect(got == want, "tokens or logprobs differ on " + std::to_string(device_count) + " devices");
  }
}

// All steps wait at once: whatever the engine has begun of them is theirs.
void an_engine_runs_steps_that_refer_to_one_another(const Device& device, Random& random) {
  const RandomModel weights = random_model(shape_of_layers(device, 2, random), random);
  const Devices devices = several(device, weights.shape, 1);
  const auto model = load_model(weights, limits, devices);
  const ModelFile file(weights, Dtype::f32);
  std::promise<Engine::Error> loaded;
  Engine engine({"llama", weights.shape, file.tensors},
                {.device = "cpu", .limits = limits, .make_kernels = [&](const auto& shape, const auto& l) { return device.make(shape, l, 1); }},
                {nullptr, [&](Engine::Error error) { loaded.set_value(error); }, nullptr});
  const int vocab = weights.shape.vocab_size;
  const std::vector<int32_t> prompt = random_tokens(10, vocab, random);
  std::vector<StepBatch> batches = {greedy_batch({{prompt, 0, {3, 5}}})};
  for (int step = 1; step < 8; step++) batches.push_back(greedy_batch({{{reference_to(0)}, 9 + step, {3, 5}}}));
  for (StepBatch& batch : batches) batch.want_logits = false;
  std::vector<int32_t> want;
  for (int step = 0; step < 8; step++)
    want.push_back(model->step(greedy_batch({{step == 0 ? prompt : std::vector<int32_t>{want.back()}, step == 0 ? 0 : 9 + step, {3, 5}}}),
                              not_cancelled).tokens[0]);
  std::vector<int32_t> got;
  std::promise<void> done;
  for (const StepBatch& batch : batches)
    engine.submit(batch, [&](StepResult result, Engine::Error error) {
      got.push_back(error ? -1 : result.tokens.at(0));
      if (got.size() == batches.size()) done.set_value();
    });
  expect(!loaded.get_future().get(), "it loads");
  done.get_future().get();
  expect(got == want, "the tokens, in order");

  // A step that was refused has drawn nothing that the next could refer to.
  StepBatch bad = batches[0];
  bad.tokens[0] = vocab;
  std::promise<void> answered;
  std::vector<std::string> codes;
  for (const StepBatch& batch : {batches[0], bad, batches[1], batches[0], batches[1]})
    engine.submit(batch, [&](StepResult, Engine::Error error) {
      codes.push_back(error ? error->code : "");
      if (codes.size() == 5) answered.set_value();
    });
  answered.get_future().get();
  expect(codes == std::vector<std::string>({"", "bad_batch", "bad_batch", "", ""}), "what each step ended with");
}

}  // namespace

std::vector<Test> lookahead_tests(const Device& device) {
  const auto on = [&](const std::string& name, void (*body)(const Device&, Random&)) {
    return Test{device.name + ": " + name, [=](Random& random) { body(device, random); }};
  };
  return {on("steps begun before the one ahead was read draw the same", steps_begun_ahead_draw_the_same),
          on("an engine runs steps that refer to one another", an_engine_runs_steps_that_refer_to_one_another)};
}

}  // namespace ziya::test
