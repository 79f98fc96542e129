// Loading: each way a file can be wrong has its code; the three types give the
// same weights.
#include "weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include "reference.h"

namespace ziya::test {
namespace {

const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 2, .blocks = 4};

RandomModel small_model(Random& random) {
  ModelShape shape = random_shape(random);
  shape.tied_embeddings = false;
  shape.layers = 2;
  return random_model(shape, random);
}

std::string load_code(const RandomModel& model, const std::vector<TensorSource>& tensors, bool cancel = false) {
  const Devices devices(make_cpu_kernels(model.shape, limits, 1, CpuIsa::automatic), model.shape.layers);
  const std::atomic<bool> cancelled{cancel};
  return error_code([&] { load_weights(make_llama(model.shape, limits, devices)->weights(), tensors, 2, {nullptr, cancelled}); });
}

void each_fault_has_its_code(Random& random) {
  const RandomModel model = small_model(random);
  const ModelFile file(model, Dtype::f32);
  const uint64_t file_bytes = std::filesystem::file_size(file.path);
  expect(load_code(model, file.tensors) == "", "a good file");
  expect(load_code(model, file.tensors, true) == "engine_closed", "cancelled");
  for (size_t i = 0; i < file.tensors.size(); i++) {
    auto tensors = file.tensors;
    tensors.erase(tensors.begin() + int64_t(i));
    expect(load_code(model, tensors) == "weights_missing_tensor", "without " + file.tensors[i].name);
    tensors = file.tensors;
    tensors[i].shape[0]++;
    expect(load_code(model, tensors) == "bad_shape", "another shape of " + file.tensors[i].name);
    tensors = file.tensors;
    tensors[i].bytes--;
    expect(load_code(model, tensors) == "bad_shape", "other bytes of " + file.tensors[i].name);
    tensors = file.tensors;
    for (const uint64_t offset : {file_bytes - tensors[i].bytes + 1, uint64_t(1) << 40, ~uint64_t(0)}) {
      tensors[i].offset = offset;
      expect(load_code(model, tensors) == "weights_out_of_range", "beyond the file, " + file.tensors[i].name);
    }
    tensors = file.tensors;
    tensors[i].path = "/nowhere";
    expect(load_code(model, tensors) == "weights_read", "no file for " + file.tensors[i].name);
    tensors[i].path = std::filesystem::temp_directory_path();
    expect(load_code(model, tensors) == "weights_read", "a folder for " + file.tensors[i].name);
  }
}

void a_bad_value_is_told_by_its_place(Random& random) {
  RandomModel model = small_model(random);
  auto& values = model.tensors.at("model.layers.1.mlp.down_proj.weight");
  const int columns = model.shape.intermediate_size;
  const int at = random.between(0, int(values.size()) - 1);
  values[size_t(at)] = 1e6f;
  const ModelFile file(model, Dtype::f32);
  const Devices devices(make_cpu_kernels(model.shape, limits, 1, CpuIsa::automatic), model.shape.layers);
  const std::atomic<bool> cancelled{false};
  const std::string text =
      error_text([&] { load_weights(make_llama(model.shape, limits, devices)->weights(), file.tensors, 1, {nullptr, cancelled}); });
  const std::string place = "[" + std::to_string(at / columns) + ", " + std::to_string(at % columns) + "]";
  expect(text == "model.layers.1.mlp.down_proj.weight" + place + " is beyond the range of fp16", text);
}

std::string code_with_value(RandomModel model, const char* tensor, float value, Dtype dtype, Random& random) {
  auto& values = model.tensors.at(tensor);
  values[size_t(random.between(0, int(values.size()) - 1))] = value;
  const ModelFile file(model, dtype);
  return load_code(model, file.tensors);
}

void values_are_checked(Random& random) {
  const RandomModel model = small_model(random);
  const char* matrix = "model.layers.1.mlp.up_proj.weight";
  const char* norm = "model.norm.weight";
  constexpr float infinity = std::numeric_limits<float>::infinity();
  expect(code_with_value(model, matrix, 65504, Dtype::f32, random) == "", "the largest fp16");
  expect(code_with_value(model, matrix, 65519, Dtype::f32, random) == "", "rounds to the largest fp16");
  expect(code_with_value(model, matrix, 65520, Dtype::f32, random) == "weights_overflow", "rounds to infinity");
  expect(code_with_value(model, matrix, -70000, Dtype::f32, random) == "weights_overflow", "beyond fp16");
  expect(code_with_value(model, matrix, 1e30f, Dtype::bf16, random) == "weights_overflow", "beyond fp16, in bf16");
  expect(code_with_value(model, matrix, infinity, Dtype::f32, random) == "weights_not_finite", "infinity");
  expect(code_with_value(model, matrix, NAN, Dtype::f32, random) == "weights_not_finite", "NaN");
  expect(code_with_value(model, matrix, NAN, Dtype::bf16, random) == "weights_not_finite", "NaN in bf16");
  expect(code_with_value(model, norm, NAN, Dtype::f32, random) == "weights_not_finite", "NaN in a vector");
}

void infinity_in_fp16_is_refused(Random& random) {
  const RandomModel model = small_model(random);
  const ModelFile file(model, Dtype::f16);
  for (const auto& tensor : file.tensors) {
    FILE* handle = std::fopen(file.path.c_str(), "r+b");
    const uint64_t at = tensor.offset + uint64_t(random.between(0, int(tensor.bytes / 2) - 1)) * 2;
    uint16_t before = 0;
    const uint16_t infinity = 0xfc00;
    std::fseek(handle, long(at), SEEK_SET);
    expect(std::fread(&before, 2, 1, handle) == 1, "read");
    const auto put = [&](uint16_t value) {
      std::fseek(handle, long(at), SEEK_SET);
      std::fwrite(&value, 2, 1, handle);
      std::fflush(handle);
    };
    put(infinity);
    expect(load_code(model, file.tensors) == "weights_not_finite", "infinity in " + tensor.name);
    put(before);
    std::fclose(handle);
  }
}

std::vector<float> first_logits(const RandomModel& model, Dtype dtype, int threads) {
  const Devices devices(make_cpu_kernels(model.shape, limits, threads, CpuIsa::automatic), model.shape.layers);
  const auto loaded = load_model(model, limits, devices, dtype, threads);
  const std::atomic<bool> cancelled{false};
  return loaded->step(greedy_batch({{{0, 1}, 0, {1}}}), cancelled).logits;
}

void types_and_threads_give_the_same_weights(Random& random) {
  RandomModel model = small_model(random);
  for (auto& [name, values] : model.tensors)  // exact in bf16 too
    for (auto& value : values) value = std::ldexp(std::nearbyint(std::ldexp(value, 5)), -5) * (std::abs(value) < 4);
  const auto want = first_logits(model, Dtype::f32, 1);
  expect(first_logits(model, Dtype::f16, 3) == want, "fp16");
  expect(first_logits(model, Dtype::bf16, 2) == want, "bf16");
}

void progress_ends_at_the_total(Random& random) {
  const RandomModel model = small_model(random);
  const ModelFile file(model, Dtype::f16);
  const Devices devices(make_cpu_kernels(model.shape, limits, 1, CpuIsa::automatic), model.shape.layers);
  const std::atomic<bool> cancelled{false};
  uint64_t before = 0, done = 0, total = 0;
  bool grows = true;
  const auto report = [&](uint64_t bytes_done, uint64_t bytes_total) {
    grows = grows && bytes_done > before;
    before = done = bytes_done;
    total = bytes_total;
  };
  load_weights(make_llama(model.shape, limits, devices)->weights(), file.tensors, 3, {report, cancelled});
  expect(grows && done == total && total == uint64_t(2 * parameter_count(file.tensors)),
         "progress grows up to the total");
}

uint64_t digest_of(const RandomModel& model, const std::vector<TensorSource>& tensors, int threads, int device_count = 1) {
  std::vector<std::unique_ptr<Kernels>> kernels;
  for (int i = 0; i < device_count; i++) kernels.push_back(make_cpu_kernels(model.shape, limits, 1, CpuIsa::automatic));
  const Devices devices(std::move(kernels), model.shape.layers);
  const std::atomic<bool> not_cancelled{false};
  return load_weights(make_llama(model.shape, limits, devices)->weights(), tensors, threads, {nullptr, not_cancelled});
}

// However it is stored and wherever it goes, a model has one digest; no other has it.
void a_digest_names_the_values(Random& random) {
  RandomModel model = small_model(random);
  for (auto& [name, values] : model.tensors)  // exact in bf16 too
    for (auto& value : values) value = std::ldexp(std::nearbyint(std::ldexp(value, 5)), -5) * (std::abs(value) < 4);
  std::set<uint64_t> digests;
  const auto digest = [&](Dtype dtype, int threads, int devices) {
    const ModelFile file(model, dtype);
    return digest_of(model, file.tensors, threads, devices);
  };
  digests.insert(digest(Dtype::f32, 1, 1));
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) digests.insert(digest(dtype, random.between(1, 3), random.between(1, 2)));
  expect(digests.size() == 1, "it is one of all types, threads and devices");
  model.shape.weights = WeightFormat::fp8;
  digests.insert(digest(Dtype::f16, 2, 1));
  digests.insert(digest(Dtype::f32, 1, 2));
  expect(digests.size() == 2, "fp8 has another, of all types, threads and devices");
  model.shape.weights = WeightFormat::fp16;
  for (auto& [name, values] : model.tensors) {
    float& value = random.one_of<std::reference_wrapper<float>>({values.begin(), values.end()});
    const float before = std::exchange(value, value + 1);
    expect(digests.insert(digest(Dtype::f16, 2, 1)).second, "another value in " + name);
    value = before;
    auto other = values.begin();
    while (other != values.end() && *other == values.front()) other++;
    if (other == values.end()) continue;
    std::iter_swap(values.begin(), other);
    expect(digests.insert(digest(Dtype::f16, 2, 1)).second, "two values changed places in " + name);
    std::iter_swap(values.begin(), other);
  }
}

