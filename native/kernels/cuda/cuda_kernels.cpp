// Memory, and which kernel does what. Everything is enqueued on one stream; only begin_step's copy, downloads and
// finish_step touch the host. One step may be enqueued while another runs, so what the host writes or reads of them is there
// twice.
//
// A decode step is recorded as a graph, launched with as many tokens as its bucket holds; kernels read the true counts from
// the step descriptor and leave the rest alone. So a handful of graphs serves every batch.
#include "cuda_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

#include "../../half.h"
#include "../rope.h"
#include "launchers.h"
#include "memory.h"
#include "step_descriptor.h"
#include "upload_ring.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int cuda_head_size_max = 256;

// The kernels are built for sm_80 and sm_90a; wgmma, and so the fast products, only for the latter.
constexpr int wgmma_capability = 9;
bool is_supported(const cudaDeviceProp& properties) { return properties.major == 8 || properties.major == wgmma_capability; }

struct CudaMatrix : Matrix {
  CudaMatrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format)
      : Matrix(outputs, inputs, format), view{nullptr, outputs, inputs, layout == MatrixLayout::gate_up},
        memory(size_t(view.row_tiles()) * view.k_tiles() * tile_halves * (format == WeightFormat::fp8 ? sizeof(uint8_t) : sizeof(half)),
               "memory for the weights"),
        scales(format == WeightFormat::fp8 ? view.row_tiles() * tile_rows * sizeof(float) : 0, "memory for the weights"),
        arrivals(view.row_tiles() * sizeof(int), "memory for the weights") {
    if (format == WeightFormat::fp8) {
      view.codes = memory.as<uint8_t>();
      view.scales = scales.as<float>();
    } else {
      view.tiles = memory.as<half>();
    }
  }
  WeightView view;
  DeviceMemory memory, scales, arrivals;
};

struct CudaVector : Vector {
  explicit CudaVector(int columns)
      : Vector(columns), memory(round_up(columns, unit_halves) * sizeof(float), "memory for the weights") {}
  DeviceMemory memory;
};

// Holds fp32 or fp16 rows, as the kernel that wrote it last left them.
struct CudaActivations : Activations {
  CudaActivations(int rows_max, int columns)
      : Activations(rows_max, columns), stride(round_up(columns, stage_inputs)),
        memory(size_t(padded_rows(rows_max)) * stride * sizeof(float), "memory for activations") {}
  ActivationView view() const { return {memory.as<void>(), stride, columns, padded_rows(rows_max), is_half}; }

  const int64_t stride;
  DeviceMemory memory;
  bool is_half = false;
};

// Rows as they are, padded to whole units: an adapter's matrices would fill no tiles.
struct CudaRows : Matrix {
  CudaRows(int outputs, int inputs)
      : Matrix(outputs, inputs), stride(round_up(inputs, unit_halves)), memory(size_t(outputs) * stride * sizeof(half), "memory for an adapter") {}
  const int stride;
  DeviceMemory memory;
};

struct CudaAdapterProduct : AdapterProduct {
  AdapterView view = {};
  DeviceMemory parts, of_adapters;
};

// Keys or values of one layer.
struct CudaCache {
  CudaCache(KvFormat format, size_t rows, int head_stride)
      : is_fp8(format == KvFormat::fp8), numbers(rows * head_stride * (is_fp8 ? sizeof(uint8_t) : sizeof(half)), "memory for the KV cache"),
        scales(is_fp8 ? rows * sizeof(half) : 0, "memory for the KV cache") {}
  CacheView view() const {
    if (!is_fp8) return {numbers.as<half>(), nullptr, nullptr};
    return {nullptr, numbers.as<uint8_t>(), scales.as<half>()};
  }
  const bool is_fp8;
  DeviceMemory numbers, scales;
};

struct CudaKvLayer : KvLayer {
  CudaKvLayer(KvFormat format, size_t rows, int kv_heads, int head_stride)
      : keys(format, rows, head_stride), values(format, rows, head_stride), view{keys.view(), values.view(), kv_heads, head_stride} {}
  CudaCache keys, values;
  const KvView view;
};

// A row of the cache is whole units of 16 bytes.
int head_stride_of(const ModelShape& shape) {
  return round_up(shape.head_size, shape.kv_cache == KvFormat::fp8 ? 2 * unit_halves : unit_halves);
}

// A slot holds some hundred rows of the widest matrix: copies are long enough, and small models have little memory beside them.
size_t upload_slot_bytes(const ModelShape& shape) {
  const size_t widest = std::max({shape.hidden_size, shape.intermediate_size, shape.attention_columns()});
  return std::clamp(256 * widest * sizeof(half), size_t(1) << 17, size_t(16) << 20);
}

CudaActivations& own(Activations& a) { return static_cast<CudaActivations&>(a); }
const CudaActivations& own(const Activations& a) { return static_cast<const CudaActivations&>(a); }
const CudaRows& own_rows(const Matrix& m) { return static_cast<const CudaRows&>(m); }
const CudaMatrix& own(const Matrix& m) { return static_cast<const CudaMatrix&>(m); }
const float* own(const Vector& v) { return static_cast<const CudaVector&>(v).memory.as<float>(); }

