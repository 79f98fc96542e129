// The engine's thread and its queue. Everything that can fail does so as an EngineError handed to a callback.
#include "engine.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/cpu/memory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor_parallel.h"
#include "models/registry.h"
#if defined(ZIYA_CUDA)
#include "kernels/cuda/cuda_kernels.h"
#endif

#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace ziya {
namespace {

constexpr double usable_memory = 0.92;  // of a GPU's; the rest is the driver's, the kernels' and the workspace's

// Keys and values: fp16, or a byte a number and a scale of two for a token's head.
double block_bytes(const ModelShape& shape) {
  const double of_head = shape.kv_cache == KvFormat::fp8 ? shape.head_size + 2.0 : 2.0 * shape.head_size;
  return std::max(1.0, 2 * of_head * block_tokens * shape.layers * shape.kv_heads);
}

// On each of so many devices that compute together. Whatever the files hold: fp16, or of a layer's matrices a byte a weight and a scale a
// row.
double weight_bytes(const ModelDescription& model, int ranks) {
  int64_t parameters = parameter_count(model.tensors);
  for (const auto& adapter : model.adapters) parameters += parameter_count(adapter.tensors);
  double bytes = 2.0 * double(parameters);
  for (const TensorSource& tensor : model.tensors) {
    if (!tensor.slot.starts_with("layer.") || tensor.shape.size() != 2) continue;
    const double numbers = double(parameter_count({tensor}));
    const bool is_fp8 = model.shape.weights == WeightFormat::fp8;
    bytes += (is_fp8 ? numbers + double(tensor.shape.front()) * sizeof(float) : 2 * numbers) / ranks - 2 * numbers;
  }
  return bytes;
}

int context_blocks(const ModelShape& shape) { return (shape.context_tokens + block_tokens - 1) / block_tokens; }

#if defined(ZIYA_CUDA)
// What the GPUs have for weights and KV cache: of those that compute together, what each has.
double usable_bytes(const std::vector<int>& gpus, int ranks) {
  double sum = 0;
  for (size_t first = 0; first < gpus.size(); first += ranks) {
    int64_t least = cuda::free_bytes(gpus[first]);
    for (int rank = 1; rank < ranks; rank++) least = std::min(least, cuda::free_bytes(gpus[first + rank]));
    sum += usable_memory * double(least);
  }
  return sum;
}

// The first GPUs that hold the weights and the KV cache together. None where not even all do.
std::vector<int> gpus_for(const ModelDescription& model, int blocks, int ranks) {
  const ModelShape shape = shape_of_rank(model.shape, ranks);
  const double needed = weight_bytes(model, ranks) + block_bytes(shape) * (blocks > 0 ? blocks : context_blocks(shape));
  std::vector<int> numbers;
  for (int device = 0; device / ranks < shape.layers && cuda::is_suitable(device); device++) {
    numbers.push_back(device);
    if (numbers.size() % ranks == 0 && usable_bytes(numbers, ranks) >= needed) return numbers;
  }
  if (!numbers.empty() && int(numbers.size()) < ranks)
    throw EngineError("unsupported_device", "there are fewer GPUs than tensor_parallel " + std::to_string(ranks) + " needs");
  return {};
}
#endif

// The GPUs that the options ask for; none for the CPU.
std::vector<int> gpus_of([[maybe_unused]] const ModelDescription& model, const EngineOptions& options) {
  if (options.device == "cpu" || options.make_kernels) return {};
#if defined(ZIYA_CUDA)
  const int ranks = options.tensor_parallel;
  if (options.device == "auto") return gpus_for(model, options.limits.blocks, ranks);
  const std::vector<int> numbers = cuda_numbers(options.device);
  if (numbers.size() % ranks != 0)
    throw EngineError("unsupported_device", options.device + " is no multiple of the devices that tensor_parallel " + std::to_string(ranks) + " needs");
  if (int(numbers.size()) / ranks > model.shape.layers) throw EngineError("unsupported_device", "more devices than layers");
  for (const int number : numbers)
    if (!cuda::is_suitable(number))
      throw EngineError("unsupported_device", "there is no cuda:" + std::to_string(number) + " of compute capability 9");
  return numbers;
#else
  if (options.device == "auto") return {};
  throw EngineError("unsupported_device", "this build has no device " + options.device);
#endif
}

// Every sequence at full context where the memory holds that; at least one, which may turn out not to fit.
int blocks_for(const ModelDescription& model, const EngineOptions& options, [[maybe_unused]] const std::vector<int>& gpus) {
  const int ranks = options.tensor_parallel;
  double memory = 0.5 * double(available_memory()) / ranks;
#if defined(ZIYA_CUDA)
  if (!gpus.empty()) memory = usable_bytes(gpus, ranks);
#endif
  const double affordable = (memory - weight_bytes(model, ranks)) / block_bytes(shape_of_rank(model.shape, ranks));
  const int a_context = context_blocks(model.shape);
  const double wanted = double(options.limits.sequences_max) * a_context;
  return std::max(a_context, int(std::min({wanted, affordable, double(dimension_max)})));
}

// Of a CPU one, whose kernels the ranks take in turns, so that they need no more threads than one has.
std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const EngineOptions& options, [[maybe_unused]] const std::vector<int>& gpus, [[maybe_unused]] size_t index) {
  if (options.make_kernels) return options.make_kernels(shape, options.limits);
#if defined(ZIYA_CUDA)
  if (!gpus.empty()) return cuda::make_kernels(shape, options.limits, {.device = gpus[index]});
#endif
  const int threads = options.threads > 0 ? options.threads : physical_cores();
  return make_cpu_kernels(shape, options.limits, std::max(1, threads / options.tensor_parallel), options.isa);
}