std::vector<bool> cached_pages(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY);
  const size_t bytes = std::filesystem::file_size(path), page = size_t(sysconf(_SC_PAGESIZE));
  void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  expect(mapped != MAP_FAILED && mincore(mapped, bytes, pages.data()) == 0, "which pages are cached is known");
  munmap(mapped, bytes);
  close(descriptor);
  std::vector<bool> cached;
  for (const unsigned char is_cached : pages) cached.push_back(is_cached & 1);
  return cached;
}

// Where the file system lets pages go, some are let go before; where it does not, all stay.
void the_page_cache_is_left_as_it_was(Random& random) {
  ModelShape shape = random_shape(random);
  shape.vocab_size = 3000;
  shape.hidden_size = 256;
  shape.heads = shape.kv_heads = 4;
  shape.head_size = 64;
  shape.tied_embeddings = false;
  const RandomModel model = random_model(shape, random);
  const ModelFile file(model, Dtype::f16);
  const int descriptor = open(file.path.c_str(), O_RDONLY);
  expect(fsync(descriptor) == 0, "it is on the disk");
  const off_t bytes = off_t(std::filesystem::file_size(file.path));
  for (int round = 0; round < 3; round++) {
    posix_fadvise(descriptor, random.between(0, int(bytes)), random.between(0, int(bytes)), POSIX_FADV_DONTNEED);
    const std::vector<bool> before = cached_pages(file.path);
    digest_of(model, file.tensors, 1);
    expect(cached_pages(file.path) == before, "another page is cached than before");
  }
  close(descriptor);
}

}  // namespace

std::vector<Test> weights_tests() {
  return {{"a digest names the values of a model", a_digest_names_the_values},
          {"weights that are read leave the page cache as it was", the_page_cache_is_left_as_it_was},
          {"each fault of a weights file has its code", each_fault_has_its_code},
          {"weights beyond fp16 and weights that are not finite are refused", values_are_checked},
          {"a bad value is told by its place", a_bad_value_is_told_by_its_place},
          {"an infinity in fp16 is refused, in any tensor", infinity_in_fp16_is_refused},
          {"fp32, fp16 and bf16 files give the same weights, on any threads", types_and_threads_give_the_same_weights},
          {"progress grows up to the total", progress_ends_at_the_total}};
}

}  // namespace ziya::test
