// The CPU backend: the division of every kernel among the pool's threads. Arithmetic is in the bodies.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <mutex>
#include <span>

#include "../../engine_error.h"
#include "../../fp8.h"
#include "../../half.h"
#include "../kernels.h"
#include "../rope.h"
#include "bodies.h"
#include "layout.h"
#include "sample.h"
#include "thread_pool.h"

namespace ziya {
namespace {

constexpr int attention_rows_max = 64;  // queries that share one pass over the keys of a KV head

// One scheduled token: where it is in its sequence, and that sequence's blocks.
struct TokenPlace {
  int position;
  const int32_t* blocks;
};

struct SequencePlace {
  int first_token, tokens, start;
  const int32_t* blocks;
};

template <class T>
std::span<const T> of(std::span<const T> list, Span span) {
  return list.subspan(size_t(span.begin), size_t(span.count));
}

class CpuKernels : public Kernels {
 public:
  CpuKernels(const ModelShape& shape, const StepLimits& limits, int threads, const Bodies& bodies);

  std::string device() const override {
    return std::string("cpu ") + bodies_.name + ", " + std::to_string(pool_.threads()) +
           (pool_.threads() == 1 ? " thread" : " threads");
  }
  std::string arithmetic() const override { return bodies_.name; }
  int64_t allocated_bytes() const override { return allocated_; }

  std::unique_ptr<Matrix> make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share) override;
  std::unique_ptr<Vector> make_vector(int columns, Share) override { return std::make_unique<CpuVector>(columns); }
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
  void receive(const Kernels& other, const Activations& from, int rows, Activations& to) override;
  void reach(const Kernels&) override {}
  void end_part() override {}
  void add_parts(std::span<const SumPart> parts, Activations& residual) override;
  void receive_columns(const Kernels& other, const Activations& from, int rows, int first_column, Activations& to) override;
  void clear(Activations& to) override;
  void finish_step(StepResult& result) override;

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
  int tokens() const { return int(places_.size()); }
  int64_t key_head_size() const { return int64_t(shape_.head_size) * block_tokens; }
  int64_t value_head_size() const { return int64_t(value_stride_) * block_tokens; }
  void charge(const Memory& memory);
  void matmul(const Activations& in, const Matrix& weight, int rows, const Activations& out, Epilogue epilogue);
  template <class Body>
  void each_token(const Body& body);
  void place_tokens(const StepBatch& batch);
  void share_out(const CpuAdapterProduct& product);
  void compute_angles();
  void rotate(float* head, int token, float scale) const;
  void store_key_value(const float* key, const float* value, int token, int head, const CpuKvLayer& kv) const;
  void store_head(const float* head, const CpuCache& cache, int64_t first, int64_t step, int64_t scale) const;
  CachedHead cached_head(const CpuCache& cache, int kv_head, int64_t numbers) const;
  AttentionTask attention_task(int64_t index, const CpuActivations& qkv, const CpuKvLayer& kv,
                               const CpuActivations& out) const;
  SamplingRow sampling_row(const Row& row) const;

  const ModelShape shape_;
  const Bodies& bodies_;
  ThreadPool pool_;
  const int value_stride_;
  int tile_tokens_;          // of one sequence that attend together
  const size_t memory_max_;  // what was available when the engine began to load
  int64_t allocated_ = 0;
  std::vector<Memory> scratch_;             // one a thread
  std::vector<Sampler> samplers_;           // one a thread
  std::vector<float> inverse_frequencies_;  // (head_size / 2)

  // The step descriptor.
  const StepBatch* batch_ = nullptr;
  std::vector<TokenPlace> places_;       // (tokens)
  std::vector<SequencePlace> tiles_;     // pieces of sequences, tile_tokens_ at most
  std::vector<float> angles_;            // (tokens, head_size) cosines, then sines
  std::span<const int32_t> tokens_, history_;  // the batch's, references resolved
  std::vector<int32_t> resolved_tokens_, resolved_history_;
  std::vector<AdapterRun> adapter_runs_;
  std::vector<Drawn> drawn_;  // (rows)

