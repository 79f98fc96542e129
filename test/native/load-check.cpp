// The native half of loading, built with the address sanitizer: lists of tensors that TypeScript would never let pass,
// each refused by name or loaded, without a byte read or written where it should not be. usage: load-check cases FILE
// one line a case: its name, then "ok" or the error's code
//        load-check fuzz RUNS SEED
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <set>
#include <sstream>

#include "engine.h"
#include "engine_error.h"
#include "llama_slots.h"
#include "models/registry.h"

// Freed memory that the sanitizer keeps is not what the bound below is about.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=32"; }

namespace {

using namespace ziya;

// Memory of the size that was asked for and no more, so that the sanitizer sees each byte beyond.
struct HeapMatrix : Matrix {
  HeapMatrix(int outputs, int inputs) : Matrix(outputs, inputs), values(size_t(outputs) * inputs) {}
  std::vector<uint16_t> values;
};
struct HeapVector : Vector {
  explicit HeapVector(int columns) : Vector(columns), values(columns) {}
  std::vector<float> values;
};

class HeapKernels : public Kernels {
 public:
  std::string device() const override { return "heap"; }
  std::string arithmetic() const override { return "none"; }
  int64_t allocated_bytes() const override { return allocated_; }
  std::unique_ptr<Matrix> make_matrix(int outputs, int inputs, MatrixLayout, WeightFormat, Share) override {
    constexpr int64_t bytes_max = 1 << 20;
    allocated_ += int64_t(outputs) * inputs * 2;
    if (allocated_ > bytes_max) throw EngineError("out_of_memory", "the matrices do not fit");
    return std::make_unique<HeapMatrix>(outputs, inputs);
  }
  std::unique_ptr<Vector> make_vector(int columns, Share) override { return std::make_unique<HeapVector>(columns); }
  void upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float*) override {
    write(0, rows, static_cast<HeapMatrix&>(to).values.data() + int64_t(first_row) * to.inputs);
  }
  void upload(Vector& to, int first, int count, const float* values) override {
    std::memcpy(static_cast<HeapVector&>(to).values.data() + first, values, size_t(count) * sizeof(float));
  }

  std::unique_ptr<Activations> make_activations(int rows_max, int columns, Share) override {
    return std::make_unique<Activations>(rows_max, columns);
  }
  std::unique_ptr<KvLayer> make_kv_layer(int) override { return std::make_unique<KvLayer>(); }
  std::unique_ptr<AdapterProduct> make_adapter_product(const Matrix&, const std::vector<AdapterPart>&) override { std::abort(); }

  // Loading needs none of these.
  void upload(Activations&, int, const float*) override { std::abort(); }
  void download(const Activations&, int, float*) override { std::abort(); }
  void begin_step(const StepBatch&) override { std::abort(); }
  void resolve_references(const Kernels&) override { std::abort(); }
  void end_step() override { std::abort(); }
  void finish_step(StepResult&) override { std::abort(); }
  void receive(const Kernels&, const Activations&, int, Activations&) override { std::abort(); }
  void reach(const Kernels&) override { std::abort(); }
  void end_part() override { std::abort(); }
  void add_parts(std::span<const SumPart>, Activations&) override { std::abort(); }
  void receive_columns(const Kernels&, const Activations&, int, int, Activations&) override { std::abort(); }
  void clear(Activations&) override { std::abort(); }
  void embed(const Matrix&, Activations&) override { std::abort(); }
  void add_positions(const Matrix&, Activations&) override { std::abort(); }
  void rms_norm(const Activations&, const Vector&, Activations&) override { std::abort(); }
  void rms_norm_rows(const Activations&, const Vector&, RowRange, Activations&) override { std::abort(); }
  void layer_norm(const Activations&, const Vector&, const Vector&, Activations&) override { std::abort(); }
  void layer_norm_rows(const Activations&, const Vector&, const Vector&, RowRange, Activations&) override { std::abort(); }
  void rope(Activations&, KvLayer&) override { std::abort(); }
  void place_qkv(const Vector&, Activations&, KvLayer&) override { std::abort(); }
  void attention(const Activations&, const KvLayer&, Activations&) override { std::abort(); }
  void project(const Activations&, const Matrix&, Activations&) override { std::abort(); }
  void project_add(const Activations&, const Matrix&, Activations&) override { std::abort(); }
  void add_bias(const Vector&, Activations&) override { std::abort(); }
  void gate_up_swiglu(const Activations&, const Matrix&, Activations&) override { std::abort(); }
  void swiglu(const Activations&, const GateUpBias*, Activations&) override { std::abort(); }
  void add_adapters(const Activations&, const AdapterProduct&, Activations&) override { std::abort(); }
  void gelu(const Activations&, const Vector&, Activations&) override { std::abort(); }
  void logits(const Activations&, const Matrix&, int, Activations&) override { std::abort(); }
  void sample(const Activations&, RowRange) override { std::abort(); }

 private:
  int64_t allocated_ = 0;
};

struct Case {
  ModelShape shape;
  std::vector<TensorSource> tensors;
};