// Selects the device for this thread before any member allocates on it.
struct DeviceChoice {
  explicit DeviceChoice(int device) : device(device) {
    if (device < 0 || device >= device_count())
      throw EngineError("unsupported_device", "there is no device cuda:" + std::to_string(device));
    check(cudaGetDeviceProperties(&properties, device), "the device's properties");
    if (!is_supported(properties))
      throw EngineError("unsupported_device", std::string(properties.name) + " is not of compute capability 8 or 9, which the kernels are for");
    select();
  }
  void select() const { check(cudaSetDevice(device), "choosing the device"); }
  const int device;
  cudaDeviceProp properties;
};

// A step's results on their way to the host.
struct EndedStep {
  explicit EndedStep(int rows_max) : drawn(rows_max * sizeof(DrawnToken), "pinned memory for the drawn tokens") {}
  PinnedMemory drawn;  // (rows) DrawnToken
  EventHandle arrived;
  int rows = 0;
  bool has_top = false;
};

void copy_top_logprobs(const DrawnToken* drawn, int rows, StepResult& result) {
  result.top_ids.assign(size_t(rows) * top_logprobs_max, -1);
  result.top_logprobs.assign(size_t(rows) * top_logprobs_max, -1);
  for (int row = 0; row < rows; row++) {
    const int64_t at = int64_t(row) * top_logprobs_max;
    std::copy_n(drawn[row].top_ids, drawn[row].top_count, result.top_ids.begin() + at);
    std::copy_n(drawn[row].top_logprobs, drawn[row].top_count, result.top_logprobs.begin() + at);
  }
}

// These decide which launches a recorded step has.
struct RecordingKey {
  int bucket, logit_parts;
  bool has_narrow, has_wide, has_parts;  // of the attention
  bool has_adapters;
  auto operator<=>(const RecordingKey&) const = default;
};

class CudaKernels : public Kernels {
 public:
  CudaKernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options);
  ~CudaKernels() override;

  std::string device() const override {
    return "cuda:" + std::to_string(device_.device) + " " + device_.properties.name;
  }
  std::string arithmetic() const override { return device_.properties.name; }
  int64_t allocated_bytes() const override { return allocated_; }

  std::unique_ptr<Matrix> make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share) override;
  std::unique_ptr<Vector> make_vector(int columns, Share) override;
  std::unique_ptr<Activations> make_activations(int rows_max, int columns, Share) override;
  std::unique_ptr<KvLayer> make_kv_layer(int blocks) override;
  std::unique_ptr<AdapterProduct> make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) override;

  void upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float* scales) override;
  void upload(Vector& to, int first, int count, const float* values) override;
  void upload(Activations& to, int rows, const float* values) override;
  void download(const Activations& from, int rows, float* values) override;

  void begin_step(const StepBatch& batch) override;
  void resolve_references(const Kernels& sampler) override;
  void end_step() override;
  bool is_asynchronous() const override { return true; }
  void finish_step(StepResult& result) override;
  void receive(const Kernels& other, const Activations& from, int rows, Activations& to) override;
  void reach(const Kernels& other) override;
  void select() const override { device_.select(); }
  void synchronize() const override { cudaStreamSynchronize(stream_); }
  void end_part() override { computed_.record(stream_); }
  void add_parts(std::span<const SumPart> parts, Activations& residual) override;
  void receive_columns(const Kernels& other, const Activations& from, int rows, int first_column, Activations& to) override;
  void clear(Activations& to) override;
  bool begin_recording(std::span<Kernels* const> others) override;
  void end_recording() override;

  void fill(const CudaMatrix& matrix, uint64_t seed, float deviation) {
    device_.select();
    ZIYA_DEVICE::fill(matrix.view, seed, deviation, stream_);
  }
  double seconds_of(const std::function<void()>& work);
  void set_launches(bool start_early, bool record_steps);

  void embed(const Matrix& table, Activations& residual) override;
  void add_positions(const Matrix& table, Activations& residual) override;
  void rms_norm(const Activations& in, const Vector& weight, Activations& out) override;
  void rms_norm_rows(const Activations& in, const Vector& weight, RowRange rows, Activations& out) override;
  void layer_norm(const Activations& in, const Vector& weight, const Vector& bias, Activations& out) override;
  void layer_norm_rows(const Activations& in, const Vector& weight, const Vector& bias, RowRange rows, Activations& out) override;
  void rope(Activations& qkv, KvLayer& kv) override;
  void place_qkv(const Vector& bias, Activations& qkv, KvLayer& kv) override;
  void attention(const Activations& qkv, const KvLayer& kv, Activations& out) override;
  void project(const Activations& in, const Matrix& weight, Activations& out) override;
  void project_add(const Activations& in, const Matrix& weight, Activations& residual) override;
  void add_bias(const Vector& bias, Activations& out) override;
  void gate_up_swiglu(const Activations& in, const Matrix& weight, Activations& out) override;
  void swiglu(const Activations& gate_up, const GateUpBias* bias, Activations& out) override;
  void add_adapters(const Activations& in, const AdapterProduct& product, Activations& out) override;
  void gelu(const Activations& in, const Vector& bias, Activations& out) override;
  void logits(const Activations& in, const Matrix& weight, int rows, Activations& out) override;
  void sample(const Activations& logits, RowRange range) override;

 private:
  CudaParts possible(CudaParts wanted) const;
  template <class Copy>
  void copy_from(const CudaKernels& sender, const Copy& copy);
  int tokens() const { return is_recording_ ? bucket_ : int(batch_->tokens.size()); }
  int logit_rows(int rows) const { return is_recording_ ? std::min(bucket_, logit_rows_max) : rows; }
  bool can_record() const;
  RecordingKey recording_key() const;
  void set_recording(int bucket);
  void wait_for_others();
  void hold_others();
  ActivationView write_as(Activations& out, bool is_half);
  void clear(const DeviceMemory& memory);
  void fill_cache(const CudaCache& cache);
  void download_halves(const CudaActivations& from, int rows, float* values);
  void multiply_halves(Epilogue epilogue, const ActivationView& in, const CudaMatrix& matrix, int rows, const ActivationView& out);
  void multiply(Epilogue epilogue, const Activations& in, const Matrix& weight, int rows, const ActivationView& out);
  void upload_angles();
  void upload_plain(const CudaRows& to, int first_row, int rows, const WriteRows& write);
  template <class T>
  void upload(T* to, const std::vector<T>& values);

  const DeviceChoice device_;
  bool records_steps_;
  const bool has_random_cache_;
  const int batch_tokens_max_, adapters_;
  const ModelShape shape_;
  const CudaParts fast_;
  const HeadShape heads_;
  const int head_stride_;
  StreamHandle stream_;
  EventHandle computed_, received_;
  UploadRing ring_;
  std::mutex upload_mutex_;
  bool are_weights_packed_ = true;
  const int64_t attention_parts_;
  StepDescriptor step_;
  DeviceMemory angles_;  // (context, head_size) fp32
  DeviceMemory partials_;
  DeviceMemory attention_values_, attention_scales_;  // AttentionParts
  DeviceMemory scores_;  // (logit_rows_max, vocab) fp32
  DeviceMemory shrunk_;  // what adapters make of a product's inputs
  DeviceMemory drawn_;   // (batch_tokens_max) DrawnToken
  int rows_drawn_ = 0;   // by the step that was ended last
  std::array<EndedStep, unfinished_steps_max> ended_;
  int steps_ended_ = 0, steps_finished_ = 0;
  int64_t allocated_ = 0;
  uint64_t fills_ = 0;  // each of a seed of its own
  const StepBatch* batch_ = nullptr;
  // After the memory that they name, so that they go first.
  std::map<RecordingKey, Recording> recordings_;
  std::vector<CudaKernels*> others_;  // whose kernels a recording has, too
  bool is_recording_ = false;
  int bucket_ = 0;  // of the step's tokens
};