  // What add_adapters shares out: ranks [begin, end) of a part for the tokens of a run, or panels; or all of both.
  struct AdapterPiece {
    const AdapterRun& run;
    const CpuAdapterPart& part;
    int begin, end;
  };
  template <class Body>
  void each_piece(const std::vector<AdapterPiece>& pieces, const Body& body);
  std::vector<AdapterPiece> whole_parts_, shrink_pieces_, expand_pieces_;
  int adapter_ranks_max_ = 0;  // of one adapter in one product
  std::vector<float> shrunk_;  // (tokens, adapter_ranks_max)

  std::vector<int32_t> drawn_before_;  // (rows of the step that was ended last) their tokens
  struct EndedStep {
    std::vector<Drawn> drawn;
    bool has_top;
  };
  std::mutex ended_mutex_;
  std::deque<EndedStep> ended_;
};

CpuKernels::CpuKernels(const ModelShape& shape, const StepLimits& limits, int threads, const Bodies& bodies)
    : shape_(shape),
      bodies_(bodies),
      pool_(threads),
      value_stride_(int(round_up(shape.head_size, bodies.width))),
      memory_max_(available_memory()) {
  const int group = shape.heads_a_kv_head();
  tile_tokens_ = std::max(1, attention_rows_max / std::max(group, 1));
  const int64_t attention_floats = int64_t(tile_tokens_) * group * (2 * value_stride_ + attention_fold + 2);
  const int64_t floats = std::max<int64_t>(attention_floats, bodies.matmul_scratch_floats);
  for (int thread = 0; thread < pool_.threads(); thread++) {
    scratch_.emplace_back(floats * sizeof(float));
    samplers_.emplace_back(bodies, shape.vocab_size);
  }
  for (int i = 0; shape.has_rope() && i < shape.head_size / 2; i++) inverse_frequencies_.push_back(rope_frequency(shape, i));
  places_.reserve(limits.batch_tokens_max);
}

// The memory is not touched yet: refused here, it costs nothing.
void CpuKernels::charge(const Memory& memory) {
  allocated_ += int64_t(memory.bytes());
  if (size_t(allocated_) <= memory_max_) return;
  throw EngineError("out_of_memory", "the model and its cache need more than the " + std::to_string(memory_max_ >> 20) +
                                         " MiB that are available");
}

std::unique_ptr<Matrix> CpuKernels::make_matrix(int outputs, int inputs, MatrixLayout layout, WeightFormat format, Share) {
  auto matrix = std::make_unique<CpuMatrix>(outputs, inputs, layout, format, bodies_.width);
  charge(matrix->memory);
  charge(matrix->scales);
  return matrix;
}

std::unique_ptr<Activations> CpuKernels::make_activations(int rows_max, int columns, Share) {
  auto activations = std::make_unique<CpuActivations>(rows_max, columns);
  charge(activations->memory);
  return activations;
}

std::unique_ptr<KvLayer> CpuKernels::make_kv_layer(int blocks) {
  auto layer = std::make_unique<CpuKvLayer>(shape_.kv_cache, int64_t(blocks) * shape_.kv_heads, key_head_size(), value_head_size());
  for (CpuCache* cache : {&layer->keys, &layer->values}) {
    for (Memory* memory : {&cache->numbers, &cache->scales}) {
      charge(*memory);
      memory->populate();  // it fills with what is asked, in the course of hours
    }
  }
  return layer;
}

std::unique_ptr<AdapterProduct> CpuKernels::make_adapter_product(const Matrix& weight, const std::vector<AdapterPart>& parts) {
  auto product = std::make_unique<CpuAdapterProduct>();
  const bool alternates = cpu(weight).layout == MatrixLayout::gate_up;
  for (const AdapterPart& part : parts) {
    const bool is_up = alternates && part.first_output > 0;
    if (alternates && (part.b.outputs != weight.outputs / 2 || (is_up && part.first_output != part.b.outputs)))
      throw EngineError("bad_shape", "an adapter changes the gate or the up rows, and all of them");
    product->of_adapters.resize(std::max<size_t>(product->of_adapters.size(), part.adapter + 1));
    std::vector<CpuAdapterPart>& own = product->of_adapters[part.adapter];
    const int first_rank = own.empty() ? 0 : own.back().first_rank + own.back().a.outputs;
    own.push_back({cpu(part.a), cpu(part.b), part.scale, alternates ? is_up * bodies_.width : part.first_output,
                   alternates ? 2 * bodies_.width : bodies_.width, first_rank});
    adapter_ranks_max_ = std::max(adapter_ranks_max_, first_rank + part.a.outputs);
  }
  return product;
}

// panel[k * width + lane] = rows[lane * inputs + k], by way of a tile: rows of some lengths begin in one cache set, and read column
// by column would push one another out.
template <class Weight>
void pack_panel(const Weight* rows, int inputs, int lanes, Weight* panel, int width) {
  constexpr int tile_columns = 128;
  Weight tile[width_max][tile_columns + 2];
  for (int begin = 0; begin < inputs; begin += tile_columns) {
    const int columns = std::min(tile_columns, inputs - begin);
    for (int lane = 0; lane < lanes; lane++) std::copy_n(rows + int64_t(lane) * inputs + begin, columns, tile[lane]);
    for (int k = 0; k < columns; k++)
      for (int lane = 0; lane < lanes; lane++) panel[int64_t(begin + k) * width + lane] = tile[lane][k];
  }
}

template <class Weight>
void pack_rows(const CpuMatrix& matrix, int first_row, int rows, const Weight* weights) {
  const int inputs = matrix.inputs, width = matrix.width;
  for (int row = 0; row < rows;) {
    Weight* panel = matrix.at<Weight>(first_row + row);
    // The rows that lie in one panel are written together, so that its cache lines are filled once.
    int together = 1;
    while (row + together < rows && together < width && matrix.at<Weight>(first_row + row + together) == panel + together) together++;
    pack_panel(weights + int64_t(row) * inputs, inputs, together, panel, width);
    row += together;
  }
}

// The codes overwrite the halves.
void pack_as_fp8(const CpuMatrix& matrix, int first_row, int rows, uint16_t* fp16, const float* scales) {
  auto* codes = reinterpret_cast<uint8_t*>(fp16);
  for (int row = 0; row < rows; row++) {
    const int64_t begin = int64_t(row) * matrix.inputs;
    const float scale = scales != nullptr ? scales[row] : row_scale(fp16 + begin, matrix.inputs);
    quantize(fp16 + begin, matrix.inputs, scale, codes + begin);
    matrix.scales.as<float>()[matrix.packed_row(first_row + row)] = scale * fp8_as_half_scale;
  }
  pack_rows(matrix, first_row, rows, codes);
}

void CpuKernels::upload_rows(Matrix& to, int first_row, int rows, const WriteRows& write, const float* scales) {
  const CpuMatrix& matrix = cpu(to);
  const int inputs = matrix.inputs;
  const auto fp16 = std::make_unique_for_overwrite<uint16_t[]>(size_t(rows) * inputs);
  write(0, rows, fp16.get());
  if (matrix.format == WeightFormat::fp8) return pack_as_fp8(matrix, first_row, rows, fp16.get(), scales);
  if (matrix.layout == MatrixLayout::lora_a) {
    for (int row = 0; row < rows; row++) std::copy_n(fp16.get() + int64_t(row) * inputs, inputs, matrix.at(first_row + row));
    return;
  }
  pack_rows(matrix, first_row, rows, fp16.get());
}

void CpuKernels::upload(Vector& to, int first, int count, const float* values) {
  std::copy_n(values, count, static_cast<CpuVector&>(to).values.data() + first);
}

void CpuKernels::upload(Activations& to, int rows, const float* values) {
  for (int row = 0; row < rows; row++)
    std::copy(values + int64_t(row) * to.columns, values + int64_t(row + 1) * to.columns, cpu(to).row(row));
}

void CpuKernels::download(const Activations& from, int rows, float* values) {
  for (int row = 0; row < rows; row++)
    std::copy(cpu(from).row(row), cpu(from).row(row) + from.columns, values + int64_t(row) * from.columns);
}

void CpuKernels::begin_step(const StepBatch& batch) {
  batch_ = &batch;
  tokens_ = batch.tokens;
  history_ = batch.history;
  place_tokens(batch);
  adapter_runs_ = adapter_runs(batch);
  shrunk_.resize(adapter_runs_.empty() ? 0 : batch.tokens.size() * adapter_ranks_max_);
  drawn_.assign(batch.rows.size(), {});
  if (shape_.has_rope()) compute_angles();
}

void CpuKernels::resolve_references(const Kernels& sampler) {
  const std::vector<int32_t>& drawn = static_cast<const CpuKernels&>(sampler).drawn_before_;
  const auto resolve = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to) {
    to = from;
    for (int32_t& token : to)
      if (is_reference(token)) token = std::max(drawn[referenced_row(token)], 0);  // of a broken sequence any will do
    return std::span<const int32_t>(to);
  };
  tokens_ = resolve(batch_->tokens, resolved_tokens_);
  history_ = resolve(batch_->history, resolved_history_);
}