Devices make_devices(const ModelShape& shape, const EngineOptions& options, const std::vector<int>& gpus) {
  const size_t ranks = size_t(options.tensor_parallel), count = std::max(gpus.size(), ranks);
  std::vector<std::unique_ptr<Kernels>> kernels, together;
  for (size_t i = 0; i < count; i++) {
    together.push_back(make_kernels(shape_of_rank(shape, int(ranks)), options, gpus, i));
    if (together.size() < ranks) continue;
    kernels.push_back(ranks == 1 ? std::move(together[0]) : make_tensor_parallel(shape, options.limits, std::move(together)));
    together.clear();
  }
  return {std::move(kernels), shape.layers};
}

// Where the cores are few, the event loop that writes the last step's tokens goes before the threads that compute the
// next one's. Threads started from here on, the pool's and the loaders', inherit it.
void yield_to_the_event_loop() {
#if defined(__linux__)
  constexpr int niceness = 2;
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + niceness);  // 0 is the calling thread
#endif
}

// Runs the function; what it throws becomes a value.
template <class Function>
Engine::Error error_of(const Function& function) {
  try {
    function();
  } catch (const EngineError& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return EngineError("out_of_memory", "the process has no more memory");
  }
  return {};
}

}  // namespace

std::vector<int> cuda_numbers(const std::string& device) {
  std::string_view rest = device;
  if (!rest.starts_with("cuda:")) return {};
  rest.remove_prefix(4);
  std::vector<int> numbers;
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the colon, then commas
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), numbers.emplace_back());
    rest.remove_prefix(size_t(end - rest.data()));
    if (error != std::errc() || (!rest.empty() && rest.front() != ',')) return {};
  }
  return numbers;
}

Engine::Engine(ModelDescription model, const EngineOptions& options, Events events)
    : description_(std::move(model)), options_(options), events_(std::move(events)) {
  thread_ = start_thread(&Engine::run);
}

std::thread Engine::start_thread(void (Engine::*body)()) {
  try {
    return std::thread(body, this);
  } catch (const std::system_error&) {
    throw EngineError("out_of_memory", "the system starts no more threads");
  }
}

Engine::~Engine() {
  cancelled_ = true;
  close();
  join();
}

void Engine::submit(StepBatch batch, OnStep on_step) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_) throw EngineError("engine_closed", "the engine is closed");
    if (waiting_.size() >= waiting_max)
      throw EngineError("bad_batch", "more than " + std::to_string(waiting_max) + " steps wait");
    waiting_.push_back({std::move(batch), std::move(on_step)});
  }
  changed_.notify_all();
}

void Engine::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
}

void Engine::join() {
  if (thread_.joinable()) thread_.join();
}

void Engine::run() {
  yield_to_the_event_loop();
  if (load())
    while (auto job = next_job()) run_job(std::move(*job));
  {
    const std::lock_guard lock(mutex_);
    reading_ends_ = true;
  }
  changed_.notify_all();
  if (reader_.joinable()) reader_.join();
  refuse_waiting();
  model_.reset();
  devices_.reset();
  if (events_.on_closed) events_.on_closed();
}