CudaKernels::CudaKernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options)
    : device_(options.device),
      records_steps_(options.records_steps),
      has_random_cache_(options.has_random_cache),
      batch_tokens_max_(limits.batch_tokens_max),
      adapters_(limits.adapters),
      shape_(shape),
      fast_(possible(options.fast)),
      heads_{shape.heads, shape.kv_heads, shape.head_size},
      head_stride_(head_stride_of(shape)),
      ring_(upload_slot_bytes(shape)),
      attention_parts_(std::min(options.attention_parts_max, attention_parts_max(shape, limits))),
      step_(shape, limits, device_.properties.multiProcessorCount, attention_parts_),
      angles_(shape.has_rope() ? size_t(shape.context_tokens) * shape.head_size * sizeof(float) : 0, "memory for the angles"),
      partials_(gemm_partials_bytes(device_.properties.multiProcessorCount), "memory for partial sums"),
      attention_values_(attention_parts_ * shape.heads * head_stride_ * sizeof(float), "memory for the attention"),
      attention_scales_(attention_parts_ * shape.heads * sizeof(float2), "memory for the attention"),
      scores_(size_t(logit_rows_max) * shape.vocab_size * sizeof(float), "memory for the scores"),
      drawn_(limits.batch_tokens_max * sizeof(DrawnToken), "memory for the drawn tokens"),
      ended_{EndedStep(limits.batch_tokens_max), EndedStep(limits.batch_tokens_max)} {
  if (shape.head_size > cuda_head_size_max) throw EngineError("bad_shape", "head_size is more than the CUDA kernels can have");
  if (shape.has_rope()) upload_angles();
  for (const DeviceMemory* memory : {&angles_, &partials_, &attention_values_, &attention_scales_, &scores_, &drawn_})
    allocated_ += int64_t(memory->bytes());
  allocated_ += step_.bytes();
}

// Leaves what this GPU and these heads allow.
CudaParts CudaKernels::possible(CudaParts wanted) const {
  wanted.gemm &= device_.properties.major == wgmma_capability;
  wanted.attention &= shape_.has_attention() && shape_.head_size <= tiled_head_size_max &&
                      tiled_attention_shared_bytes(shape_.head_size) <= device_.properties.sharedMemPerBlockOptin;
  return wanted;
}