void CpuKernels::receive(const Kernels&, const Activations& from, int rows, Activations& to) {
  for (int row = 0; row < rows; row++) std::copy_n(cpu(from).row(row), from.columns, cpu(to).row(row));
}

void CpuKernels::add_parts(std::span<const SumPart> parts, Activations& residual) {
  each_token([&](int64_t token) {
    float* row = cpu(residual).row(token);
    for (int i = 0; i < residual.columns; i++) {
      float sum = cpu(parts[0].part).row(token)[i];
      for (const SumPart& other : parts.subspan(1)) sum += cpu(other.part).row(token)[i];
      row[i] += sum;
    }
  });
}

void CpuKernels::receive_columns(const Kernels&, const Activations& from, int rows, int first_column, Activations& to) {
  for (int row = 0; row < rows; row++) std::copy_n(cpu(from).row(row), from.columns, cpu(to).row(row) + first_column);
}

void CpuKernels::clear(Activations& to) {
  each_token([&](int64_t token) { std::fill_n(cpu(to).row(token), to.columns, 0.0f); });
}

void CpuKernels::place_tokens(const StepBatch& batch) {
  places_.clear();
  tiles_.clear();
  const int32_t* blocks = batch.block_tables.data();
  for (size_t s = 0; s < batch.starts.size(); s++) {
    const int start = batch.starts[s], count = batch.token_counts[s];
    for (int done = 0; done < count; done += tile_tokens_)
      tiles_.push_back({int(places_.size()) + done, std::min(tile_tokens_, count - done), start + done, blocks});
    for (int i = 0; i < count; i++) places_.push_back({start + i, blocks});
    blocks += batch.block_counts[s];
  }
  // The longest first, so that no thread ends with a long one alone.
  std::stable_sort(tiles_.begin(), tiles_.end(), [](const SequencePlace& a, const SequencePlace& b) {
    return int64_t(a.tokens) * (a.start + a.tokens) > int64_t(b.tokens) * (b.start + b.tokens);
  });
}

