// Requests of 1000 tokens in and 1000 out, as many at a time as the KV cache holds, each replaced by the next as it ends:
// decodes first, then prompts, under one token budget, as the node schedules them.
#include <cstdio>

#include "bench.h"

namespace ziya::bench {
namespace {

constexpr int slots_max = 256;
constexpr int requests_a_slot = 3;

int blocks_of_request(const Sizes& sizes) { return (sizes.in + sizes.out) / block_tokens + 1; }

struct Slot {
  int index;
  std::vector<int32_t> prompt = {};
  int computed = 0, outputs = 0;
  int32_t last_token = 0;
};

class Run {
 public:
  Run(const Arguments& arguments, const Sizes& sizes, int slots)
      : sizes_(sizes), blocks_each_(blocks_of_request(sizes)), requests_left_(slots * requests_a_slot),
        model_(arguments, {.batch_tokens_max = sizes.run_tokens_max, .sequences_max = slots, .blocks = slots * blocks_each_}) {
    for (int i = 0; i < slots; i++) slots_.push_back(next_request(i));
  }

  // Returns the tokens that were generated.
  int64_t to_the_end() {
    int64_t outputs = 0;
    while (!slots_.empty()) outputs += step();
    return outputs;
  }

 private:
  Slot next_request(int index) {
    requests_left_--;
    return {.index = index, .prompt = some_tokens(sizes_.in, sizes_.shape.vocab_size, requests_left_)};
  }

  int64_t step() {
    std::vector<Piece> pieces;
    std::vector<Slot*> sampled;
    int left = sizes_.run_tokens_max;
    for (const bool decodes : {true, false}) {
      for (Slot& slot : slots_) {
        if ((slot.outputs > 0) != decodes || left == 0) continue;
        pieces.push_back(next_piece(slot, left));
        left -= int(pieces.back().tokens.size());
        slot.computed += int(pieces.back().tokens.size());
        if (pieces.back().samples) sampled.push_back(&slot);
      }
    }
    const StepResult result = model_.step(batch_of(pieces));
    for (size_t row = 0; row < sampled.size(); row++) take(*sampled[row], result.tokens[row]);
    std::erase_if(slots_, [&](const Slot& slot) { return slot.outputs == sizes_.out; });
    return int64_t(sampled.size());
  }

  Piece next_piece(const Slot& slot, int tokens_left) const {
    const std::vector<int32_t> blocks = blocks_of(slot.index, blocks_each_);
    if (slot.outputs > 0) return {{slot.last_token}, slot.computed, blocks};
    const int count = std::min(tokens_left, sizes_.in - slot.computed);
    const auto begin = slot.prompt.begin() + slot.computed;
    return {{begin, begin + count}, slot.computed, blocks, slot.computed + count == sizes_.in};
  }

  void take(Slot& slot, int32_t token) {
    slot.last_token = token;
    slot.outputs++;
    if (slot.outputs == sizes_.out && requests_left_ > 0) slot = next_request(slot.index);
  }

  const Sizes sizes_;
  const int blocks_each_;
  int requests_left_;
  std::vector<Slot> slots_;
  RandomModel model_;
};

}  // namespace

void bench_throughput(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const ModelShape& s = sizes.shape;
  const int slots = arguments.is_tiny ? 3 : std::clamp(blocks_that_fit(s) / blocks_of_request(sizes), 1, slots_max);
  Run run(arguments, sizes, slots);
  int64_t outputs = 0;
  const double seconds = seconds_of([&] { outputs = run.to_the_end(); });
  std::printf("{\"part\": \"throughput\", \"layers\": %d, \"in\": %d, \"out\": %d, \"at_once\": %d, \"requests\": %d, \"output_tokens\": %lld, "
              "\"seconds\": %.1f, \"output_tok_per_s\": %.1f}\n",
              s.layers, sizes.in, sizes.out, slots, slots * requests_a_slot, static_cast<long long>(outputs), seconds,
              double(outputs) / seconds);
}

}  // namespace ziya::bench
