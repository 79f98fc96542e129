// What is called of the whole is called of each rank; all that happens between ranks stands in project_add, add_adapters and logits.
#include "tensor_parallel.h"

#include <algorithm>
#include <array>
#include <utility>

#include "../engine_error.h"
#include "../fp8.h"

namespace ziya {
namespace {

using Ranges = std::vector<RowRange>;  // ascending; what a rank has of a whole, one behind the other

int size_of(const Ranges& ranges) {
  int size = 0;
  for (const RowRange& range : ranges) size += range.count();
  return size;
}

// Where the ranges have what the other has, too.
RowRange common(const RowRange& one, const RowRange& other) {
  const int begin = std::max(one.begin, other.begin);
  return {begin, std::max(begin, std::min(one.end, other.end))};
}

// What the rank has of neighbours [within.begin, within.end), counted from the first of them on.
Ranges clipped(const Ranges& ranges, const RowRange& within) {
  Ranges result;
  for (const RowRange& range : ranges)
    if (const RowRange part = common(range, within); part.count() > 0) result.push_back({part.begin - within.begin, part.end - within.begin});
  return result;
}

std::vector<float> columns_of(const float* values, int rows, int columns, const Ranges& ranges) {
  std::vector<float> result;
  for (int row = 0; row < rows; row++, values += columns)
    for (const RowRange& range : ranges) result.insert(result.end(), values + range.begin, values + range.end);
  return result;
}

struct ParallelMatrix : Matrix {
  using Matrix::Matrix;
  std::vector<Ranges> rows, columns;          // of each rank
  std::vector<std::unique_ptr<Matrix>> ranks;  // null where a rank has no rows
  bool is_whole = false;                      // on each rank
  bool gives_parts = false;
};

struct ParallelVector : Vector {
  using Vector::Vector;
  std::vector<Ranges> columns;
  std::vector<std::unique_ptr<Vector>> ranks;
};

struct ParallelActivations : Activations {
  using Activations::Activations;
  std::vector<Ranges> columns;
  std::vector<std::unique_ptr<Activations>> ranks;
};

struct ParallelKvLayer : KvLayer {
  std::vector<std::unique_ptr<KvLayer>> ranks;
};

struct ParallelAdapterProduct : AdapterProduct {
  std::vector<std::unique_ptr<AdapterProduct>> ranks;  // null where no adapter changes what the rank has
  bool gives_parts = false;
};

const ParallelMatrix& own(const Matrix& m) { return static_cast<const ParallelMatrix&>(m); }
const Matrix& of_rank(const Matrix& m, size_t rank) { return *own(m).ranks[rank]; }
const Vector& of_rank(const Vector& v, size_t rank) { return *static_cast<const ParallelVector&>(v).ranks[rank]; }
const Activations& of_rank(const Activations& a, size_t rank) { return *static_cast<const ParallelActivations&>(a).ranks[rank]; }
Activations& of_rank(Activations& a, size_t rank) { return *static_cast<ParallelActivations&>(a).ranks[rank]; }
const KvLayer& of_rank(const KvLayer& kv, size_t rank) { return *static_cast<const ParallelKvLayer&>(kv).ranks[rank]; }
KvLayer& of_rank(KvLayer& kv, size_t rank) { return *static_cast<ParallelKvLayer&>(kv).ranks[rank]; }

class TensorParallelKernels : public Kernels {
 public:
  TensorParallelKernels(const ModelShape& shape, const StepLimits& limits, std::vector<std::unique_ptr<Kernels>> ranks);
  ~TensorParallelKernels() override;

  std::string device() const override;
  std::string arithmetic() const override { return ranks_[0]->arithmetic() + ", tensor parallel " + std::to_string(ranks()); }
  int64_t allocated_bytes() const override;
  int ranks() const override { return int(ranks_.size()); }