void CpuKernels::compute_angles() {
  const int half = shape_.head_size / 2;
  angles_.resize(size_t(tokens()) * shape_.head_size);
  pool_.split(tokens(), [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++) {
      float* cosines = angles_.data() + token * shape_.head_size;
      for (int i = 0; i < half; i++) {
        const float angle = float(places_[token].position) * inverse_frequencies_[i];
        cosines[i] = std::cos(angle);
        cosines[half + i] = std::sin(angle);
      }
    }
  });
}

void CpuKernels::end_step() {
  drawn_before_.clear();
  for (const Drawn& drawn : drawn_) drawn_before_.push_back(drawn.token);
  const std::lock_guard lock(ended_mutex_);
  ended_.push_back({std::move(drawn_), batch_->wants_alternatives()});
  batch_ = nullptr;
}

void CpuKernels::finish_step(StepResult& result) {
  std::unique_lock lock(ended_mutex_);
  const EndedStep step = std::move(ended_.front());
  ended_.pop_front();
  lock.unlock();
  const int rows = int(step.drawn.size());
  if (step.has_top) {
    result.top_ids.assign(size_t(rows) * top_logprobs_max, -1);
    result.top_logprobs.assign(size_t(rows) * top_logprobs_max, -1);
  }
  for (int row = 0; row < rows; row++) {
    const Drawn& drawn = step.drawn[row];
    result.tokens.push_back(drawn.token);
    result.logprobs.push_back(drawn.logprob);
    std::copy(drawn.top_ids.begin(), drawn.top_ids.end(), result.top_ids.begin() + int64_t(row) * top_logprobs_max);
    std::copy(drawn.top_logprobs.begin(), drawn.top_logprobs.end(),
              result.top_logprobs.begin() + int64_t(row) * top_logprobs_max);
  }
}