CudaKernels::~CudaKernels() { CudaKernels::synchronize(); }

void CudaKernels::upload_angles() {
  const int pairs = shape_.head_size / 2;
  std::vector<float> angles(size_t(shape_.context_tokens) * shape_.head_size);
  for (int pair = 0; pair < pairs; pair++) {
    const float frequency = rope_frequency(shape_, pair);
    for (int position = 0; position < shape_.context_tokens; position++) {
      float* row = angles.data() + int64_t(position) * shape_.head_size;
      row[pair] = std::cos(float(position) * frequency);
      row[pairs + pair] = std::sin(float(position) * frequency);
    }
  }
  check(cudaMemcpyAsync(angles_.as<float>(), angles.data(), angles_.bytes(), cudaMemcpyHostToDevice, stream_), "the angles");
  stream_.synchronize();
}

void CudaKernels::clear(const DeviceMemory& memory) {
  check(cudaMemsetAsync(memory.as<void>(), 0, memory.bytes(), stream_), "clearing memory");
  stream_.synchronize();
  allocated_ += int64_t(memory.bytes());
}

std::unique_ptr<Matrix> CudaKernels::make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share) {
  device_.select();
  if (layout == MatrixLayout::lora_a || layout == MatrixLayout::lora_b) {
    auto rows = std::make_unique<CudaRows>(outputs, inputs);
    clear(rows->memory);
    return rows;
  }
  auto matrix = std::make_unique<CudaMatrix>(outputs, inputs, layout, format);
  clear(matrix->memory);
  if (format == WeightFormat::fp8) clear(matrix->scales);
  clear(matrix->arrivals);
  return matrix;
}

std::unique_ptr<Vector> CudaKernels::make_vector(int columns, Share) {
  device_.select();
  auto vector = std::make_unique<CudaVector>(columns);
  clear(vector->memory);
  return vector;
}

std::unique_ptr<Activations> CudaKernels::make_activations(int rows_max, int columns, Share) {
  device_.select();
  auto activations = std::make_unique<CudaActivations>(rows_max, columns);
  clear(activations->memory);
  return activations;
}

std::unique_ptr<KvLayer> CudaKernels::make_kv_layer(int blocks) {
  device_.select();
  auto layer = std::make_unique<CudaKvLayer>(shape_.kv_cache, size_t(blocks) * shape_.kv_heads * block_tokens, shape_.kv_heads, head_stride_);
  for (const CudaCache* cache : {&layer->keys, &layer->values}) {
    clear(cache->numbers);
    if (cache->is_fp8) clear(cache->scales);
    if (has_random_cache_) fill_cache(*cache);
  }
  return layer;
}

// As if it were a matrix, but for what is less than a tile of one; all scales are then of one size.
void CudaKernels::fill_cache(const CudaCache& cache) {
  const int number_bytes = cache.is_fp8 ? sizeof(uint8_t) : sizeof(half);
  const int rows = int(cache.numbers.bytes() / number_bytes / (tile_rows * stage_inputs)) * tile_rows;
  if (rows == 0) return;
  const DeviceMemory unused(cache.is_fp8 ? rows * sizeof(float) : 0, "memory for the KV cache");
  const CacheView view = cache.view();
  ZIYA_DEVICE::fill({view.halves, rows, stage_inputs, false, view.codes, unused.as<float>()}, ++fills_, 1, stream_);
  constexpr int upper_byte_of_one = 0x3c;
  if (cache.is_fp8) check(cudaMemsetAsync(view.scales, upper_byte_of_one, cache.scales.bytes(), stream_), "the scales of the KV cache");
  stream_.synchronize();
}

void CudaKernels::upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float* scales) {
  device_.select();
  if (const auto* plain = dynamic_cast<CudaRows*>(&to)) return upload_plain(*plain, first_row, rows, write);
  ring_.upload(own(to).view, first_row, rows, write, scales);
  const std::lock_guard lock(upload_mutex_);
  are_weights_packed_ = false;
}

void CudaKernels::upload_plain(const CudaRows& to, int first_row, int rows, const WriteRows& write) {
  std::vector<uint16_t> fp16(size_t(rows) * to.inputs), padded(size_t(rows) * to.stride);
  write(0, rows, fp16.data());
  for (int row = 0; row < rows; row++) std::copy_n(fp16.data() + int64_t(row) * to.inputs, to.inputs, padded.data() + int64_t(row) * to.stride);
  upload(to.memory.as<uint16_t>() + int64_t(first_row) * to.stride, padded);
}

// What the device has not before the call returns.
template <class T>
void CudaKernels::upload(T* to, const std::vector<T>& values) {
  const std::lock_guard lock(upload_mutex_);
  check(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream_), "a copy of an adapter");
  stream_.synchronize();
}

