// The engine's thread: load, steps in order, close at any moment.
#include "engine.h"

#include <future>

#include "reference.h"

namespace ziya::test {
namespace {

const StepLimits limits = {.batch_tokens_max = 64, .sequences_max = 4, .blocks = 16};

struct RunningEngine {
  explicit RunningEngine(Random& random, const std::string& device = "cpu", const StepLimits& limits = ziya::test::limits)
      : model(random_model(random_shape(random), random)),
        file(model, Dtype::f16),
        loaded(promise.get_future()),
        engine({"llama", model.shape, file.tensors}, {.device = device, .threads = 2, .limits = limits},
               {nullptr, [this](Engine::Error error) { promise.set_value(error); }, nullptr}) {}

  RandomModel model;
  ModelFile file;
  std::promise<Engine::Error> promise;
  std::future<Engine::Error> loaded;
  Engine engine;
};

StepBatch some_batch() { return greedy_batch({{std::vector<int32_t>(60, 1), 0, {3, 2, 1, 0}}}); }

void steps_come_back_in_order(Random& random) {
  RunningEngine running(random);
  expect(!running.loaded.get(), "it loads");
  std::vector<int> order;
  std::promise<void> done;
  for (int i = 0; i < 8; i++) {
    running.engine.submit(some_batch(), [&, i](StepResult result, Engine::Error error) {
      order.push_back(error || result.tokens.size() != 1 ? -1 : i);
      if (i == 7) done.set_value();
    });
  }
  done.get_future().get();
  expect(order == std::vector<int>({0, 1, 2, 3, 4, 5, 6, 7}), "in order");
  int64_t parameters = 0;
  for (const auto& [name, values] : running.model.tensors) parameters += int64_t(values.size());
  expect(running.engine.info().parameters == parameters, "parameters");
}

void too_many_waiting_steps_are_refused(Random& random) {
  RunningEngine running(random);
  const std::string code = error_code([&] {
    for (int i = 0; i < 1000; i++) running.engine.submit(some_batch(), [](StepResult, Engine::Error) {});
  });
  expect(code == "bad_batch", "bad_batch");
}

void close_refuses_what_waits_and_what_comes(Random& random) {
  for (int round = 0; round < 30; round++) {
    RunningEngine running(random);
    std::atomic<int> done{0}, refused{0};
    for (int i = 0; i < 4; i++)
      running.engine.submit(some_batch(), [&](StepResult, Engine::Error error) {
        (error ? refused : done)++;
        if (error) expect(error->code == "engine_closed", "engine_closed");
      });
    if (round % 3 > 0) running.loaded.get();
    running.engine.close();
    expect(error_code([&] { running.engine.submit(some_batch(), nullptr); }) == "engine_closed", "after close");
    running.engine.join();
    expect(done + refused == 4, "every step was answered");
  }
}

void destroyed_at_any_moment(Random& random) {
  for (int round = 0; round < 30; round++) {
    std::atomic<int> answered{0};
    {
      RunningEngine running(random);
      if (round % 2) running.loaded.get();
      for (int i = 0; i < 4; i++) running.engine.submit(some_batch(), [&](StepResult, Engine::Error) { answered++; });
      std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 500)));
    }
    expect(answered == 4, "every step was answered");
  }
}

void a_bad_batch_does_not_stop_the_engine(Random& random) {
  RunningEngine running(random);
  std::promise<std::string> first, second;
  StepBatch bad = some_batch();
  bad.tokens[0] = -1;
  const auto answer = [](std::promise<std::string>& to) {
    return [&to](StepResult, Engine::Error error) { to.set_value(error ? error->code : "ok"); };
  };
  running.engine.submit(bad, answer(first));
  running.engine.submit(some_batch(), answer(second));
  expect(first.get_future().get() == "bad_batch", "refused");
  expect(second.get_future().get() == "ok", "and the next one runs");
}

void an_unknown_device_is_refused(Random& random) {
  RunningEngine running(random, "cuda:99");
  const Engine::Error error = running.loaded.get();
  expect(error && error->code == "unsupported_device", "unsupported_device");
}

void without_a_number_of_blocks_all_sequences_fit(Random& random) {
  RunningEngine running(random, "cpu", {.batch_tokens_max = 64, .sequences_max = 4, .blocks = 0});
  expect(!running.loaded.get(), "it loads");
  const int a_context = (running.model.shape.context_tokens + block_tokens - 1) / block_tokens;
  expect(running.engine.info().blocks == 4 * a_context, "four full contexts");
}

void devices_are_numbers(Random&) {
  expect(cuda_numbers("cuda:0") == std::vector<int>({0}), "one");
  expect(cuda_numbers("cuda:1,12,0") == std::vector<int>({1, 12, 0}), "several");
  for (const char* bad : {"", "cuda", "cuda:", "cuda:,", "cuda:1,", "cuda:1,,2", "cuda:x", "cuda:1 ", "cpu", "cuda:99999999999"})
    expect(cuda_numbers(bad).empty(), bad);
}

void too_much_memory_is_refused(Random& random) {
  const RandomModel model = random_model(random_shape(random), random);
  const ModelFile file(model, Dtype::f16);
  std::promise<Engine::Error> promise;
  StepLimits huge = limits;
  huge.blocks = 1 << 24;
  huge.batch_tokens_max = 1 << 24;
  Engine engine({"llama", model.shape, file.tensors}, {.device = "auto", .limits = huge},
                {nullptr, [&](Engine::Error error) { promise.set_value(error); }, nullptr});
  const Engine::Error error = promise.get_future().get();
  expect(!error || error->code == "out_of_memory", "out_of_memory, unless the machine has it all");
}

}  // namespace

std::vector<Test> engine_tests() {
  return {{"steps come back in order", steps_come_back_in_order},
          {"too many waiting steps are refused", too_many_waiting_steps_are_refused},
          {"close refuses what waits and what comes", close_refuses_what_waits_and_what_comes},
          {"an engine may be destroyed at any moment", destroyed_at_any_moment},
          {"a bad batch does not stop the engine", a_bad_batch_does_not_stop_the_engine},
          {"an unknown device is refused", an_unknown_device_is_refused},
          {"without a number of blocks there are enough for all sequences", without_a_number_of_blocks_all_sequences_fit},
          {"devices are numbers", devices_are_numbers},
          {"more memory than there is, is refused", too_much_memory_is_refused}};
}

}  // namespace ziya::test