void CpuKernels::embed(const Matrix& table, Activations& residual) {
  const CpuMatrix& matrix = cpu(table);
  pool_.split(tokens(), [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++) {
      const uint16_t* from = matrix.at(tokens_[token]);
      float* to = cpu(residual).row(token);
      for (int k = 0; k < matrix.inputs; k++) to[k] = half_to_float(from[int64_t(k) * matrix.width]);
    }
  });
}

void CpuKernels::add_positions(const Matrix& table, Activations& residual) {
  const CpuMatrix& matrix = cpu(table);
  pool_.split(tokens(), [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++) {
      const uint16_t* from = matrix.at(places_[token].position);
      float* to = cpu(residual).row(token);
      for (int k = 0; k < matrix.inputs; k++) to[k] += half_to_float(from[int64_t(k) * matrix.width]);
    }
  });
}

void CpuKernels::rms_norm(const Activations& in, const Vector& weight, Activations& out) {
  const int padded = int(round_up(in.columns, bodies_.width));
  const auto normalize = [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++)
      bodies_.rms_norm(cpu(in).row(token), cpu(weight), in.columns, padded, float(shape_.rms_norm_eps),
                       cpu(out).row(token));
  };
  if (tokens() < pool_.threads() * 2)
    normalize(0, tokens(), 0);  // less work than waking the pool
  else
    pool_.split(tokens(), normalize);
}

void CpuKernels::rms_norm_rows(const Activations& in, const Vector& weight, RowRange rows, Activations& out) {
  const int padded = int(round_up(in.columns, bodies_.width));
  for (int i = 0; i < rows.count(); i++)
    bodies_.rms_norm(cpu(in).row(batch_->rows[rows.begin + i].token), cpu(weight), in.columns, padded,
                     float(shape_.rms_norm_eps), cpu(out).row(i));
}

// What is less work than waking the pool is done here.
template <class Body>
void CpuKernels::each_token(const Body& body) {
  const auto each = [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++) body(token);
  };
  if (tokens() < pool_.threads() * 2)
    each(0, tokens(), 0);
  else
    pool_.split(tokens(), each);
}

void CpuKernels::layer_norm(const Activations& in, const Vector& weight, const Vector& bias, Activations& out) {
  const int padded = int(round_up(in.columns, bodies_.width));
  each_token([&](int64_t token) {
    bodies_.layer_norm(cpu(in).row(token), cpu(weight), cpu(bias), in.columns, padded, float(shape_.layer_norm_eps), cpu(out).row(token));
  });
}

void CpuKernels::layer_norm_rows(const Activations& in, const Vector& weight, const Vector& bias, RowRange rows, Activations& out) {
  const int padded = int(round_up(in.columns, bodies_.width));
  for (int i = 0; i < rows.count(); i++)
    bodies_.layer_norm(cpu(in).row(batch_->rows[rows.begin + i].token), cpu(weight), cpu(bias), in.columns, padded,
                       float(shape_.layer_norm_eps), cpu(out).row(i));
}

void CpuKernels::matmul(const Activations& in, const Matrix& weight, int rows, const Activations& out,
                        Epilogue epilogue) {
  const CpuMatrix& matrix = cpu(weight);
  const MatmulArgs args = {.x = cpu(in).row(0),
                           .x_stride = cpu(in).stride,
                           .rows = rows,
                           .w = matrix.memory.as<void>(),
                           .scales = matrix.format == WeightFormat::fp8 ? matrix.scales.as<float>() : nullptr,
                           .k = matrix.inputs,
                           .out = cpu(out).row(0),
                           .out_stride = cpu(out).stride,
                           .epilogue = epilogue};
  pool_.split(matrix.pairs, [&](int64_t begin, int64_t end, int thread) {
    bodies_.matmul(args, int(begin), int(end), scratch_[thread].as<float>());
  });
}

