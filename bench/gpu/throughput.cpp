// Requests of 1000 tokens in and 1000 out, as many at a time as the KV cache holds, each replaced by the next as it ends:
// decodes first, then prompts, under one token budget, as the node schedules them. Requests begin spread over all of their life, so that
// what is measured is how it goes on and not how it begins.
#include <cstdio>

#include "bench.h"

namespace ziya::bench {
namespace {

constexpr int slots_max = 256, warmup_steps = 8;

int blocks_of_request(const Sizes& sizes) { return (sizes.in + sizes.out) / block_tokens + 1; }

struct Slot {
  int index;
  std::vector<int32_t> prompt = {};
  int computed = 0, outputs = 0;
  int32_t last_token = 0;
};

Arguments with_random_cache(Arguments arguments) {
  arguments.options.has_random_cache = true;
  return arguments;
}

class Run {
 public:
  Run(const Arguments& arguments, const Sizes& sizes, int slots)
      : sizes_(sizes), blocks_each_(blocks_of_request(sizes)),
        model_(with_random_cache(arguments), {.batch_tokens_max = sizes.run_tokens_max, .sequences_max = slots, .blocks = slots * blocks_each_}) {
    for (int i = 0; i < slots; i++) slots_.push_back(request_at(i, int(int64_t(sizes.out) * i / slots)));
  }

  // Returns the tokens that were generated, and counts the requests that ended.
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
    return int64_t(sampled.size());
  }

  int64_t requests_ended() const { return requests_ended_; }

 private:
  // One that has generated so many tokens, over keys and values that nobody computed.
  Slot request_at(int index, int outputs) {
    const int computed = outputs > 0 ? sizes_.in + outputs - 1 : 0;
    return {index, some_tokens(sizes_.in, sizes_.shape.vocab_size, ++requests_), computed, outputs, 1};
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
    if (++slot.outputs < sizes_.out) return;
    requests_ended_++;
    slot = request_at(slot.index, 0);
  }

  const Sizes sizes_;
  const int blocks_each_;
  int requests_ = 0;
  int64_t requests_ended_ = 0;
  std::vector<Slot> slots_;
  RandomModel model_;
};

}  // namespace

void bench_throughput(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const ModelShape& s = sizes.shape;
  const int slots = arguments.is_tiny ? 3 : std::clamp(blocks_that_fit(s) / blocks_of_request(sizes), 1, slots_max);
  Run run(arguments, sizes, slots);
  for (int i = 0; i < warmup_steps; i++) run.step();
  const int64_t ended_before = run.requests_ended();
  int64_t outputs = 0;
  int steps = 0;
  double seconds = 0;
  // A tiny run measures nothing and ends by itself.
  for (; seconds < arguments.seconds && (!arguments.is_tiny || steps < sizes.out); steps++)
    seconds += seconds_of([&] { outputs += run.step(); });
  std::printf("{\"part\": \"throughput\", \"layers\": %d, \"in\": %d, \"out\": %d, \"at_once\": %d%s, \"requests_ended\": %lld, \"steps\": %d, "
              "\"output_tokens\": %lld, \"seconds\": %.1f, \"output_tok_per_s\": %.1f}\n",
              s.layers, sizes.in, sizes.out, slots, format_fields(s).c_str(), static_cast<long long>(run.requests_ended() - ended_before), steps,
              static_cast<long long>(outputs), seconds, double(outputs) / seconds);
}

}  // namespace ziya::bench
