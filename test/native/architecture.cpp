// Architectures by name, and that what one of them does not use costs it nothing.
#include "engine.h"
#include "reference.h"
#if defined(ZIYA_HAS_EMULATOR)
#include "kernels/cuda/cuda_kernels.h"
#endif

namespace ziya::test {
namespace {

const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 2, .blocks = 4};
const std::atomic<bool> not_cancelled{false};

ModelShape identity_shape(int size) {
  return {.vocab_size = size, .hidden_size = size, .layers = 2, .context_tokens = 64, .rms_norm_eps = 1e-5};
}

// Row i of the matrix is 1 in column (i + shift) % size.
void fill_shifted(const WeightSlot& slot, int shift) {
  slot.kernels.upload_rows(*slot.matrix, 0, slot.rows(), [&](int begin, int count, uint16_t* fp16) {
    constexpr uint16_t one = 0x3c00;
    for (int i = 0; i < count * slot.columns(); i++)
      fp16[i] = i % slot.columns() == (begin + i / slot.columns() + shift) % slot.columns() ? one : 0;
  });
}

void an_unknown_architecture_is_refused(Random&) {
  expect(error_code([] { architecture_of("gpt_neox"); }) == "unsupported_architecture", "gpt_neox");
  for (const char* name : {"llama", "llama_reward", "gpt_bigcode"}) expect(architecture_of(name).name == name, name);
}

// Each token is followed by the one before it: the head's row of token i is the embedding of i + 1.
void layers_that_do_nothing(const Device& device, Random& random) {
  const int size = random.between(20, 150);
  const ModelShape shape = identity_shape(size);
  check_shape(architecture_of("identity"), shape, limits);
  std::vector<std::unique_ptr<Kernels>> kernels;
  for (int i = random.between(1, 2); i > 0; i--) kernels.push_back(device.make(shape, limits, 1));
  const Devices devices(std::move(kernels), shape.layers);
  const auto model = architecture_of("identity").make(shape, limits, devices);
  for (const WeightSlot& slot : model->weights().slots())
    if (slot.matrix)
      fill_shifted(slot, slot.name == "head" ? 1 : 0);
    else
      slot.kernels.upload(*slot.vector, 0, size, std::vector<float>(size_t(size), 1).data());
  const int token = random.between(1, size - 1);
  const StepResult result = model->step(greedy_batch({{{3, token}, 0, {1}, true}}), not_cancelled);
  expect(result.tokens == std::vector<int32_t>({2, token - 1}), "the token before");
  expect(model->kv_bytes() == 0, "no KV cache");
}

#if defined(ZIYA_HAS_EMULATOR)
void a_device_has_memory_only_for_what_is_used(Random&) {
  ModelShape shape = identity_shape(40);
  const auto allocated = [&] { return emulator::make_kernels(shape, limits, {})->allocated_bytes(); };
  const int64_t without = allocated();
  shape.heads = 4, shape.kv_heads = 2, shape.head_size = 8;
  const int64_t with_attention = allocated();
  shape.rope_theta = 1e4;
  expect(allocated() - with_attention == shape.context_tokens * shape.head_size * 4, "angles only where positions rotate");
  const int64_t partial_results = limits.batch_tokens_max * shape.heads * (shape.head_size + 2) * 4;
  expect(with_attention - without >= partial_results, "partial results only where there is attention");
}
#endif

}  // namespace

std::vector<Test> architecture_tests() {
  std::vector<Test> tests = {{"an unknown architecture is refused", an_unknown_architecture_is_refused}};
#if defined(ZIYA_HAS_EMULATOR)
  tests.push_back({"a device has memory only for what is used", a_device_has_memory_only_for_what_is_used});
#endif
  return tests;
}

std::vector<Test> identity_tests(const Device& device) {
  return {{device.name + ": layers that do nothing cost nothing", [=](Random& random) { layers_that_do_nothing(device, random); }}};
}

}  // namespace ziya::test
