// The boundary between the model and a device: one pure virtual a kernel, shapes beside the arguments. Device memory is
// opaque; host pointers cross only in upload, download, begin_step and finish_step. For every kernel the order of
// arithmetic behind one output element depends on the model's shape and the token's position, never on the batch.
// A step is begun, its kernels called, ended, and later finished; the next may be ended before that.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shape.h"
#include "step.h"

namespace ziya {

// Weights (outputs, inputs), in whatever order the device likes.
struct Matrix {
  Matrix(int outputs, int inputs, WeightFormat format = WeightFormat::fp16) : outputs(outputs), inputs(inputs), format(format) {}
  virtual ~Matrix() = default;
  const int outputs;
  const int inputs;
  const WeightFormat format;  // fp8: codes as fp8.h says, and a scale a row; for products alone
};

// fp32 (columns).
struct Vector {
  explicit Vector(int columns) : columns(columns) {}
  virtual ~Vector() = default;
  const int columns;
};

// Of a gate_up product's outputs, (intermediate) each.
struct GateUpBias {
  const Vector& gate;
  const Vector& up;
};

// fp32 (rows_max, columns).
struct Activations {
  Activations(int rows_max, int columns) : rows_max(rows_max), columns(columns) {}
  virtual ~Activations() = default;
  const int rows_max;
  const int columns;
};

// Keys and values of one layer: (blocks, kv_heads, block_tokens, head_size) each, in the format of the shape. Zero at first.
struct KvLayer {
  virtual ~KvLayer() = default;
};

enum class MatrixLayout {
  plain,
  gate_up,  // outputs are gate rows, then as many up rows; gate_up_swiglu needs row i of both together
  lora_a,   // (rank, inputs) and
  lora_b,   // (outputs, rank) of an adapter, for add_adapters alone
};

// What each of several devices has of a matrix, a vector or activations, where they compute every layer together: see
// tensor_parallel.h. A device that is alone has all of it, whatever this says.
enum class Share {
  whole,    // each has it
  outputs,  // some of a matrix's outputs, of gate_up rows of both; or some columns
  heads,    // those of some heads: their queries, and the keys and values of their KV heads
  inputs,   // some of a matrix's inputs, so that what it gives is a part of a sum
};

// What an adapter adds to neighbouring outputs of a product: in * a^T * b^T.
struct AdapterPart {
  int adapter;
  int first_output;
  float scale;      // of in * a^T
  const Matrix& a;  // lora_a
  const Matrix& b;  // lora_b
};

struct AdapterMatrices {
  std::unique_ptr<Matrix> a, b;
};

// What all adapters add to the outputs of one matrix.
struct AdapterProduct {
  virtual ~AdapterProduct() = default;
};

// Rows that logits and sample take at a time, at most.
constexpr int logit_rows_max = 64;

struct RowRange {
  int begin = 0;
  int end = 0;
  int count() const { return end - begin; }
};

class Kernels;

// What one of several devices has computed of a sum.
struct SumPart {
  const Kernels& kernels;
  const Activations& part;
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  virtual std::string device() const = 0;
  // Names what decides the bits of all it computes: an instruction set, or a GPU.
  virtual std::string arithmetic() const = 0;
  virtual int64_t allocated_bytes() const = 0;
  // So many devices compute together as this one.
  virtual int ranks() const { return 1; }