void CpuKernels::rope(Activations& qkv, KvLayer& kv) {
  const float query_scale = 1.0f / std::sqrt(float(shape_.head_size));
  const auto rotate_and_store = [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; token++) {
      float* query = cpu(qkv).row(token);
      float* key = query + shape_.attention_columns();
      const float* value = key + shape_.kv_heads * shape_.head_size;
      for (int head = 0; head < shape_.heads; head++) rotate(query + head * shape_.head_size, int(token), query_scale);
      for (int head = 0; head < shape_.kv_heads; head++) {
        rotate(key + head * shape_.head_size, int(token), 1);
        store_key_value(key + head * shape_.head_size, value + head * shape_.head_size, int(token), head,
                        static_cast<CpuKvLayer&>(kv));
      }
    }
  };
  if (tokens() < pool_.threads())
    rotate_and_store(0, tokens(), 0);
  else
    pool_.split(tokens(), rotate_and_store);
}

void CpuKernels::rotate(float* head, int token, float scale) const {
  const int half = shape_.head_size / 2;
  const float* cosines = angles_.data() + int64_t(token) * shape_.head_size;
  const float* sines = cosines + half;
  for (int i = 0; i < half; i++) {
    const float first = head[i], second = head[half + i];
    head[i] = (first * cosines[i] - second * sines[i]) * scale;
    head[half + i] = (second * cosines[i] + first * sines[i]) * scale;
  }
}

void CpuKernels::store_key_value(const float* key, const float* value, int token, int head,
                                 const CpuKvLayer& kv) const {
  const TokenPlace& place = places_[token];
  const int slot = place.position % block_tokens;
  const int64_t index = int64_t(place.blocks[place.position / block_tokens]) * shape_.kv_heads + head;
  store_head(key, kv.keys, index * key_head_size() + slot, block_tokens, index * block_tokens + slot);
  store_head(value, kv.values, index * value_head_size() + slot * value_stride_, 1, index * block_tokens + slot);
}

// Its numbers stand `step` apart.
void CpuKernels::store_head(const float* head, const CpuCache& cache, int64_t first, int64_t step, int64_t scale) const {
  const int size = shape_.head_size;
  if (shape_.kv_cache == KvFormat::fp16) {
    for (int i = 0; i < size; i++) cache.numbers.as<uint16_t>()[first + i * step] = float_to_half_saturated(head[i]);
    return;
  }
  float largest = 0;
  for (int i = 0; i < size; i++) largest = std::max(largest, cached_magnitude(head[i]));
  const uint16_t power = cached_scale(largest);
  cache.scales.as<uint16_t>()[scale] = power;
  for (int i = 0; i < size; i++) cache.numbers.as<uint8_t>()[first + i * step] = cached_code(head[i], power);
}

void CpuKernels::place_qkv(const Vector& bias, Activations& qkv, KvLayer& kv) {
  const float query_scale = 1.0f / std::sqrt(float(shape_.head_size));
  const int queries = shape_.attention_columns(), size = shape_.head_size;
  each_token([&](int64_t token) {
    float* row = cpu(qkv).row(token);
    for (int i = 0; i < qkv.columns; i++) row[i] += cpu(bias)[i];
    for (int i = 0; i < queries; i++) row[i] *= query_scale;
    for (int head = 0; head < shape_.kv_heads; head++) {
      const float* key = row + queries + head * size;
      store_key_value(key, key + shape_.kv_heads * size, int(token), head, static_cast<CpuKvLayer&>(kv));
    }
  });
}

void CpuKernels::attention(const Activations& qkv, const KvLayer& kv, Activations& out) {
  pool_.each(int64_t(tiles_.size()) * shape_.kv_heads, [&](int64_t index, int thread) {
    bodies_.attention(attention_task(index, cpu(qkv), static_cast<const CpuKvLayer&>(kv), cpu(out)),
                      scratch_[thread].as<float>());
  });
}

CachedHead CpuKernels::cached_head(const CpuCache& cache, int kv_head, int64_t numbers) const {
  const bool is_fp8 = shape_.kv_cache == KvFormat::fp8;
  const int64_t first = kv_head * numbers;
  return {.halves = is_fp8 ? nullptr : cache.numbers.as<uint16_t>() + first,
          .codes = is_fp8 ? cache.numbers.as<uint8_t>() + first : nullptr,
          .scales = is_fp8 ? cache.scales.as<uint16_t>() + kv_head * block_tokens : nullptr,
          .block_stride = shape_.kv_heads * numbers,
          .scale_block_stride = shape_.kv_heads * block_tokens};
}