bool Engine::load() {
  const Error error = error_of([&] {
    const ModelShape& shape = description_.shape;
    const Architecture& architecture = architecture_of(description_.architecture);
    options_.limits.adapters = int(description_.adapters.size());
    check_shape(architecture, shape, options_.limits);
    check_tensor_parallel(shape, options_.tensor_parallel);
    const std::vector<int> gpus = gpus_of(description_, options_);
    if (options_.limits.blocks == 0) options_.limits.blocks = blocks_for(description_, options_, gpus);
    info_.blocks = options_.limits.blocks;
    devices_.emplace(make_devices(shape, options_, gpus));
    info_.device = devices_->name();
    info_.arithmetic = devices_->arithmetic() + (shape.kv_cache == KvFormat::fp8 ? ", fp8 KV cache" : "");
    info_.weight_bytes = devices_->allocated_bytes();  // what the kernels have for themselves is beside any weights
    model_ = architecture.make(shape, options_.limits, *devices_);
    info_.weight_bytes += model_->weights().bytes();
    info_.kv_bytes = model_->kv_bytes();
    info_.parameters = parameter_count(description_.tensors);
    info_.weights_digest = fill(model_->weights(), description_.tensors, {events_.on_progress, cancelled_});
    add_adapters();
    if (model_->is_asynchronous()) reader_ = start_thread(&Engine::read_results);
  });
  if (events_.on_loaded) events_.on_loaded(error);
  return !error;
}

void Engine::add_adapters() {
  std::vector<AdapterShape> shapes;
  for (const auto& adapter : description_.adapters) shapes.push_back(adapter.shape);
  model_->add_adapters(shapes);
  const auto weights = model_->adapter_weights();
  for (size_t i = 0; i < weights.size(); i++) {
    info_.weight_bytes += weights[i].bytes();
    info_.adapter_digests.push_back(fill(weights[i], description_.adapters[i].tensors, {nullptr, cancelled_}));
  }
}

// Returns the digest of what was loaded.
std::string Engine::fill(const Weights& weights, const std::vector<TensorSource>& tensors, const LoadProgress& progress) const {
  const int threads = options_.threads > 0 ? options_.threads : physical_cores();
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(load_weights(weights, tensors, threads, progress)));
  return digits;
}

std::optional<Engine::Job> Engine::next_job() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closing_ || (!waiting_.empty() && unfinished_ < unfinished_steps_max); });
  if (closing_) return {};
  Job job = std::move(waiting_.front());
  waiting_.pop_front();
  return job;
}

void Engine::run_job(Job job) {
  const Clock::time_point began = Clock::now();
  StepResult result;
  Error error = begin(job.batch, result);
  BegunStep step = {std::move(job.on_step), began, std::move(result), std::move(error)};
  if (!reader_.joinable()) return finish(std::move(step));
  {
    const std::lock_guard lock(mutex_);
    unfinished_++;
    begun_.push_back(std::move(step));
  }
  changed_.notify_all();
}

Engine::Error Engine::begin(const StepBatch& batch, StepResult& result) {
  const int rows_before = std::exchange(rows_before_, 0);
  return error_of([&] {
    check_batch(batch, description_.shape, options_.limits, rows_before);
    result = model_->begin(batch, cancelled_);
    rows_before_ = int(batch.rows.size());
  });
}

// A step that was enqueued behind another ran from that one's end on.
void Engine::finish(BegunStep step) {
  const Error error = step.error ? step.error : error_of([&] { model_->finish(step.result); });
  const Clock::time_point now = Clock::now();
  step.result.seconds = std::chrono::duration<double>(now - std::max(step.began, std::exchange(finished_, now))).count();
  step.on_step(std::move(step.result), error);
}

void Engine::read_results() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return reading_ends_ || !begun_.empty(); });
    if (begun_.empty()) return;
    BegunStep step = std::move(begun_.front());
    begun_.pop_front();
    lock.unlock();
    finish(std::move(step));
    lock.lock();
    unfinished_--;
    changed_.notify_all();
  }
}

void Engine::refuse_waiting() {
  std::deque<Job> refused;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    refused.swap(waiting_);
  }
  for (auto& job : refused)
    job.on_step({}, EngineError("engine_closed", "the engine was closed before the step began"));
}

}  // namespace ziya