  virtual std::unique_ptr<Matrix> make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format = WeightFormat::fp16,
                                              Share share = Share::whole) = 0;
  virtual std::unique_ptr<Vector> make_vector(int columns, Share share = Share::whole) = 0;
  virtual std::unique_ptr<Activations> make_activations(int rows_max, int columns, Share share = Share::whole) = 0;
  virtual std::unique_ptr<KvLayer> make_kv_layer(int blocks) = 0;
  // For so many outputs of the weight.
  virtual AdapterMatrices make_adapter_matrices(const Matrix& weight, [[maybe_unused]] int first_output, int outputs, int rank) {
    return {make_matrix(rank, weight.inputs, MatrixLayout::lora_a), make_matrix(outputs, rank, MatrixLayout::lora_b)};
  }
  // The matrices outlive it. Parts of one adapter have no output in common.
  virtual std::unique_ptr<AdapterProduct> make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) = 0;

  // Rows of a matrix are uploaded in slices, different rows from several threads at once; slices of a multiple of
  // upload_row_multiple rows are packed fastest. `write` puts rows begin ... begin + count - 1 of the slice, fp16 (count, inputs),
  // where the device takes them from, so that what is read from a file is copied by nobody else; whole rows, which an fp8 matrix rounds
  // by scales (rows) where these are given, else by each row's own. What it throws ends the upload.
  static constexpr int upload_row_multiple = 64;
  using WriteRows = std::function<void(int begin, int count, uint16_t* fp16)>;
  virtual void upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float* scales = nullptr) = 0;
  virtual void upload(Vector& to, int first, int count, const float* values) = 0;           // (count), of the vector's from first on
  virtual void upload(Activations& to, int rows, const float* values) = 0;                  // (rows, columns)
  virtual void download(const Activations& from, int rows, float* values) = 0;              // (rows, columns)

  // The batch is already checked, and outlives end_step.
  virtual void begin_step(const StepBatch& batch) = 0;
  // The step's references become what `sampler`, perhaps of another device, drew in the step before. Ahead of any kernel.
  virtual void resolve_references(const Kernels& sampler) = 0;
  // Sends the step's results on their way to the host. No more than unfinished_steps_max are.
  virtual void end_step() = 0;
  // Waits for the oldest step that was ended, then fills the result's tokens and logprobs. From one thread, beside another
  // that begins and ends steps.
  virtual void finish_step(StepResult& result) = 0;
  // Says whether kernels are enqueued only, and finish_step waits for them.
  virtual bool is_asynchronous() const { return false; }

  // to (rows, columns) = from, which is of another device. All that this device does afterwards waits for it.
  virtual void receive(const Kernels& other, const Activations& from, int rows, Activations& to) = 0;

  // What devices need that compute together. Throws EngineError unsupported_device where this one cannot read the other's memory.
  virtual void reach(const Kernels& other) = 0;
  // This thread calls kernels of this device next.
  virtual void select() const {}
  // Waits for all that this device was asked.
  virtual void synchronize() const {}
  // What the others add up is all that this device was asked for before.
  virtual void end_part() = 0;
  // residual (tokens, hidden) += parts[0] + parts[1] + ..., in this order on every device. Whoever gave a part has ended it, and overwrites it no
  // sooner than after a sum of other parts of all these devices.
  virtual void add_parts(std::span<const SumPart> parts, Activations& residual) = 0;
  // to (rows, first_column ...) = from (rows, columns) of logits, which another device has computed and may overwrite afterwards.
  virtual void receive_columns(const Kernels& other, const Activations& from, int rows, int first_column, Activations& to) = 0;
  // to (tokens, columns) = 0
  virtual void clear(Activations& to) = 0;

  // A device may record what a step enqueues, on others too that compute together with it, and replay it for other steps of the same size. False
  // where it just did so: else kernels are called as ever, and nothing but kernels until end_recording.
  virtual bool begin_recording(std::span<Kernels* const> = {}) { return true; }
  virtual void end_recording() {}

  // residual (tokens, hidden) = table[token id]
  virtual void embed(const Matrix& table, Activations& residual) = 0;

  // residual (tokens, hidden) += table[the token's position]
  virtual void add_positions(const Matrix& table, Activations& residual) = 0;

  // out (tokens, hidden) = in / rms(in) * weight
  virtual void rms_norm(const Activations& in, const Vector& weight, Activations& out) = 0;

  // The same for the sampled rows alone: out (rows.count(), hidden), out row i from token rows[rows.begin + i].
  virtual void rms_norm_rows(const Activations& in, const Vector& weight, RowRange rows, Activations& out) = 0;

  // out (tokens, hidden) = (in - mean(in)) / deviation(in) * weight + bias; and for the sampled rows alone, as above.
  virtual void layer_norm(const Activations& in, const Vector& weight, const Vector& bias, Activations& out) = 0;
  virtual void layer_norm_rows(const Activations& in, const Vector& weight, const Vector& bias, RowRange rows, Activations& out) = 0;

  // qkv (tokens, (heads + 2 kv_heads) * head_size) = in (tokens, hidden) * weight^T; queries and keys rotated by their
  // position (rotate-half, fp32 angles), queries divided by sqrt(head_size); keys and values also written to the step's
  // blocks, saturated to what their format has.
  void qkv_rope(const Activations& in, const Matrix& weight, Activations& qkv, KvLayer& kv) {
    project(in, weight, qkv);
    rope(qkv, kv);
  }
  // Its second half, of what project() left in qkv.
  virtual void rope(Activations& qkv, KvLayer& kv) = 0;

  // The same without rotation: bias is added, queries are divided, keys and values are also written.
  virtual void place_qkv(const Vector& bias, Activations& qkv, KvLayer& kv) = 0;

  // out (tokens, heads * head_size) = causal softmax(queries * keys) * values, over the paged cache
  virtual void attention(const Activations& qkv, const KvLayer& kv, Activations& out) = 0;

  // out (tokens, weight.outputs) = in (tokens, weight.inputs) * weight^T; the outputs of a gate_up matrix in the device's own order
  virtual void project(const Activations& in, const Matrix& weight, Activations& out) = 0;

  // residual (tokens, hidden) += in (tokens, weight.inputs) * weight^T
  virtual void project_add(const Activations& in, const Matrix& weight, Activations& residual) = 0;

  // out (tokens, columns) += bias; out is the residual stream, or what project() left of a plain matrix.
  virtual void add_bias(const Vector& bias, Activations& out) = 0;

  // out (tokens, intermediate) = silu(in * gate^T) * (in * up^T); weight is one gate_up matrix
  virtual void gate_up_swiglu(const Activations& in, const Matrix& weight, Activations& out) = 0;

  // The same bytes of what project() left in gate_up (tokens, 2 intermediate), where bias is null; else each has its bias before.
  virtual void swiglu(const Activations& gate_up, const GateUpBias* bias, Activations& out) = 0;

  // out (tokens, outputs of the product's matrix) += what the adapter of each token's sequence adds; in (tokens, inputs), and out as project()
  // or project_add() left it. Tokens without an adapter are left alone.
  virtual void add_adapters(const Activations& in, const AdapterProduct& product, Activations& out) = 0;

  // out (tokens, intermediate) = gelu(in + bias), as the shape says; in is what project() left.
  virtual void gelu(const Activations& in, const Vector& bias, Activations& out) = 0;

  // out (rows, vocab) = in (rows, hidden) * weight^T
  virtual void logits(const Activations& in, const Matrix& weight, int rows, Activations& out) = 0;

  // Draws one token for each of the step's rows in range, or scores the one it names; logits row i belongs to row range.begin + i.
  virtual void sample(const Activations& logits, RowRange range) = 0;
};

enum class CpuIsa { automatic, avx512, avx2, scalar };

// threads 0 = physical cores. Throws EngineError unsupported_device when this machine lacks the instruction set.
std::unique_ptr<Kernels> make_cpu_kernels(const ModelShape& shape, const StepLimits& limits, int threads, CpuIsa isa);
bool cpu_supports(CpuIsa isa);

}  // namespace ziya