  std::unique_ptr<Matrix> make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share share) override;
  std::unique_ptr<Vector> make_vector(int columns, Share share) override;
  std::unique_ptr<Activations> make_activations(int rows_max, int columns, Share share) override;
  std::unique_ptr<KvLayer> make_kv_layer(int blocks) override;
  AdapterMatrices make_adapter_matrices(const Matrix& weight, int first_output, int outputs, int rank) override;
  std::unique_ptr<AdapterProduct> make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) override;

  void upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float* scales) override;
  void upload(Vector& to, int first, int count, const float* values) override;
  void upload(Activations& to, int rows, const float* values) override;
  void download(const Activations& from, int rows, float* values) override;

  void begin_step(const StepBatch& batch) override;
  void resolve_references(const Kernels& sampler) override;
  void end_step() override { ranks_[0]->end_step(); }
  void finish_step(StepResult& result) override { ranks_[0]->finish_step(result); }
  bool is_asynchronous() const override { return ranks_[0]->is_asynchronous(); }
  void receive(const Kernels& other, const Activations& from, int rows, Activations& to) override;
  bool begin_recording(std::span<Kernels* const>) override { return ranks_[0]->begin_recording(others_); }
  void end_recording() override { ranks_[0]->end_recording(); }

  // These are between ranks, and a rank has none of its own.
  void reach(const Kernels&) override {}
  void end_part() override {}
  void add_parts(std::span<const SumPart>, Activations&) override {}
  void receive_columns(const Kernels&, const Activations&, int, int, Activations&) override {}
  void clear(Activations& to) override;

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

  std::vector<RankPart> parts(Matrix* matrix) {
    std::vector<RankPart> result;
    each([&](Kernels& kernels, int rank) { result.push_back({kernels, matrix != nullptr ? own(*matrix).ranks[rank].get() : nullptr}); });
    return result;
  }

 private:
  template <class Body>
  void each(const Body& body);
  template <class Body>
  void add_up(Activations& residual, const Body& compute);
  Ranges ranges_of(Share share, int size, bool is_gate_up, int rank) const;
  std::unique_ptr<ParallelMatrix> make(ParallelMatrix matrix, MatrixLayout layout);

  const ModelShape shape_;
  std::vector<std::unique_ptr<Kernels>> ranks_;
  std::vector<Kernels*> others_;  // all but rank 0
  // What the ranks add up, (tokens, hidden) of each. One sum's parts lie elsewhere than those of the sum before, which another rank may still
  // read: the sum in between is what all have come to then.
  std::array<std::vector<std::unique_ptr<Activations>>, 2> parts_;
  int turn_ = 0;
  std::vector<std::unique_ptr<Activations>> logits_;  // (logit_rows_max, its ids) of each
};

TensorParallelKernels::TensorParallelKernels(const ModelShape& shape, const StepLimits& limits, std::vector<std::unique_ptr<Kernels>> ranks)
    : shape_(shape), ranks_(std::move(ranks)) {
  for (const auto& one : ranks_)
    for (const auto& other : ranks_) one->reach(*other);
  for (const auto& kernels : std::span(ranks_).subspan(1)) others_.push_back(kernels.get());
  each([&](Kernels& kernels, int rank) {
    for (auto& parts : parts_) parts.push_back(kernels.make_activations(limits.batch_tokens_max, shape.hidden_size));
    logits_.push_back(kernels.make_activations(std::min(limits.batch_tokens_max, logit_rows_max),
                                               std::max(1, size_of(ranges_of(Share::outputs, shape.vocab_size, false, rank)))));
  });
}

// No rank's memory goes before another has read it.
TensorParallelKernels::~TensorParallelKernels() {
  for (const auto& kernels : ranks_) kernels->synchronize();
}

// Calls it for each rank in turn: where kernels are enqueued only, the ranks compute at once.
template <class Body>
void TensorParallelKernels::each(const Body& body) {
  for (int rank = 0; rank < ranks(); rank++) {
    ranks_[rank]->select();
    body(*ranks_[rank], rank);
  }
}