// "ok" or the code. Anything but an EngineError ends the program.
std::string outcome(const Case& c, int threads) {
  try {
    const StepLimits limits = {.batch_tokens_max = 16, .sequences_max = 1, .blocks = 4};
    const Architecture& architecture = architecture_of("llama");
    check_shape(architecture, c.shape, limits);
    std::vector<std::unique_ptr<Kernels>> kernels;  // two devices where the layers allow it
    for (int i = 0; i < std::min(threads, std::min(2, c.shape.layers)); i++)
      kernels.push_back(std::make_unique<HeapKernels>());
    const Devices devices(std::move(kernels), c.shape.layers);
    const std::atomic<bool> cancelled{false};
    load_weights(architecture.make(c.shape, limits, devices)->weights(), c.tensors, threads, {nullptr, cancelled});
    return "ok";
  } catch (const EngineError& error) {
    return error.code;
  }
}

// ── cases: "case NAME", "shape V H I LAYERS HEADS KV_HEADS HEAD_SIZE TIED", "tensor SLOT
// FIRST_ROW NAME PATH DTYPE OFFSET BYTES D0,D1"

ModelShape parse_shape(std::istream& line) {
  ModelShape shape;
  line >> shape.vocab_size >> shape.hidden_size >> shape.intermediate_size >> shape.layers >> shape.heads >>
      shape.kv_heads >> shape.head_size >> shape.tied_embeddings;
  shape.context_tokens = 64;
  shape.rope_theta = 10000;
  shape.rms_norm_eps = 1e-5;
  return shape;
}

TensorSource parse_tensor(std::istream& line) {
  TensorSource tensor;
  std::string dtype, sizes, size;
  line >> tensor.slot >> tensor.first_row >> tensor.name >> tensor.path >> dtype >> tensor.offset >> tensor.bytes >> sizes;
  tensor.dtype = dtype == "F32" ? Dtype::f32 : dtype == "BF16" ? Dtype::bf16 : Dtype::f16;
  std::istringstream list(sizes);
  while (std::getline(list, size, ',')) tensor.shape.push_back(std::stoll(size));
  return tensor;
}

int run_cases(const char* path) {
  std::ifstream file(path);
  std::string text, word, name;
  Case current;
  while (std::getline(file, text)) {
    std::istringstream line(text);
    line >> word;
    if (word == "case") {
      current = {};
      line >> name;
    } else if (word == "shape") {
      current.shape = parse_shape(line);
    } else if (word == "tensor") {
      current.tensors.push_back(parse_tensor(line));
    } else if (word == "end") {
      for (const int threads : {1, 3}) std::cout << name << " " << outcome(current, threads) << "\n";
    }
  }
  return 0;
}

// ── fuzz: a valid model, its file and its list changed at random

using Random = std::mt19937_64;

int64_t below(Random& random, int64_t bound) { return int64_t(random() % uint64_t(bound)); }

// Numbers that break arithmetic, and the neighbours of the right one.
int64_t odd_number(Random& random, int64_t right) {
  const uint64_t choices[] = {0,
                              1,
                              uint64_t(-1),
                              uint64_t(right) - 1,
                              uint64_t(right) + 1,
                              INT32_MAX,
                              INT64_MAX,
                              1ULL << 63,
                              uint64_t(right) * 2,
                              0 - uint64_t(right),
                              1ULL << 32,
                              1ULL << 53,
                              uint64_t(below(random, 4096))};
  return int64_t(choices[below(random, std::size(choices))]);
}

class FuzzModel {
 public:
  explicit FuzzModel(Random& random)
      : path_(std::filesystem::temp_directory_path() / ("load-check-" + std::to_string(getpid()))) {
    ModelShape& shape = whole_.shape;
    shape = {.vocab_size = 37, .hidden_size = 12, .intermediate_size = 20, .layers = 2, .heads = 4, .kv_heads = 2};
    shape.head_size = 6;
    shape.context_tokens = 64;
    shape.rope_theta = 10000;
    shape.rms_norm_eps = 1e-5;
    shape.attention_bias = shape.mlp_bias = true;
    add("model.embed_tokens.weight", {37, 12});
    for (int layer = 0; layer < shape.layers; layer++) add_layer("model.layers." + std::to_string(layer) + ".");
    add("model.norm.weight", {12});
    add("lm_head.weight", {37, 12});
    for (auto& byte : bytes_) byte = uint8_t(random() & 0x3f);  // no exponent that overflows
  }
  ~FuzzModel() { std::filesystem::remove(path_); }

  Case changed(Random& random) {
    Case c = whole_;
    auto bytes = bytes_;
    for (int64_t n = below(random, 4); n >= 0; n--) change(c, bytes, random);
    std::ofstream(path_, std::ios::binary).write(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
    return c;
  }
  Case whole() {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<char*>(bytes_.data()), std::streamsize(bytes_.size()));
    return whole_;
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape) {
    const Dtype dtype = whole_.tensors.size() % 3 == 0 ? Dtype::f32 : Dtype::f16;
    uint64_t size = dtype == Dtype::f32 ? 4 : 2;
    for (const int64_t length : shape) size *= uint64_t(length);
    whole_.tensors.push_back(
        {.name = name, .path = path_, .dtype = dtype, .offset = bytes_.size(), .bytes = size, .shape = std::move(shape)});
    test::place_llama_tensor(whole_.tensors.back(), whole_.shape);
    bytes_.resize(bytes_.size() + size);
  }

