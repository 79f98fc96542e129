// The CUDA backend on the emulator: the shared tests under three orders of threads, blocks and copies, which must give the
// same bytes; and that the emulator finds what it is there to find.
#include <stdexcept>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/emulator/device.h"
#include "kernels/emulator/runtime.h"
#include "reference.h"

namespace ziya::test {
namespace {

using emulator::Order;

// The body under each order, on the same random inputs.
Test under_every_order(const Test& test) {
  return {test.name, [body = test.body](Random& random) {
            const uint64_t seed = random.bits();
            uint64_t first_digest = 0;
            for (const Order order : {Order::round_robin, Order::reversed, Order::random}) {
              emulator::set_order(order, seed);
              emulator::take_download_digest();
              Random again(seed);
              body(again);
              const uint64_t digest = emulator::take_download_digest();
              if (order == Order::round_robin) first_digest = digest;
              expect(digest == first_digest, "the bytes depend on the order of threads");
            }
            emulator::set_order(Order::round_robin);
          }};
}

Device emulated(const char* name, CudaVariant variant) {
  return {.name = name,
          .make = [variant](const ModelShape& shape, const StepLimits& limits, int) {
            return emulator::make_kernels(shape, limits, {.device = 0, .variant = variant});
          },
          .precision = 1e-3,
          .is_slow = true};
}

}  // namespace

std::vector<Test> emulator_tests() {
  std::vector<Test> tests;
  const auto take = [&](const std::vector<Test>& more) {
    for (const auto& test : more) tests.push_back(under_every_order(test));
  };
  const Device simple = emulated("emulator", CudaVariant::simple);
  take(kernel_tests(simple));
  take(model_tests(simple));
  take(sample_tests(simple));
  return tests;
}

}  // namespace ziya::test