std::unique_ptr<AdapterProduct> CudaKernels::make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) {
  device_.select();
  auto product = std::make_unique<CudaAdapterProduct>();
  AdapterView& view = product->view;
  view.weight = own(weight).view;
  std::vector<AdapterPartView> views;
  std::vector<Span> of_adapters(adapters_);
  for (const AdapterPart& part : parts) {
    const CudaRows &a = own_rows(part.a), &b = own_rows(part.b);
    Span& own_parts = of_adapters.at(part.adapter);
    if (own_parts.count++ == 0) own_parts.begin = int32_t(views.size());
    const int first_rank = own_parts.count == 1 ? 0 : views.back().first_rank + views.back().rank;
    views.push_back({a.memory.as<half>(), b.memory.as<half>(), a.outputs, a.stride, b.outputs, b.stride, part.first_output, first_rank,
                     part.scale});
    view.parts_max = std::max<int>(view.parts_max, own_parts.count);
    view.rank_max = std::max(view.rank_max, a.outputs);
    view.outputs_max = std::max(view.outputs_max, b.outputs);
    view.ranks = std::max(view.ranks, first_rank + a.outputs);
  }
  product->parts = DeviceMemory(views.size() * sizeof(AdapterPartView), "memory for an adapter");
  product->of_adapters = DeviceMemory(of_adapters.size() * sizeof(Span), "memory for an adapter");
  view.parts = product->parts.as<AdapterPartView>();
  view.of_adapters = product->of_adapters.as<Span>();
  upload(product->parts.as<AdapterPartView>(), views);
  upload(product->of_adapters.as<Span>(), of_adapters);
  const size_t shrunk_bytes = size_t(batch_tokens_max_) * view.ranks * sizeof(float);
  if (shrunk_bytes > shrunk_.bytes()) {
    shrunk_ = DeviceMemory();  // both at once need not fit
    shrunk_ = DeviceMemory(shrunk_bytes, "memory for adapters");
  }
  return product;
}

void CudaKernels::upload(Vector& to, int first, int count, const float* values) {
  device_.select();
  const std::lock_guard lock(upload_mutex_);
  const auto& memory = static_cast<CudaVector&>(to).memory;
  check(cudaMemcpyAsync(memory.as<float>() + first, values, count * sizeof(float), cudaMemcpyHostToDevice, stream_),
        "a copy of weights");
  stream_.synchronize();
}

void CudaKernels::upload(Activations& to, int rows, const float* values) {
  const ActivationView view = write_as(to, false);
  for (int row = 0; row < rows; row++)
    check(cudaMemcpyAsync(view.row(row), values + int64_t(row) * to.columns, to.columns * sizeof(float),
                          cudaMemcpyHostToDevice, stream_),
          "a copy of activations");
  stream_.synchronize();
}

void CudaKernels::download(const Activations& from, int rows, float* values) {
  const ActivationView view = own(from).view();
  if (view.is_half) return download_halves(own(from), rows, values);
  for (int row = 0; row < rows; row++)
    check(cudaMemcpyAsync(values + int64_t(row) * from.columns, view.row(row), from.columns * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_),
          "a copy of activations");
  stream_.synchronize();
}

void CudaKernels::download_halves(const CudaActivations& from, int rows, float* values) {
  std::vector<uint16_t> halves(from.memory.bytes() / sizeof(uint16_t) / 2);
  check(cudaMemcpyAsync(halves.data(), from.memory.as<void>(), halves.size() * sizeof(uint16_t), cudaMemcpyDeviceToHost, stream_),
        "a copy of activations");
  stream_.synchronize();
  const ActivationView view = from.view();
  for (int row = 0; row < rows; row++)
    for (int column = 0; column < from.columns; column++)
      values[int64_t(row) * from.columns + column] =
          half_to_float(halves[view.at(row, column) - static_cast<half*>(view.data)]);
}

// The padding of rows is zero in both forms, so it is cleared when the form changes.
ActivationView CudaKernels::write_as(Activations& out, bool is_half) {
  CudaActivations& activations = own(out);
  if (activations.is_half != is_half && activations.stride != activations.columns)
    check(cudaMemsetAsync(activations.memory.as<void>(), 0, activations.memory.bytes(), stream_), "clearing activations");
  activations.is_half = is_half;
  return activations.view();
}

void CudaKernels::begin_step(const StepBatch& batch) {
  device_.select();
  std::erase_if(recordings_, [](const auto& entry) { return !entry.second.has_ended(); });  // of a step that was cancelled
  if (!are_weights_packed_) ring_.clear();
  are_weights_packed_ = true;
  is_recording_ = waits_for_all = false;
  batch_ = &batch;
  step_.upload(batch, stream_);
}

void CudaKernels::resolve_references(const Kernels& sampler) {
  const auto& from = static_cast<const CudaKernels&>(sampler);
  if (&from != this) {
    from.computed_.record(from.stream_);
    check(cudaStreamWaitEvent(stream_, from.computed_, 0), "the end of the step before");
    check(cudaMemcpyPeerAsync(drawn_.as<void>(), device_.device, from.drawn_.as<void>(), from.device_.device,
                              from.rows_drawn_ * sizeof(DrawnToken), stream_),
          "a copy between devices");
  }
  step_.resolve(drawn_.as<DrawnToken>(), stream_);
}