// residual += what compute(rank, its part) leaves in each part
template <class Body>
void TensorParallelKernels::add_up(Activations& residual, const Body& compute) {
  turn_ = 1 - turn_;
  std::vector<SumPart> parts;
  each([&](Kernels& kernels, int rank) {
    Activations& part = *parts_[turn_][rank];
    compute(kernels, rank, part);
    kernels.end_part();
    parts.push_back({kernels, part});
  });
  each([&](Kernels& kernels, int rank) { kernels.add_parts(parts, of_rank(residual, rank)); });
}

std::string TensorParallelKernels::device() const {
  std::string result;
  for (const auto& kernels : ranks_) result += (result.empty() ? "" : " with ") + kernels->device();
  return result;
}

int64_t TensorParallelKernels::allocated_bytes() const {
  int64_t sum = 0;
  for (const auto& kernels : ranks_) sum += kernels->allocated_bytes();
  return sum;
}

// What a rank has of `size` outputs or columns.
Ranges TensorParallelKernels::ranges_of(Share share, int size, bool is_gate_up, int rank) const {
  const auto even = [&](int begin, int count) {
    return RowRange{begin + int(int64_t(count) * rank / ranks()), begin + int(int64_t(count) * (rank + 1) / ranks())};
  };
  if (share == Share::outputs && is_gate_up) return {even(0, size / 2), even(size / 2, size / 2)};
  if (share == Share::outputs) return {even(0, size)};
  if (share != Share::heads) return {{0, size}};
  const int queries = shape_.attention_columns(), keys = shape_.kv_heads * shape_.head_size;
  const int first_key = shape_.kv_heads * rank / ranks() * shape_.head_size;
  const int own_keys = shape_of_rank(shape_, ranks()).kv_heads * shape_.head_size;
  const RowRange own = {queries + first_key, queries + first_key + own_keys};
  return {even(0, queries), own, {own.begin + keys, own.end + keys}};
}

// Adds what each rank has of a matrix whose rows and columns are shared out.
std::unique_ptr<ParallelMatrix> TensorParallelKernels::make(ParallelMatrix matrix, MatrixLayout layout) {
  each([&](Kernels& kernels, int rank) {
    const int rows = size_of(matrix.rows[rank]), columns = size_of(matrix.columns[rank]);
    matrix.ranks.push_back(rows > 0 ? kernels.make_matrix(rows, columns, layout, matrix.format) : nullptr);
  });
  return std::make_unique<ParallelMatrix>(std::move(matrix));
}

std::unique_ptr<Matrix> TensorParallelKernels::make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share share) {
  ParallelMatrix matrix(outputs, inputs, format);
  matrix.is_whole = share == Share::whole;
  matrix.gives_parts = share == Share::inputs;
  for (int rank = 0; rank < ranks(); rank++) {
    matrix.rows.push_back(ranges_of(matrix.gives_parts ? Share::whole : share, outputs, layout == MatrixLayout::gate_up, rank));
    matrix.columns.push_back(ranges_of(matrix.gives_parts ? Share::outputs : Share::whole, inputs, false, rank));
  }
  return make(std::move(matrix), layout);
}

std::unique_ptr<Vector> TensorParallelKernels::make_vector(int columns, Share share) {
  auto vector = std::make_unique<ParallelVector>(columns);
  each([&](Kernels& kernels, int rank) {
    vector->columns.push_back(ranges_of(share, columns, false, rank));
    vector->ranks.push_back(kernels.make_vector(size_of(vector->columns[rank])));
  });
  return vector;
}

std::unique_ptr<Activations> TensorParallelKernels::make_activations(int rows_max, int columns, Share share) {
  auto activations = std::make_unique<ParallelActivations>(rows_max, columns);
  each([&](Kernels& kernels, int rank) {
    activations->columns.push_back(ranges_of(share, columns, false, rank));
    activations->ranks.push_back(kernels.make_activations(rows_max, size_of(activations->columns[rank])));
  });
  return activations;
}

std::unique_ptr<KvLayer> TensorParallelKernels::make_kv_layer(int blocks) {
  auto layer = std::make_unique<ParallelKvLayer>();
  each([&](Kernels& kernels, int) { layer->ranks.push_back(kernels.make_kv_layer(blocks)); });
  return layer;
}