  void add_layer(const std::string& prefix) {
    add(prefix + "input_layernorm.weight", {12});
    add(prefix + "self_attn.q_proj.weight", {24, 12});
    add(prefix + "self_attn.k_proj.weight", {12, 12});
    add(prefix + "self_attn.v_proj.weight", {12, 12});
    add(prefix + "self_attn.o_proj.weight", {12, 24});
    add(prefix + "post_attention_layernorm.weight", {12});
    add(prefix + "mlp.gate_proj.weight", {20, 12});
    add(prefix + "mlp.up_proj.weight", {20, 12});
    add(prefix + "mlp.down_proj.weight", {12, 20});
    add(prefix + "self_attn.q_proj.bias", {24});
    add(prefix + "self_attn.k_proj.bias", {12});
    add(prefix + "self_attn.v_proj.bias", {12});
    add(prefix + "self_attn.o_proj.bias", {12});
    add(prefix + "mlp.gate_proj.bias", {20});
    add(prefix + "mlp.up_proj.bias", {20});
    add(prefix + "mlp.down_proj.bias", {12});
  }

  void change(Case& c, std::vector<uint8_t>& bytes, Random& random) {
    if (c.tensors.empty()) return;
    TensorSource& tensor = c.tensors[size_t(below(random, int64_t(c.tensors.size())))];
    switch (below(random, 12)) {
      case 0:
        tensor.offset = uint64_t(odd_number(random, int64_t(tensor.offset)));
        break;
      case 1:
        tensor.bytes = uint64_t(odd_number(random, int64_t(tensor.bytes)));
        break;
      case 2:
        tensor.shape[size_t(below(random, int64_t(tensor.shape.size())))] = odd_number(random, tensor.shape[0]);
        break;
      case 3:
        tensor.shape.push_back(1);
        break;
      case 4:
        tensor.dtype = Dtype(below(random, 3));
        break;
      case 5:
        tensor.slot = below(random, 2) ? tensor.slot + "x" : c.tensors[size_t(below(random, int64_t(c.tensors.size())))].slot;
        break;
      case 6:
        tensor.path = below(random, 2) ? "/dev/zero" : "/nowhere";
        break;
      case 7:
        c.tensors.erase(c.tensors.begin() + below(random, int64_t(c.tensors.size())));
        break;
      case 8:
        change_shape(c.shape, random);
        break;
      case 9:
        bytes.resize(size_t(below(random, int64_t(bytes.size()) * 2 + 1)));
        break;
      case 10:
        tensor.first_row = odd_number(random, tensor.first_row);
        break;
      default:
        for (int i = 0; i < 8 && !bytes.empty(); i++)
          bytes[size_t(below(random, int64_t(bytes.size())))] = uint8_t(random());
    }
  }

  static void change_shape(ModelShape& shape, Random& random) {
    int* const fields[] = {&shape.vocab_size, &shape.hidden_size, &shape.intermediate_size, &shape.layers,
                           &shape.heads,      &shape.kv_heads,    &shape.head_size};
    int* field = fields[below(random, std::size(fields))];
    *field = int(odd_number(random, *field));
  }

  const std::filesystem::path path_;
  Case whole_;
  std::vector<uint8_t> bytes_;
};

// A load that hangs ends the program, by the time that it computes itself.
void arm_watchdog() {
  const itimerval of_own_time = {{0, 0}, {20, 0}};
  setitimer(ITIMER_PROF, &of_own_time, nullptr);
}

int run_fuzz(int64_t runs_max, uint64_t seed) {
  const std::set<std::string> known = {"ok",
                                       "weights_missing_tensor",
                                       "weights_unknown_tensor",
                                       "weights_read",
                                       "bad_shape",
                                       "weights_out_of_range",
                                       "weights_overflow",
                                       "out_of_memory",
                                       "weights_not_finite"};
  Random random(seed);
  FuzzModel model(random);
  std::set<std::string> seen;
  int64_t runs = 0;
  if (outcome(model.whole(), 1) != "ok") return std::puts("the unchanged model does not load"), 1;
  for (; runs < runs_max; runs++) {
    arm_watchdog();
    const std::string code = outcome(model.changed(random), runs % 16 == 0 ? 2 : 1);
    if (!known.contains(code)) return std::printf("run %lld: %s\n", static_cast<long long>(runs), code.c_str()), 1;
    seen.insert(code);
  }
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%lld runs, %zu outcomes, %ld MB\n", static_cast<long long>(runs), seen.size(), usage.ru_maxrss >> 10);
  return usage.ru_maxrss < (512 << 10) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "cases") == 0) return run_cases(argv[2]);
  if (argc == 4 && std::strcmp(argv[1], "fuzz") == 0)
    return run_fuzz(std::atoll(argv[2]), std::strtoull(argv[3], nullptr, 10));
  std::puts("usage: load-check cases FILE | fuzz RUNS SEED");
  return 2;
}