void CudaKernels::receive(const Kernels& other, const Activations& from, int rows, Activations& to) {
  const auto& sender = static_cast<const CudaKernels&>(other);
  const ActivationView source = own(from).view(), target = write_as(to, false);
  sender.computed_.record(sender.stream_);
  copy_from(sender, [&] {
    check(cudaMemcpyPeerAsync(target.data, device_.device, source.data, sender.device_.device,
                              size_t(rows) * source.stride * sizeof(float), stream_),
          "a copy between devices");
  });
}

template <class Copy>
void CudaKernels::copy_from(const CudaKernels& sender, const Copy& copy) {
  check(cudaStreamWaitEvent(stream_, sender.computed_, 0), "what another device computes");
  copy();
  // What the sender is asked next, perhaps before this ran, writes where the copy reads.
  received_.record(stream_);
  check(cudaStreamWaitEvent(sender.stream_, received_, 0), "a copy between devices");
}

// The kernels of a sum read the parts where they are.
void CudaKernels::reach(const Kernels& other) {
  const int own_number = device_.device, other_number = static_cast<const CudaKernels&>(other).device_.device;
  if (own_number == other_number) return;
  device_.select();
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, own_number, other_number), "the devices' reach");
  if (!can)
    throw EngineError("unsupported_device", "cuda:" + std::to_string(own_number) + " cannot read the memory of cuda:" +
                                                std::to_string(other_number) + ", which tensor parallelism needs");
  const cudaError_t error = cudaDeviceEnablePeerAccess(other_number, 0);
  if (error != cudaErrorPeerAccessAlreadyEnabled) return check(error, "the devices' reach");
  cudaGetLastError();  // which would else be the next call's
}

void CudaKernels::add_parts(std::span<const SumPart> parts, Activations& residual) {
  PartsView view = {.stride = own(parts[0].part).stride, .count = int(parts.size())};
  for (size_t i = 0; i < parts.size(); i++) {
    const auto& sender = static_cast<const CudaKernels&>(parts[i].kernels);
    view.parts[i] = own(parts[i].part).view().row(0);
    check(cudaStreamWaitEvent(stream_, sender.computed_, 0), "the parts of a sum");
  }
  ZIYA_DEVICE::add_parts(view, tokens(), own(residual).view(), stream_);
}

void CudaKernels::receive_columns(const Kernels& other, const Activations& from, int rows, int first_column, Activations& to) {
  const auto& sender = static_cast<const CudaKernels&>(other);
  const ActivationView target = write_as(to, false);
  copy_from(sender, [&] { copy_columns(own(from).view(), logit_rows(rows), first_column, target, stream_); });
}

void CudaKernels::clear(Activations& to) {
  const ActivationView view = write_as(to, false);
  check(cudaMemsetAsync(view.data, 0, size_t(tokens()) * view.stride * sizeof(float), stream_), "clearing activations");
}

double CudaKernels::seconds_of(const std::function<void()>& work) {
  device_.select();
  const TimingEvent begin, end;
  begin.record(stream_);
  work();
  end.record(stream_);
  return begin.seconds_until(end);
}

void CudaKernels::set_launches(bool start_early, bool record_steps) {
  stream_.synchronize();
  starts_early = start_early;
  records_steps_ = record_steps;
  recordings_.clear();  // they were recorded with what was set before
}

// Decode steps: each token is sampled. Others are too long for a launch to matter.
bool CudaKernels::can_record() const {
  return records_steps_ && !batch_->want_logits && batch_->rows.size() == batch_->tokens.size() &&
         batch_->tokens.size() <= size_t(gemm_rows_max) && gemm_rows(int(batch_->tokens.size())) <= batch_tokens_max_;
}

RecordingKey CudaKernels::recording_key() const {
  const int rows = int(batch_->rows.size());
  const StepCounts& counts = step_.counts();
  return {gemm_rows(rows), ceil_div(rows, logit_rows_max), counts.narrow_items > 0, counts.wide_items > 0, counts.merged_tokens > 0, counts.adapter_items > 0};
}

// A recording of several devices begins on all of them when each has come to it, and they go on when all of it has ended.
bool CudaKernels::begin_recording(std::span<Kernels* const> others) {
  select();
  others_.clear();
  for (Kernels* other : others) others_.push_back(static_cast<CudaKernels*>(other));
  const RecordingKey key = recording_key();
  const bool are_alike = std::all_of(others_.begin(), others_.end(), [&](const CudaKernels* other) { return other->recording_key() == key; });
  if (!can_record() || !are_alike) return true;
  wait_for_others();
  const auto [recording, is_new] = recordings_.try_emplace(key, static_cast<cudaStream_t>(stream_));
  set_recording(is_new ? key.bucket : 0);
  if (!is_new) recording->second.launch();
  hold_others();
  return is_new;
}

void CudaKernels::end_recording() {
  if (!is_recording_) return;
  wait_for_others();
  set_recording(0);
  select();
  Recording& recording = recordings_.at(recording_key());
  recording.end();
  recording.launch();
  hold_others();
}