// As the weight is shared out: a has its inputs, b of its outputs those that the adapter changes.
AdapterMatrices TensorParallelKernels::make_adapter_matrices(const Matrix& weight, int first_output, int outputs, int rank_of_adapter) {
  ParallelMatrix a(rank_of_adapter, weight.inputs), b(outputs, rank_of_adapter);
  a.columns = own(weight).columns;
  for (const Ranges& rows : own(weight).rows) {
    a.rows.push_back({{0, rank_of_adapter}});
    b.rows.push_back(clipped(rows, {first_output, first_output + outputs}));
    b.columns.push_back({{0, rank_of_adapter}});
  }
  return {make(std::move(a), MatrixLayout::lora_a), make(std::move(b), MatrixLayout::lora_b)};
}

std::unique_ptr<AdapterProduct> TensorParallelKernels::make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) {
  auto product = std::make_unique<ParallelAdapterProduct>();
  product->gives_parts = own(weight).gives_parts;
  each([&](Kernels& kernels, int rank) {
    std::vector<AdapterPart> of_this_rank;
    for (const AdapterPart& part : parts) {
      if (own(part.b).ranks[rank] == nullptr) continue;
      const int first_output = size_of(clipped(own(weight).rows[rank], {0, part.first_output}));
      of_this_rank.push_back({part.adapter, first_output, part.scale, of_rank(part.a, rank), of_rank(part.b, rank)});
    }
    product->ranks.push_back(of_this_rank.empty() ? nullptr : kernels.make_adapter_product(of_rank(weight, rank), of_this_rank));
  });
  return product;
}

// The rows are read once, whoever has a part of them; scales of fp8 are those of whole rows, so that as many ranks as there may be have the codes of one.
void TensorParallelKernels::upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float*) {
  const int inputs = to.inputs;
  const auto whole = std::make_unique_for_overwrite<uint16_t[]>(size_t(rows) * inputs);
  write(0, rows, whole.get());
  std::vector<float> scales;
  for (int row = 0; to.format == WeightFormat::fp8 && row < rows; row++) scales.push_back(row_scale(whole.get() + int64_t(row) * inputs, inputs));
  each([&](Kernels& kernels, int rank) {
    int own_row = 0;
    const RowRange columns = own(to).columns[rank].front();
    for (const RowRange& range : own(to).rows[rank]) {
      const RowRange uploaded = common(range, {first_row, first_row + rows});
      const int skipped = uploaded.begin - first_row;
      const auto write_part = [&](int begin, int count, uint16_t* fp16) {
        for (int row = 0; row < count; row++)
          std::copy_n(whole.get() + int64_t(skipped + begin + row) * inputs + columns.begin, columns.count(), fp16 + int64_t(row) * columns.count());
      };
      if (uploaded.count() > 0)
        kernels.upload_rows(*own(to).ranks[rank], own_row + uploaded.begin - range.begin, uploaded.count(), write_part,
                            scales.empty() ? nullptr : scales.data() + skipped);
      own_row += range.count();
    }
  });
}

void TensorParallelKernels::upload(Vector& to, int first, int count, const float* values) {
  auto& vector = static_cast<ParallelVector&>(to);
  each([&](Kernels& kernels, int rank) {
    int own_column = 0;
    for (const RowRange& range : vector.columns[rank]) {
      const RowRange uploaded = common(range, {first, first + count});
      if (uploaded.count() > 0)
        kernels.upload(*vector.ranks[rank], own_column + uploaded.begin - range.begin, uploaded.count(), values + uploaded.begin - first);
      own_column += range.count();
    }
  });
}

void TensorParallelKernels::upload(Activations& to, int rows, const float* values) {
  const auto& activations = static_cast<const ParallelActivations&>(to);
  each([&](Kernels& kernels, int rank) {
    kernels.upload(*activations.ranks[rank], rows, columns_of(values, rows, to.columns, activations.columns[rank]).data());
  });
}