AttentionTask CpuKernels::attention_task(int64_t index, const CpuActivations& qkv, const CpuKvLayer& kv,
                                         const CpuActivations& out) const {
  const SequencePlace& tile = tiles_[index / shape_.kv_heads];
  const int kv_head = int(index % shape_.kv_heads);
  const int group = shape_.heads_a_kv_head();
  const int column = kv_head * group * shape_.head_size;
  AttentionTask task;
  task.q = qkv.row(tile.first_token) + column;
  task.q_stride = qkv.stride;
  task.tokens = tile.tokens;
  task.group = group;
  task.head_size = shape_.head_size;
  task.value_stride = value_stride_;
  task.first_position = tile.start;
  task.number_scale = shape_.kv_cache == KvFormat::fp8 ? fp8_as_half_scale : 1;
  task.blocks = tile.blocks;
  task.keys = cached_head(kv.keys, kv_head, key_head_size());
  task.values = cached_head(kv.values, kv_head, value_head_size());
  task.out = out.row(tile.first_token) + column;
  task.out_stride = out.stride;
  return task;
}

void CpuKernels::project(const Activations& in, const Matrix& weight, Activations& out) {
  matmul(in, weight, tokens(), out, Epilogue::store);
}

void CpuKernels::project_add(const Activations& in, const Matrix& weight, Activations& residual) {
  matmul(in, weight, tokens(), residual, Epilogue::add);
}

void CpuKernels::add_bias(const Vector& bias, Activations& out) {
  each_token([&](int64_t token) {
    float* row = cpu(out).row(token);
    for (int i = 0; i < bias.columns; i++) row[i] += cpu(bias)[i];
  });
}

void CpuKernels::gate_up_swiglu(const Activations& in, const Matrix& weight, Activations& out) {
  matmul(in, weight, tokens(), out, Epilogue::swiglu);
}

void CpuKernels::swiglu(const Activations& gate_up, const GateUpBias* bias, Activations& out) {
  const int padded = int(round_up(out.columns, bodies_.width));
  const float* gate_bias = bias ? cpu(bias->gate) : nullptr;
  const float* up_bias = bias ? cpu(bias->up) : nullptr;
  each_token([&](int64_t token) { bodies_.swiglu(cpu(gate_up).row(token), gate_bias, up_bias, padded, cpu(out).row(token)); });
}

void CpuKernels::add_adapters(const Activations& in, const AdapterProduct& product, Activations& out) {
  const auto shrunk = [&](const AdapterPiece& piece) {
    return shrunk_.data() + int64_t(piece.run.first_token) * adapter_ranks_max_ + piece.part.first_rank;
  };
  const auto shrink = [&](const AdapterPiece& piece) {
    const auto& [run, part, begin, end] = piece;
    bodies_.shrink({.x = cpu(in).row(run.first_token), .x_stride = cpu(in).stride, .tokens = run.tokens, .a = part.a.at(0),
                    .k = part.a.row_stride(), .scale = part.scale, .out = shrunk(piece), .out_stride = adapter_ranks_max_},
                   begin, end);
  };
  const auto expand = [&](const AdapterPiece& piece) {
    const auto& [run, part, begin, end] = piece;
    bodies_.expand({.x = shrunk(piece), .x_stride = adapter_ranks_max_, .tokens = run.tokens, .b = part.b.at(0),
                    .rank = part.a.outputs, .outputs = part.b.outputs, .out = cpu(out).row(run.first_token) + part.first_column,
                    .out_stride = cpu(out).stride, .panel_step = part.panel_step},
                   begin, end);
  };
  share_out(static_cast<const CpuAdapterProduct&>(product));
  if (int(whole_parts_.size()) < 2 * pool_.threads()) {
    each_piece(shrink_pieces_, shrink);
    each_piece(expand_pieces_, expand);
    return;
  }
  // There are enough for every thread, and none has to wait in the middle.
  each_piece(whole_parts_, [&](const AdapterPiece& piece) {
    const auto& [run, part, begin, end] = piece;
    shrink({run, part, 0, part.a.outputs});
    expand({run, part, 0, end});
  });
}

