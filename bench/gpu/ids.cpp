// The greedy tokens of the model in FOLDER/model.safetensors after each line of FOLDER/prompts.txt (token ids), one line a
// prompt on standard output; and the logits after each prompt, fp32 (prompts, vocab), in FOLDER/logits.f32.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

#include "../../test/native/safetensors.h"
#include "bench.h"
#include "engine_error.h"

namespace ziya::bench {
namespace {

constexpr int output_tokens = 64;
constexpr int head_size = 128;

std::vector<std::vector<int32_t>> read_prompts(const std::string& path) {
  std::vector<std::vector<int32_t>> prompts;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    prompts.emplace_back(std::istream_iterator<int32_t>(words), std::istream_iterator<int32_t>());
  }
  return prompts;
}

}  // namespace

void greedy_ids(const Arguments& arguments) {
  const auto file = test::read_safetensors(arguments.folder + "/model.safetensors");
  if (!file) throw EngineError("weights_read", "no model.safetensors in " + arguments.folder);
  const ModelShape shape = file->shape(head_size);
  const int blocks = shape.context_tokens / block_tokens;
  const StepLimits limits = {.batch_tokens_max = shape.context_tokens, .sequences_max = 1, .blocks = blocks};
  const Devices devices(device::make_kernels(shape, limits, arguments.options), shape.layers);
  const std::atomic<bool> not_cancelled{false};
  const std::unique_ptr<Model> model = architecture_of("llama").make(shape, limits, devices);
  load_weights(model->weights(), file->placed(shape), 4, {nullptr, not_cancelled});
  std::ofstream logits(arguments.folder + "/logits.f32", std::ios::binary);
  for (std::vector<int32_t> tokens : read_prompts(arguments.folder + "/prompts.txt")) {
    int start = 0;
    for (int i = 0; i < output_tokens; i++) {
      StepBatch batch = batch_of({{tokens, start, blocks_of(0, blocks)}});
      batch.want_logits = i == 0;
      const StepResult result = model->step(batch, not_cancelled);
      if (i == 0) logits.write(reinterpret_cast<const char*>(result.logits.data()), std::streamsize(result.logits.size() * sizeof(float)));
      start += int(tokens.size());
      tokens = {result.tokens[0]};
      std::printf("%d ", tokens[0]);
    }
    std::printf("\n");
  }
}

}  // namespace ziya::bench