// Of what each rank has.
void TensorParallelKernels::download(const Activations& from, int rows, float* values) {
  ranks_[0]->select();
  ranks_[0]->download(of_rank(from, 0), rows, values);
}

void TensorParallelKernels::begin_step(const StepBatch& batch) {
  each([&](Kernels& kernels, int) { kernels.begin_step(batch); });
}

void TensorParallelKernels::resolve_references(const Kernels& sampler) {
  each([&](Kernels& kernels, int) { kernels.resolve_references(*static_cast<const TensorParallelKernels&>(sampler).ranks_[0]); });
}

void TensorParallelKernels::receive(const Kernels& other, const Activations& from, int rows, Activations& to) {
  const auto& sender = static_cast<const TensorParallelKernels&>(other);
  each([&](Kernels& kernels, int rank) { kernels.receive(*sender.ranks_[rank], of_rank(from, rank), rows, of_rank(to, rank)); });
}

void TensorParallelKernels::clear(Activations& to) {
  each([&](Kernels& kernels, int rank) { kernels.clear(of_rank(to, rank)); });
}

void TensorParallelKernels::embed(const Matrix& table, Activations& residual) {
  each([&](Kernels& kernels, int rank) { kernels.embed(of_rank(table, rank), of_rank(residual, rank)); });
}

void TensorParallelKernels::add_positions(const Matrix& table, Activations& residual) {
  each([&](Kernels& kernels, int rank) { kernels.add_positions(of_rank(table, rank), of_rank(residual, rank)); });
}