// Neighbouring pieces are one thread's: each is of some microseconds.
template <class Body>
void CpuKernels::each_piece(const std::vector<AdapterPiece>& pieces, const Body& body) {
  pool_.split(int64_t(pieces.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) body(pieces[i]);
  });
}

void CpuKernels::share_out(const CpuAdapterProduct& product) {
  constexpr int values_a_piece = 1 << 15;
  whole_parts_.clear();
  shrink_pieces_.clear();
  expand_pieces_.clear();
  for (const AdapterRun& run : adapter_runs_) {
    if (run.adapter >= int(product.of_adapters.size())) continue;
    for (const CpuAdapterPart& part : product.of_adapters[run.adapter]) {
      const int ranks = part.a.outputs, panels = int(round_up(part.b.outputs, bodies_.width)) / bodies_.width;
      whole_parts_.push_back({run, part, 0, panels});
      const int ranks_at_once = std::max(1, values_a_piece / part.a.inputs);
      const int panels_at_once = std::max(1, values_a_piece / (ranks * bodies_.width));
      for (int begin = 0; begin < ranks; begin += ranks_at_once)
        shrink_pieces_.push_back({run, part, begin, std::min(ranks, begin + ranks_at_once)});
      for (int begin = 0; begin < panels; begin += panels_at_once)
        expand_pieces_.push_back({run, part, begin, std::min(panels, begin + panels_at_once)});
    }
  }
}

void CpuKernels::gelu(const Activations& in, const Vector& bias, Activations& out) {
  const int padded = int(round_up(in.columns, bodies_.width));
  each_token([&](int64_t token) { bodies_.gelu(cpu(in).row(token), cpu(bias), padded, shape_.exact_gelu, cpu(out).row(token)); });
}

void CpuKernels::logits(const Activations& in, const Matrix& weight, int rows, Activations& out) {
  matmul(in, weight, rows, out, Epilogue::store);
}

void CpuKernels::sample(const Activations& logits, RowRange range) {
  pool_.each(range.count(), [&](int64_t i, int thread) {
    Drawn& drawn = drawn_[range.begin + i];
    try {
      drawn = samplers_[thread].draw(cpu(logits).row(i), sampling_row(batch_->rows[range.begin + i]));
    } catch (const std::bad_alloc&) {
      drawn = {};
      drawn.token = nothing_drawn;
    }
  });
}

SamplingRow CpuKernels::sampling_row(const Row& row) const {
  const auto history = of(history_, row.history);
  const size_t prompt_tokens = history.size() - size_t(row.output_tokens);
  return {.parameters = row,
          .prompt = history.first(prompt_tokens),
          .output = history.subspan(prompt_tokens),
          .bias_ids = of<int32_t>(batch_->bias_ids, row.bias),
          .bias_values = of<float>(batch_->bias_values, row.bias),
          .banned = of<int32_t>(batch_->banned_ids, row.banned),
          .mask = of<int32_t>(batch_->mask_words, row.mask)};
}

const Bodies& bodies_for(CpuIsa isa) {
#if defined(__x86_64__)
  if (isa == CpuIsa::avx512 || (isa == CpuIsa::automatic && cpu_supports(CpuIsa::avx512))) return avx512_bodies();
  if (isa == CpuIsa::avx2 || (isa == CpuIsa::automatic && cpu_supports(CpuIsa::avx2))) return avx2_bodies();
#endif
  return scalar_bodies();
}

}  // namespace

bool cpu_supports(CpuIsa isa) {
#if defined(__x86_64__)
  if (isa == CpuIsa::avx512) return __builtin_cpu_supports("avx512f");
  if (isa == CpuIsa::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  if (isa == CpuIsa::avx512 || isa == CpuIsa::avx2) return false;
#endif
  return true;
}

std::unique_ptr<Kernels> make_cpu_kernels(const ModelShape& shape, const StepLimits& limits, int threads, CpuIsa isa) {
  if (!cpu_supports(isa))
    throw EngineError("unsupported_device", "this CPU lacks the instruction set that was asked for");
  return std::make_unique<CpuKernels>(shape, limits, threads > 0 ? threads : physical_cores(), bodies_for(isa));
}

}  // namespace ziya
