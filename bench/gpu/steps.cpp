// Whole steps of a model whose weights, keys and values are made on the device once: prompts, and decode steps by every way to launch
// them.
#include <cstdio>
#include <utility>

#include "bench.h"

namespace ziya::bench {
namespace {

struct Launches {
  bool start_early, record_steps;
};

int blocks_each(const Sizes& sizes, const Decode& decode) { return (decode.context + sizes.decode_steps) / block_tokens + 1; }

// Steps of so many sequences, each of a context that many tokens long.
class DecodeSteps {
 public:
  DecodeSteps(RandomModel& model, const Sizes& sizes, const Decode& decode) : model_(model), sizes_(sizes), decode_(decode) {}

  double seconds_alone() {
    std::vector<double> seconds;
    for (int i = 0; i < sizes_.decode_steps; i++) seconds.push_back(model_.step_seconds(batch(i)));
    return median(seconds);
  }

  // As the node runs them: each is enqueued before the one ahead of it is read, and takes its tokens from that one.
  double seconds_ahead() {
    return seconds_of([&] {
      StepResult running = begin(0);
      for (int i = 1; i < sizes_.decode_steps; i++) {
        StepResult next = begin(i);
        model_.finish(std::exchange(running, std::move(next)));
      }
      model_.finish(std::move(running));
    }) / sizes_.decode_steps;
  }

 private:
  StepBatch batch(int step) const {
    std::vector<Piece> pieces;
    for (int i = 0; i < decode_.sequences; i++)
      pieces.push_back({some_tokens(1, model_.shape.vocab_size, i + step), decode_.context + step, blocks_of(i, blocks_each(sizes_, decode_))});
    return batch_of(pieces);
  }

  StepResult begin(int step) {
    StepBatch next = batch(step);
    for (int i = 0; step > 0 && i < decode_.sequences; i++) next.tokens[i] = reference_to(i);
    return model_.begin(next);
  }

  RandomModel& model_;
  const Sizes& sizes_;
  const Decode decode_;
};

// The seconds that it would take to read what a step reads at the rate that the device was measured to have.
double roofline_seconds(const ModelShape& s, const Decode& decode, double tb_per_s) {
  const double read_bytes = weight_bytes(s) - 2.0 * s.vocab_size * s.hidden_size;  // of the embedding's rows, few
  const double kv_bytes = token_bytes(s) * decode.sequences * decode.context;
  return (read_bytes + kv_bytes) / (tb_per_s * 1e12);
}

// What a measurement says of the devices.
std::string ranks_field(const RandomModel& model) {
  return model.ranks() == 1 ? "" : ", \"tensor_parallel\": " + std::to_string(model.ranks());
}

void bench_decode(RandomModel& model, const Sizes& sizes, const Decode& decode, const Launches& launches, double tb_per_s) {
  model.set_launches(launches.start_early, launches.record_steps);
  DecodeSteps steps(model, sizes, decode);
  const double alone = steps.seconds_alone(), ahead = steps.seconds_ahead(), n = decode.sequences;
  std::printf("{\"part\": \"decode\", \"layers\": %d, \"sequences\": %d, \"context\": %d%s%s, \"early\": %s, \"recorded\": %s, \"tok_per_s\": %.1f, "
              "\"tok_per_s_ahead\": %.1f, \"roofline_tb_per_s\": %.2f, \"percent_of_roofline\": %.1f}\n",
              model.shape.layers, decode.sequences, decode.context, format_fields(model.shape).c_str(), ranks_field(model).c_str(), launches.start_early ? "true" : "false",
              launches.record_steps ? "true" : "false", n / alone, n / ahead, tb_per_s,
              100 * roofline_seconds(shape_of_rank(model.shape, model.ranks()), decode, tb_per_s) / ahead);
  std::fflush(stdout);
}

void bench_prompt(RandomModel& model, int tokens, int rounds) {
  const StepBatch batch = batch_of({{some_tokens(tokens, model.shape.vocab_size, tokens), 0, blocks_of(0, tokens / block_tokens + 1)}});
  model.step(batch);
  std::vector<double> seconds;
  for (int i = 0; i < rounds; i++) seconds.push_back(model.step_seconds(batch));
  std::printf("{\"part\": \"prefill\", \"layers\": %d, \"tokens\": %d%s%s, \"ms\": %.1f, \"tok_per_s\": %.0f}\n", model.shape.layers, tokens, format_fields(model.shape).c_str(), ranks_field(model).c_str(),
              1e3 * median(seconds), tokens / median(seconds));
  std::fflush(stdout);
}

// What prompts and decode steps need, as far as there is memory for it.
StepLimits limits_of(const Sizes& sizes, const std::vector<int>& devices) {
  int fitting = dimension_max;
  for (const int number : devices) fitting = std::min(fitting, blocks_that_fit(shape_of_rank(sizes.shape, int(devices.size())), number));
  StepLimits limits = {.batch_tokens_max = gpu_bucket_max, .sequences_max = 1, .blocks = 1};
  for (const int tokens : sizes.prompts) {
    limits.batch_tokens_max = std::max(limits.batch_tokens_max, tokens);
    limits.blocks = std::max(limits.blocks, tokens / block_tokens + 1);
  }
  for (const Decode& decode : sizes.decodes) {
    const int blocks = decode.sequences * blocks_each(sizes, decode);
    limits.sequences_max = std::max(limits.sequences_max, decode.sequences);
    if (blocks <= fitting) limits.blocks = std::max(limits.blocks, blocks);
  }
  return limits;
}

}  // namespace

void bench_steps(const Arguments& arguments) {
  const Sizes sizes = sizes_of(arguments);
  const StepLimits limits = limits_of(sizes, arguments.devices);
  Arguments with_cache = arguments;
  with_cache.options.has_random_cache = true;
  RandomModel model(with_cache, limits);
  for (const int tokens : sizes.prompts) bench_prompt(model, tokens, sizes.rounds);
  const Launches wanted = {arguments.starts_early, arguments.options.records_steps};
  const auto measure = [&](const Decode& decode, const Launches& launches) {
    if (decode.sequences * blocks_each(sizes, decode) <= limits.blocks) bench_decode(model, sizes, decode, launches, arguments.tb_per_s);
    else std::fprintf(stderr, "no memory for %d sequences of %d tokens\n", decode.sequences, decode.context);
  };
  for (const Decode& decode : sizes.decodes) measure(decode, wanted);
  // What either way to launch is worth, where a launch matters most and where it matters least.
  for (const Decode& decode : {sizes.decodes.front(), sizes.decodes.back()})
    for (const Launches& other : {Launches{false, true}, Launches{true, false}, Launches{false, false}}) measure(decode, other);
}

}  // namespace ziya::bench
