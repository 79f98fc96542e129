// Ranks that compute together: what whole steps of one device are held to, on several; and what is between them.
#include "kernels/tensor_parallel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench.h"
#include "safetensors.h"

namespace ziya::test {
namespace {

const std::atomic<bool> not_cancelled{false};

// Large parts cancel each other, so that another order gives another sum.
void every_rank_adds_up_the_same(const Device& device, const MakeRank& make_rank, Random& random) {
  const int ranks = random.between(2, tensor_parallel_max), tokens = random.between(1, 20), columns = random.between(1, 300);
  const StepLimits limits = {.batch_tokens_max = 20, .sequences_max = 1, .blocks = 4};
  std::vector<std::unique_ptr<Kernels>> kernels;
  std::vector<std::unique_ptr<Activations>> parts, sums;
  std::vector<SumPart> sum;
  Floats want(size_t(tokens) * columns), before(want.size());
  for (float& value : before) value = random.normal();
  StepBatch batch = greedy_batch({{std::vector<int32_t>(size_t(tokens), 0), 0, {0, 1}}});
  for (int rank = 0; rank < ranks; rank++) {
    kernels.push_back(make_rank(small_shape(20, 64), limits, random.between(1, 2), rank));
    for (const auto& other : kernels) kernels.back()->reach(*other), other->reach(*kernels.back());
    kernels.back()->select();
    parts.push_back(kernels.back()->make_activations(limits.batch_tokens_max, columns));
    sums.push_back(kernels.back()->make_activations(limits.batch_tokens_max, columns));
    Floats part(want.size());
    for (size_t i = 0; i < part.size(); i++) part[i] = random.normal(random.one_of<float>({1, 1e6, 1e-3f})), want[i] = rank == 0 ? part[i] : want[i] + part[i];
    kernels.back()->upload(*parts.back(), tokens, part.data());
    kernels.back()->upload(*sums.back(), tokens, before.data());
    kernels.back()->begin_step(batch);
    kernels.back()->end_part();
    sum.push_back({*kernels.back(), *parts.back()});
  }
  for (size_t i = 0; i < want.size(); i++) want[i] = before[i] + want[i];
  for (int rank = ranks - 1; rank >= 0; rank--) {
    kernels[rank]->select();
    kernels[rank]->add_parts(sum, *sums[rank]);
    Floats got(want.size());
    kernels[rank]->download(*sums[rank], tokens, got.data());
    expect(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0, device.name + ": rank " + std::to_string(rank) + " of " + std::to_string(ranks));
  }
}

// Two orders of one sum of products in fp32 differ by no more than the roundings of both: as many as it has terms, each of half a unit in the
// last place of what has been added up. Inputs are exact in fp16, and so are weights.
void a_product_in_parts_is_within_its_roundings(const Device&, const Device& device, Random& random) {
  const ModelShape shape = random_shape(random, device.ranks);
  const int outputs = shape.hidden_size, inputs = device.ranks * random.between(1, 90), tokens = random.between(1, 40);
  Bench b(device, random, shape);
  Doubles weights;
  for (int i = 0; i < outputs * inputs; i++) weights.push_back(rounded_to_half(random.normal(1 / std::sqrt(float(inputs)))));
  const auto matrix = b.upload(outputs, inputs, MatrixLayout::plain, weights, WeightFormat::fp16, Share::inputs);
  b.begin(tokens);
  Floats x = b.random_rows(tokens, inputs);
  for (float& value : x) value = float(rounded_to_half(value));
  const Floats before = b.random_rows(tokens, outputs);
  const auto in = b.kernels->make_activations(batch_tokens_max, inputs, Share::outputs);
  b.kernels->upload(*in, tokens, x.data());
  const auto residual = b.activations(tokens, outputs, before);
  b.kernels->project_add(*in, *matrix, *residual);
  const Floats got = b.rows_of(*residual, tokens);
  for (int t = 0; t < tokens; t++)
    for (int row = 0; row < outputs; row++) {
      double want = before[t * outputs + row], size = std::abs(want);
      for (int i = 0; i < inputs; i++) want += weights[row * inputs + i] * x[t * inputs + i], size += std::abs(weights[row * inputs + i] * x[t * inputs + i]);
      const double bound = (inputs + device.ranks + 1) * std::ldexp(1, -24) * size;
      expect(std::abs(got[t * outputs + row] - want) <= bound, "got " + std::to_string(got[t * outputs + row]) + ", want " + std::to_string(want));
    }
}

// One input that is 1 gives the weights of its column, exactly: a code times the scale of its whole row.
void fp8_codes_are_those_of_one_device(const Device& one, const Device& several, Random& random) {
  const ModelShape shape = random_shape(random, several.ranks);
  const int inputs = several.ranks * random.between(1, logit_rows_max / several.ranks);
  for (const Share share : {Share::inputs, Share::outputs}) {
    const int outputs = share == Share::inputs ? shape.hidden_size : shape.vocab_size;
    Doubles weights;
    for (int i = 0; i < outputs * inputs; i++) weights.push_back(rounded_to_half(random.normal(random.one_of<float>({0.1f, 1, 8}))));
    std::vector<Floats> results;
    for (const Device& device : {one, several}) {
      Bench b(device, random, shape);
      const auto matrix = b.upload(outputs, inputs, MatrixLayout::plain, weights, WeightFormat::fp8, share);
      b.begin(inputs);
      Floats units(size_t(inputs) * inputs);
      for (int i = 0; i < inputs; i++) units[i * inputs + i] = 1;
      const auto in = b.kernels->make_activations(batch_tokens_max, inputs, share == Share::inputs ? Share::outputs : Share::whole);
      b.kernels->upload(*in, inputs, units.data());
      const auto out = b.kernels->make_activations(batch_tokens_max, outputs);
      if (share == Share::inputs) b.kernels->project_add(*in, *matrix, *out);
      else b.kernels->logits(*in, *matrix, inputs, *out);
      results.push_back(b.rows_of(*out, inputs));
    }
    expect(results[0] == results[1], "the codes of a matrix whose " + std::string(share == Share::inputs ? "inputs" : "outputs") + " are shared out");
  }
}

std::vector<int32_t> greedy_tokens(const SafetensorsFile& file, std::unique_ptr<Kernels> kernels, const StepLimits& limits, int count) {
  const ModelShape shape = file.shape();
  const Devices devices(std::move(kernels), shape.layers);
  const auto model = make_llama(shape, limits, devices);
  load_weights(model->weights(), file.placed(shape), 1, {nullptr, not_cancelled});
  std::vector<int32_t> next = {1, 300, 301, 302, 303, 304}, all;
  int start = 0;
  while (int(all.size()) < count) {
    all.push_back(model->step(greedy_batch({{next, start, {0, 1, 2, 3, 4, 5, 6, 7}}}), not_cancelled).tokens[0]);
    start += int(next.size());
    next = {all.back()};
  }
  return all;
}

void the_embedded_model_writes_what_one_cpu_does(const Device&, const Device& several, Random&) {
  const auto file = read_safetensors(ZIYA_ROOT "/models/ziya-coding-mini/model.safetensors");
  if (!file) {
    std::printf("no embedded model here: its greedy tokens are not compared\n");
    return;
  }
  const StepLimits limits = {.batch_tokens_max = 32, .sequences_max = 1, .blocks = 8};
  const int count = takes_all_cases() ? 64 : several.is_slow ? 2 : 32;
  const auto want = greedy_tokens(*file, make_cpu_kernels(file->shape(), limits, 1, CpuIsa::automatic), limits, count);
  expect(greedy_tokens(*file, several.make(file->shape(), limits, 1), limits, count) == want, "greedy tokens on " + several.name);
}

uint64_t digest_on(const Device& device, const RandomModel& random) {
  const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 2, .blocks = 4};
  const ModelFile file(random, Dtype::f16);
  const Devices devices(device.make(random.shape, limits, 1), random.shape.layers);
  return load_weights(make_llama(random.shape, limits, devices)->weights(), file.tensors, 2, {nullptr, not_cancelled});
}

void weights_are_shared_out(const Device& one, const Device& several, Random& random) {
  for (const WeightFormat weights : {WeightFormat::fp16, WeightFormat::fp8}) {
    ModelShape shape = random_shape(random, several.ranks);
    shape.weights = weights;
    const RandomModel model = random_model(shape, random);
    expect(digest_on(one, model) == digest_on(several, model), "the digest is that of one device");
  }
  // Large enough that what is padded counts little.
  const auto bytes_of = [&](const Device& device, Share share) {
    Bench b(device, random, random_shape(random, device.ranks));
    const int64_t before = b.kernels->allocated_bytes();
    const auto matrix = b.kernels->make_matrix(64 * 64, 1024, MatrixLayout::plain, WeightFormat::fp16, share);
    return double(b.kernels->allocated_bytes() - before);
  };
  const double whole = bytes_of(one, Share::whole);
  for (const Share share : {Share::inputs, Share::outputs})
    expect(std::abs(bytes_of(several, share) / whole - 1) < 0.01, "all ranks together have a matrix once");
  expect(std::abs(bytes_of(several, Share::whole) / whole - several.ranks) < 0.01, "each rank has what is whole");
}

void what_cannot_be_shared_is_refused_by_name(Random&) {
  ModelShape shape = small_shape(20, 64);
  shape.heads = 12, shape.kv_heads = 4, shape.intermediate_size = 24;
  const auto refusal = [&](int ranks) { return error_text([&] { check_tensor_parallel(shape, ranks); }); };
  for (const int ranks : {1, 2, 4}) expect(refusal(ranks) == "", std::to_string(ranks) + " ranks");
  expect(refusal(3) == "tensor_parallel 3: so many devices cannot share kv_heads: 4", refusal(3));
  expect(refusal(8) == "tensor_parallel 8: so many devices cannot share heads: 12", refusal(8));
  shape.intermediate_size = 26;
  expect(refusal(4) == "tensor_parallel 4: so many devices cannot share intermediate_size: 26", refusal(4));
  for (const int ranks : {-1, 0, 9}) expect(refusal(ranks).ends_with("1 to 8 devices compute together"), std::to_string(ranks) + " ranks");
  shape.kv_heads = 1;
  expect(refusal(2) == "", "a single KV head is on every rank");
}

}  // namespace

