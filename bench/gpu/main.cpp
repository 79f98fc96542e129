// The CUDA backend at the 34B's sizes, with random weights: products alone, whole steps, requests at full batch; and the greedy tokens
// of a model in a file, to hold against another engine's. One JSON object a line.
// usage: gpu-bench gemm|steps|throughput|launches|ids FOLDER [--layers N] [--variant NAME] [--tb-per-s N] [--tiny] [--no-early-start]
//        [--no-recording] [--rows LIST] [--sequences LIST] [--contexts LIST] [--prompts LIST] [--seconds N] [--weights fp8] [--kv-cache fp8]
//        [--devices LIST: of steps]
// A variant is fast, simple (none of the fast kernels), or fast without one of them: no-gemm, no-prefill-gemm, no-attention,
// no-sampling. So each kernel is timed beside the one that it replaced.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>

#include "bench.h"
#include "engine_error.h"

namespace ziya::bench {
namespace {

constexpr const char* usage =
    "gpu-bench gemm|steps|throughput|launches|ids FOLDER [--layers N] [--variant NAME] [--tb-per-s N] [--tiny] [--no-early-start] "
    "[--no-recording] [--rows LIST] [--sequences LIST] [--contexts LIST] [--prompts LIST] [--seconds N] [--weights fp8] [--kv-cache fp8] [--devices LIST]";

CudaParts parts_of(const std::string& variant) {
  if (variant == "fast") return {};
  if (variant == "simple") return simple_cuda_parts;
  if (variant == "no-gemm") return {.gemm = false};
  if (variant == "no-prefill-gemm") return {.prefill_gemm = false};
  if (variant == "no-attention") return {.attention = false};
  if (variant == "no-sampling") return {.sampling = false};
  throw EngineError("usage", "no variant is called " + variant);
}

template <class Format>
Format format_of(const std::string& name) {
  if (name == "fp16") return Format::fp16;
  if (name == "fp8") return Format::fp8;
  throw EngineError("usage", "a format is fp16 or fp8, not " + name);
}

double number_of(const std::string& text, double above = 0) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(number > above)) throw EngineError("usage", "not a number above " + std::to_string(int(above)) + ": " + text);
  return number;
}

// "1,8,32"
std::vector<int> list_of(const std::string& text, double above = 0) {
  std::vector<int> numbers;
  std::istringstream stream(text);
  for (std::string number; std::getline(stream, number, ',');) numbers.push_back(int(number_of(number, above)));
  return numbers;
}

Arguments parsed(int argc, char** argv) {
  Arguments arguments;
  const std::map<std::string, std::function<void()>> switches = {
      {"--tiny", [&] { arguments.is_tiny = true; }},
      {"--no-early-start", [&] { arguments.starts_early = false; }},
      {"--no-recording", [&] { arguments.options.records_steps = false; }}};
  const std::map<std::string, std::function<void(const std::string&)>> options = {
      {"--layers", [&](const std::string& value) { arguments.layers = int(number_of(value)); }},
      {"--variant", [&](const std::string& value) { arguments.options.fast = parts_of(value); }},
      {"--weights", [&](const std::string& value) { arguments.weights = format_of<WeightFormat>(value); }},
      {"--kv-cache", [&](const std::string& value) { arguments.kv_cache = format_of<KvFormat>(value); }},
      {"--tb-per-s", [&](const std::string& value) { arguments.tb_per_s = number_of(value); }},
      {"--seconds", [&](const std::string& value) { arguments.seconds = number_of(value); }},
      {"--rows", [&](const std::string& value) { arguments.rows = list_of(value); }},
      {"--sequences", [&](const std::string& value) { arguments.sequences = list_of(value); }},
      {"--contexts", [&](const std::string& value) { arguments.contexts = list_of(value); }},
      {"--prompts", [&](const std::string& value) { arguments.prompts = list_of(value); }},
      {"--devices", [&](const std::string& value) { arguments.devices = list_of(value, -1); }}};
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (switches.contains(argument)) switches.at(argument)();
    else if (options.contains(argument) && i + 1 < argc) options.at(argument)(argv[++i]);
    else if (argument.starts_with("--")) throw EngineError("usage", usage);
    else if (arguments.mode.empty()) arguments.mode = argument;
    else arguments.folder = argument;
  }
  return arguments;
}

void run(const Arguments& arguments) {
  const std::map<std::string, void (*)(const Arguments&)> modes = {{"gemm", bench_products},     {"steps", bench_steps},
                                                                   {"throughput", bench_throughput}, {"launches", bench_launches},
                                                                   {"ids", greedy_ids}};
  const auto mode = modes.find(arguments.mode);
  if (mode == modes.end() || (arguments.mode == "ids") == arguments.folder.empty()) throw EngineError("usage", usage);
  mode->second(arguments);
}

}  // namespace
}  // namespace ziya::bench

int main(int argc, char** argv) {
  try {
    ziya::bench::run(ziya::bench::parsed(argc, argv));
  } catch (const ziya::EngineError& error) {
    std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
    return 1;
  }
}