void TensorParallelKernels::rms_norm(const Activations& in, const Vector& weight, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.rms_norm(of_rank(in, rank), of_rank(weight, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::rms_norm_rows(const Activations& in, const Vector& weight, RowRange rows, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.rms_norm_rows(of_rank(in, rank), of_rank(weight, rank), rows, of_rank(out, rank)); });
}

void TensorParallelKernels::layer_norm(const Activations& in, const Vector& weight, const Vector& bias, Activations& out) {
  each([&](Kernels& kernels, int rank) {
    kernels.layer_norm(of_rank(in, rank), of_rank(weight, rank), of_rank(bias, rank), of_rank(out, rank));
  });
}

void TensorParallelKernels::layer_norm_rows(const Activations& in, const Vector& weight, const Vector& bias, RowRange rows, Activations& out) {
  each([&](Kernels& kernels, int rank) {
    kernels.layer_norm_rows(of_rank(in, rank), of_rank(weight, rank), of_rank(bias, rank), rows, of_rank(out, rank));
  });
}

void TensorParallelKernels::rope(Activations& qkv, KvLayer& kv) {
  each([&](Kernels& kernels, int rank) { kernels.rope(of_rank(qkv, rank), of_rank(kv, rank)); });
}

void TensorParallelKernels::place_qkv(const Vector& bias, Activations& qkv, KvLayer& kv) {
  each([&](Kernels& kernels, int rank) { kernels.place_qkv(of_rank(bias, rank), of_rank(qkv, rank), of_rank(kv, rank)); });
}

void TensorParallelKernels::attention(const Activations& qkv, const KvLayer& kv, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.attention(of_rank(qkv, rank), of_rank(kv, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::project(const Activations& in, const Matrix& weight, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.project(of_rank(in, rank), of_rank(weight, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::project_add(const Activations& in, const Matrix& weight, Activations& residual) {
  if (own(weight).gives_parts)
    return add_up(residual, [&](Kernels& kernels, int rank, Activations& part) { kernels.project(of_rank(in, rank), of_rank(weight, rank), part); });
  each([&](Kernels& kernels, int rank) { kernels.project_add(of_rank(in, rank), of_rank(weight, rank), of_rank(residual, rank)); });
}

void TensorParallelKernels::add_bias(const Vector& bias, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.add_bias(of_rank(bias, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::gate_up_swiglu(const Activations& in, const Matrix& weight, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.gate_up_swiglu(of_rank(in, rank), of_rank(weight, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::swiglu(const Activations& gate_up, const GateUpBias* bias, Activations& out) {
  each([&](Kernels& kernels, int rank) {
    if (bias == nullptr) return kernels.swiglu(of_rank(gate_up, rank), nullptr, of_rank(out, rank));
    const GateUpBias of_this = {of_rank(bias->gate, rank), of_rank(bias->up, rank)};
    kernels.swiglu(of_rank(gate_up, rank), &of_this, of_rank(out, rank));
  });
}

void TensorParallelKernels::add_adapters(const Activations& in, const AdapterProduct& product, Activations& out) {
  const auto& adapters = static_cast<const ParallelAdapterProduct&>(product);
  const auto add = [&](Kernels& kernels, int rank, Activations& to) {
    if (adapters.ranks[rank] != nullptr) kernels.add_adapters(of_rank(in, rank), *adapters.ranks[rank], to);
  };
  if (!adapters.gives_parts) return each([&](Kernels& kernels, int rank) { add(kernels, rank, of_rank(out, rank)); });
  add_up(out, [&](Kernels& kernels, int rank, Activations& part) {
    kernels.clear(part);
    add(kernels, rank, part);
  });
}

void TensorParallelKernels::gelu(const Activations& in, const Vector& bias, Activations& out) {
  each([&](Kernels& kernels, int rank) { kernels.gelu(of_rank(in, rank), of_rank(bias, rank), of_rank(out, rank)); });
}

void TensorParallelKernels::logits(const Activations& in, const Matrix& weight, int rows, Activations& out) {
  if (own(weight).is_whole) {
    ranks_[0]->select();
    return ranks_[0]->logits(of_rank(in, 0), of_rank(weight, 0), rows, of_rank(out, 0));
  }
  each([&](Kernels& kernels, int rank) {
    if (own(weight).ranks[rank] == nullptr) return;
    kernels.logits(of_rank(in, rank), of_rank(weight, rank), rows, *logits_[rank]);
    kernels.end_part();
  });
  ranks_[0]->select();
  for (int rank = 0; rank < ranks(); rank++)
    if (const RowRange ids = own(weight).rows[rank].front(); ids.count() > 0)
      ranks_[0]->receive_columns(*ranks_[rank], *logits_[rank], rows, ids.begin, of_rank(out, 0));
}

void TensorParallelKernels::sample(const Activations& logits, RowRange range) {
  ranks_[0]->select();
  ranks_[0]->sample(of_rank(logits, 0), range);
}

}  // namespace

void check_tensor_parallel(const ModelShape& shape, int ranks) {
  const auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw EngineError("bad_shape", "tensor_parallel " + std::to_string(ranks) + ": " + what);
  };
  require(ranks >= 1 && ranks <= tensor_parallel_max, "1 to " + std::to_string(tensor_parallel_max) + " devices compute together");
  require(shape.heads % ranks == 0, "so many devices cannot share heads: " + std::to_string(shape.heads));
  require(!shape.has_attention() || shape.kv_heads % ranks == 0 || ranks % shape.kv_heads == 0,
          "so many devices cannot share kv_heads: " + std::to_string(shape.kv_heads));
  require(shape.intermediate_size % ranks == 0, "so many devices cannot share intermediate_size: " + std::to_string(shape.intermediate_size));
}

ModelShape shape_of_rank(const ModelShape& shape, int ranks) {
  ModelShape own = shape;
  own.heads /= ranks;
  own.kv_heads = (own.kv_heads + ranks - 1) / ranks;
  own.intermediate_size /= ranks;
  return own;
}

std::unique_ptr<Kernels> make_tensor_parallel(const ModelShape& shape, const StepLimits& limits, std::vector<std::unique_ptr<Kernels>> ranks) {
  return std::make_unique<TensorParallelKernels>(shape, limits, std::move(ranks));
}

std::vector<RankPart> parts_of_ranks(Kernels& kernels, Matrix* matrix) {
  if (kernels.ranks() == 1) return {{kernels, matrix}};
  return static_cast<TensorParallelKernels&>(kernels).parts(matrix);
}

}  // namespace ziya