Device together(const Device& device, const MakeRank& make_rank, int ranks) {
  Device result = device;
  result.name += ", tensor parallel " + std::to_string(ranks);
  result.ranks = ranks;
  result.make = [=](const ModelShape& shape, const StepLimits& limits, int threads) {
    std::vector<std::unique_ptr<Kernels>> list;
    for (int rank = 0; rank < ranks; rank++) list.push_back(make_rank(shape_of_rank(shape, ranks), limits, threads, rank));
    return make_tensor_parallel(shape, limits, std::move(list));
  };
  return result;
}

std::vector<Test> tensor_parallel_tests(const Device& device, const MakeRank& make_rank) {
  std::vector<Test> tests = {{device.name + ": every rank adds up the same bytes, in the order of the ranks",
                              [=](Random& random) { every_rank_adds_up_the_same(device, make_rank, random); }}};
  if (!device.is_slow) tests.push_back({"what ranks cannot share is refused by name", what_cannot_be_shared_is_refused_by_name});
  const auto of_any_degree = [&](const std::string& name, void (*body)(const Device&, const Device&, Random&)) {
    tests.push_back({device.name + ": tensor parallel: " + name, [=](Random& random) {
                       for (const int ranks : cases_of<int>(device, random, {2, 4, 8}, 1)) body(device, together(device, make_rank, ranks), random);
                     }});
  };
  of_any_degree("the embedded model writes what it does on one CPU", the_embedded_model_writes_what_one_cpu_does);
  of_any_degree("fp8 codes are those of one device", fp8_codes_are_those_of_one_device);
  of_any_degree("weights are shared out, and their digest is that of one device", weights_are_shared_out);
  of_any_degree("a product in parts is within its roundings", a_product_in_parts_is_within_its_roundings);
  for (const int ranks : {2, 4}) {
    if (device.is_slow && ranks > 2 && !takes_all_cases()) continue;
    const Device several = together(device, make_rank, ranks);
    for (const Test& test : model_tests(several)) tests.push_back(test);
    if (device.is_slow && !takes_all_cases()) continue;
    for (const auto& of : {lookahead_tests, adapter_step_tests})
      for (const Test& test : of(several)) tests.push_back(test);
  }
  return tests;
}

}  // namespace ziya::test