void CudaKernels::set_recording(int bucket) {
  is_recording_ = bucket > 0;
  bucket_ = bucket;
  waits_for_all = is_recording_ && !others_.empty();
  for (CudaKernels* other : others_) other->is_recording_ = is_recording_, other->bucket_ = bucket;
}

void CudaKernels::wait_for_others() {
  for (const CudaKernels* other : others_) {
    other->computed_.record(other->stream_);
    check(cudaStreamWaitEvent(stream_, other->computed_, 0), "the other devices");
  }
}

void CudaKernels::hold_others() {
  if (!others_.empty()) computed_.record(stream_);
  for (const CudaKernels* other : others_) check(cudaStreamWaitEvent(other->stream_, computed_, 0), "the other devices");
}

void CudaKernels::end_step() {
  EndedStep& step = ended_[steps_ended_++ % ended_.size()];
  step.rows = rows_drawn_ = int(batch_->rows.size());
  step.has_top = batch_->wants_alternatives();
  check(cudaMemcpyAsync(step.drawn.as<void>(), drawn_.as<void>(), step.rows * sizeof(DrawnToken), cudaMemcpyDeviceToHost, stream_),
        "the drawn tokens");
  step.arrived.record(stream_);
  batch_ = nullptr;
}

void CudaKernels::finish_step(StepResult& result) {
  const EndedStep& step = ended_[steps_finished_++ % ended_.size()];
  step.arrived.synchronize();
  const auto* drawn = step.drawn.as<DrawnToken>();
  for (int row = 0; row < step.rows; row++) {
    result.tokens.push_back(drawn[row].is_finite ? drawn[row].token : nothing_drawn);
    result.logprobs.push_back(drawn[row].logprob);
  }
  if (step.has_top) copy_top_logprobs(drawn, step.rows, result);
}

void CudaKernels::embed(const Matrix& table, Activations& residual) {
  ZIYA_DEVICE::embed(step_.view(), tokens(), own(table).view, write_as(residual, false), stream_);
}

void CudaKernels::add_positions(const Matrix& table, Activations& residual) {
  ZIYA_DEVICE::add_positions(step_.view(), tokens(), own(table).view, own(residual).view(), stream_);
}

void CudaKernels::rms_norm(const Activations& in, const Vector& weight, Activations& out) {
  ZIYA_DEVICE::rms_norm(own(in).view(), own(weight), float(shape_.rms_norm_eps), tokens(), write_as(out, true), stream_);
}

void CudaKernels::rms_norm_rows(const Activations& in, const Vector& weight, RowRange rows, Activations& out) {
  ZIYA_DEVICE::rms_norm_rows(step_.view(), rows.begin, own(in).view(), own(weight), float(shape_.rms_norm_eps), logit_rows(rows.count()),
                             write_as(out, true), stream_);
}

void CudaKernels::layer_norm(const Activations& in, const Vector& weight, const Vector& bias, Activations& out) {
  const LayerNormWeights weights = {own(weight), own(bias), float(shape_.layer_norm_eps)};
  ZIYA_DEVICE::layer_norm(own(in).view(), weights, tokens(), write_as(out, true), stream_);
}

void CudaKernels::layer_norm_rows(const Activations& in, const Vector& weight, const Vector& bias, RowRange rows, Activations& out) {
  const LayerNormWeights weights = {own(weight), own(bias), float(shape_.layer_norm_eps)};
  ZIYA_DEVICE::layer_norm_rows(step_.view(), rows.begin, own(in).view(), weights, logit_rows(rows.count()), write_as(out, true), stream_);
}

void CudaKernels::multiply_halves(Epilogue epilogue, const ActivationView& in, const CudaMatrix& matrix, int rows,
                                  const ActivationView& out) {
  const WeightView view = epilogue == Epilogue::store ? matrix.view.as_packed() : matrix.view;
  const GemmWorkspace workspace = {partials_.as<float>(), device_.properties.multiProcessorCount};
  if (view.codes != nullptr) return gemm_fp8(epilogue, in, view, matrix.arrivals.as<int>(), {0, rows}, out, workspace, stream_);
  const int large = fast_.prefill_gemm ? prefill_rows(view, rows, workspace.blocks) : 0;
  if (large > 0) prefill_gemm(epilogue, in, view, large, out, workspace, stream_);
  gemm(epilogue, in, view, matrix.arrivals.as<int>(), {large, rows}, out, workspace, stream_);
}

void CudaKernels::multiply(Epilogue epilogue, const Activations& in, const Matrix& weight, int rows,
                           const ActivationView& out) {
  const CudaMatrix& matrix = own(weight);
  const WeightView view = epilogue == Epilogue::store ? matrix.view.as_packed() : matrix.view;
  ActivationView from = own(in).view();
  if (!fast_.gemm) return matmul(epilogue, from, view, rows, out, stream_);
  if (from.is_half) return multiply_halves(epilogue, from, matrix, rows, out);
  // Only what the host uploaded, in tests, is fp32 here.
  CudaActivations converted(in.rows_max, in.columns);
  check(cudaMemsetAsync(converted.memory.as<void>(), 0, converted.memory.bytes(), stream_), "clearing activations");
  converted.is_half = true;
  convert(from, converted.view(), rows, stream_);
  multiply_halves(epilogue, converted.view(), matrix, rows, out);
  stream_.synchronize();
}

void CudaKernels::rope(Activations& qkv, KvLayer& kv) {
  ZIYA_DEVICE::rope(step_.view(), tokens(), heads_, angles_.as<float>(), own(qkv).view(), static_cast<CudaKvLayer&>(kv).view, stream_);
}

void CudaKernels::place_qkv(const Vector& bias, Activations& qkv, KvLayer& kv) {
  ZIYA_DEVICE::place_qkv(step_.view(), tokens(), heads_, own(bias), own(qkv).view(), static_cast<CudaKvLayer&>(kv).view, stream_);
}

void CudaKernels::attention(const Activations& qkv, const KvLayer& kv, Activations& out) {
  const KvView cache = static_cast<const CudaKvLayer&>(kv).view;
  const ActivationView to = write_as(out, true);
  if (!fast_.attention)
    return ZIYA_DEVICE::attention(step_.view(), tokens(), heads_, own(qkv).view(), cache, to, stream_);
  const AttentionParts parts = {attention_values_.as<float>(), attention_scales_.as<float2>()};
  tiled_attention(step_.view(), {step_.counts(), is_recording_ ? device_.properties.multiProcessorCount : 0}, heads_, own(qkv).view(), cache, parts, to, stream_);
}

void CudaKernels::project(const Activations& in, const Matrix& weight, Activations& out) {
  multiply(Epilogue::store, in, weight, tokens(), write_as(out, false));
}

void CudaKernels::project_add(const Activations& in, const Matrix& weight, Activations& residual) {
  multiply(Epilogue::add, in, weight, tokens(), own(residual).view());
}

void CudaKernels::add_bias(const Vector& bias, Activations& out) {
  ZIYA_DEVICE::add_bias(own(bias), tokens(), own(out).view(), stream_);
}

void CudaKernels::gate_up_swiglu(const Activations& in, const Matrix& weight, Activations& out) {
  multiply(Epilogue::swiglu, in, weight, tokens(), write_as(out, true));
}

void CudaKernels::swiglu(const Activations& gate_up, const GateUpBias* bias, Activations& out) {
  const GateUpBiasView biases = bias ? GateUpBiasView{own(bias->gate), own(bias->up)} : GateUpBiasView{};
  ZIYA_DEVICE::swiglu(own(gate_up).view(), biases, tokens(), write_as(out, true), stream_);
}

void CudaKernels::add_adapters(const Activations& in, const AdapterProduct& product, Activations& out) {
  const int items = step_.counts().adapter_items;
  if (items == 0) return;
  ZIYA_DEVICE::add_adapters(step_.view(), is_recording_ ? bucket_ : items, static_cast<const CudaAdapterProduct&>(product).view, own(in).view(), shrunk_.as<float>(),
                            own(out).view(), stream_);
}

void CudaKernels::gelu(const Activations& in, const Vector& bias, Activations& out) {
  ZIYA_DEVICE::gelu(own(in).view(), own(bias), tokens(), shape_.exact_gelu, write_as(out, true), stream_);
}

void CudaKernels::logits(const Activations& in, const Matrix& weight, int rows, Activations& out) {
  multiply(Epilogue::store, in, weight, logit_rows(rows), write_as(out, false));
}

void CudaKernels::sample(const Activations& logits, RowRange range) {
  ZIYA_DEVICE::sample(fast_.sampling ? SampleBy::histograms : SampleBy::bisection, step_.view(), range.begin, own(logits).view(),
                      logit_rows(range.count()), shape_.vocab_size, scores_.as<float>(), drawn_.as<DrawnToken>() + range.begin, stream_);
}

}  // namespace

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

int64_t free_bytes(int device) {
  size_t free = 0, total = 0;
  check(cudaSetDevice(device), "choosing the device");
  check(cudaMemGetInfo(&free, &total), "the device's memory");
  return int64_t(free);
}

bool is_suitable(int device) {
  cudaDeviceProp properties;
  return device >= 0 && device < device_count() && cudaGetDeviceProperties(&properties, device) == cudaSuccess &&
         is_supported(properties);
}

void fill(Kernels& kernels, Matrix& matrix, uint64_t seed, float deviation) {
  static_cast<CudaKernels&>(kernels).fill(own(matrix), seed, deviation);
}

double device_seconds(Kernels& kernels, const std::function<void()>& work) { return static_cast<CudaKernels&>(kernels).seconds_of(work); }

void set_launches(Kernels& kernels, bool start_early, bool record_steps) {
  static_cast<CudaKernels&>(kernels).set_launches(start_early, record_steps);
}

std::unique_ptr<Kernels> make_kernels(const ModelShape& shape, const StepLimits& limits, const CudaOptions& options) {
  return std::make_unique<CudaKernels>(shape, limits, options);
}

}  // namespace ziya::ZIYA_DEVICE
