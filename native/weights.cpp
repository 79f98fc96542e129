// Loading: a plan of (tensor, destination rows) is cut into slices; threads take slices, read them to where the device wants
// them, converted to fp16 with checks, and it packs them as it likes.
#include "weights.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "engine_error.h"
#include "half.h"

namespace ziya {
namespace {

constexpr int64_t slice_bytes = 8 << 20;
constexpr float half_round_limit = 65520.0f;  // from here on, rounding to fp16 gives infinity

// Where one tensor goes: rows of a matrix, or a vector.
struct Placement {
  Kernels* kernels;
  const TensorSource* source;
  Matrix* matrix = nullptr;
  int first_row = 0;
  Vector* vector = nullptr;
  int rows = 1;
  int columns = 0;
};

struct Slice {
  const Placement* placement;
  int row_begin, row_end;
};

int element_bytes(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

class Plan {
 public:
  Plan(const ModelShape& shape, const std::vector<TensorSource>& tensors, Weights& weights, const Devices& devices) {
    for (const auto& tensor : tensors) sources_[tensor.name] = &tensor;
    const std::string embedding = "model.embed_tokens.weight";
    kernels_ = &devices.first();
    place_matrix(embedding, *weights.embedding, 0, shape.vocab_size);
    for (int layer = 0; layer < shape.layers; layer++) {
      kernels_ = &devices.of_layer(layer);
      place_layer(shape, layer, weights.layers[layer]);
    }
    kernels_ = &devices.last();
    place_vector("model.norm.weight", *weights.final_norm);
    if (weights.head)
      place_matrix(shape.tied_embeddings ? embedding : "lm_head.weight", *weights.head, 0, shape.vocab_size);
  }

  std::vector<Slice> slices() const {
    std::vector<Slice> result;
    for (const auto& placement : placements_) {
      const int64_t row_bytes = int64_t(placement.columns) * element_bytes(placement.source->dtype);
      const int64_t multiple = Kernels::upload_row_multiple;
      const int step = int(std::max<int64_t>(1, slice_bytes / row_bytes / multiple) * multiple);
      for (int row = 0; row < placement.rows; row += step)
        result.push_back({&placement, row, std::min(placement.rows, row + step)});
    }
    return result;
  }

  uint64_t bytes_total() const {
    uint64_t total = 0;
    for (const auto& placement : placements_) total += placement.source->bytes;
    return total;
  }

 private:
  void place_layer(const ModelShape& shape, int layer, LayerWeights& to) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const int queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
    place_vector(prefix + "input_layernorm.weight", *to.attention_norm);
    place_matrix(prefix + "self_attn.q_proj.weight", *to.qkv, 0, queries);
    place_matrix(prefix + "self_attn.k_proj.weight", *to.qkv, queries, keys);
    place_matrix(prefix + "self_attn.v_proj.weight", *to.qkv, queries + keys, keys);
    place_matrix(prefix + "self_attn.o_proj.weight", *to.attention_out, 0, shape.hidden_size);
    place_vector(prefix + "post_attention_layernorm.weight", *to.mlp_norm);
    place_matrix(prefix + "mlp.gate_proj.weight", *to.gate_up, 0, shape.intermediate_size);
    place_matrix(prefix + "mlp.up_proj.weight", *to.gate_up, shape.intermediate_size, shape.intermediate_size);
    place_matrix(prefix + "mlp.down_proj.weight", *to.down, 0, shape.hidden_size);
  }

  void place_matrix(const std::string& name, Matrix& to, int first_row, int rows) {
    placements_.push_back({kernels_, source(name, {rows, to.inputs}), &to, first_row, nullptr, rows, to.inputs});
  }

  void place_vector(const std::string& name, Vector& to) {
    placements_.push_back({kernels_, source(name, {to.columns}), nullptr, 0, &to, 1, to.columns});
  }

  const TensorSource* source(const std::string& name, const std::vector<int64_t>& shape) const {
    const auto found = sources_.find(name);
    if (found == sources_.end()) throw EngineError("weights_missing_tensor", "the weights have no tensor " + name);
    const TensorSource& tensor = *found->second;
    if (tensor.shape != shape) throw EngineError("bad_shape", name + " does not have the shape that the model's needs");
    uint64_t bytes = element_bytes(tensor.dtype);  // each size is at most 2^24, and there are two
    for (const int64_t size : shape) bytes *= uint64_t(size);
    if (tensor.bytes != bytes) throw EngineError("bad_shape", name + " has other bytes than its shape and type need");
    return &tensor;
  }

  std::unordered_map<std::string, const TensorSource*> sources_;
  Kernels* kernels_ = nullptr;  // where what is placed goes
  std::vector<Placement> placements_;
};

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status = {};
    const bool is_open = descriptor_ >= 0 && fstat(descriptor_, &status) == 0;
    if (is_open && S_ISREG(status.st_mode)) {
      bytes_ = uint64_t(status.st_size);
      return;
    }
    const std::string reason = is_open ? "not a regular file" : std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw EngineError("weights_read", "cannot open " + path + ": " + reason);
  }
  File(const File&) = delete;
  ~File() { close(descriptor_); }

  void require(const TensorSource& tensor) const {
    if (tensor.offset > bytes_ || tensor.bytes > bytes_ - tensor.offset)
      throw EngineError("weights_out_of_range", tensor.name + " lies beyond the end of " + path_);
  }

  void read(uint64_t offset, uint64_t bytes, uint8_t* to) const {
    while (bytes > 0) {
      const ssize_t got = pread(descriptor_, to, bytes, off_t(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw EngineError("weights_read", "cannot read " + path_ + ": " + std::strerror(errno));
      if (got == 0) throw EngineError("weights_read", path_ + " ends before its tensors do");
      offset += uint64_t(got);
      to += got;
      bytes -= uint64_t(got);
    }
  }

 private:
  const std::string path_;
  const int descriptor_;
  uint64_t bytes_ = 0;
};

// A thread's buffers, reused from slice to slice.
class SliceLoader {
 public:
  explicit SliceLoader(const std::unordered_map<std::string, std::unique_ptr<File>>& files) : files_(files) {}

  // Returns the bytes read.
  uint64_t load(const Slice& slice) {
    const Placement& to = *slice.placement;
    const int rows = slice.row_end - slice.row_begin;
    if (to.vector != nullptr) {
      load_vector(slice);
    } else {
      to.kernels->upload_rows(*to.matrix, to.first_row + slice.row_begin, rows, [&](int begin, int count, uint16_t* fp16) {
        write_rows({slice.placement, slice.row_begin + begin, slice.row_begin + begin + count}, fp16);
      });
    }
    return uint64_t(rows) * to.columns * element_bytes(to.source->dtype);
  }

 private:
  void load_vector(const Slice& slice) {
    const Placement& to = *slice.placement;
    if (to.source->dtype == Dtype::f16) {
      halves_.resize(to.columns);
      read(slice, halves_.data());
      check_halves(slice, halves_);
      floats_.resize(to.columns);
      std::transform(halves_.begin(), halves_.end(), floats_.begin(), half_to_float);
    } else {
      read_floats(slice, to.columns);
    }
    check(slice, to.columns, 3.0e38f);
    to.kernels->upload(*to.vector, floats_.data());
  }

  // fp16 goes from the file straight to where the device takes it.
  void write_rows(const Slice& slice, uint16_t* fp16) {
    const Placement& to = *slice.placement;
    const int64_t count = int64_t(slice.row_end - slice.row_begin) * to.columns;
    if (to.source->dtype == Dtype::f16) {
      read(slice, fp16);
      return check_halves(slice, {fp16, size_t(count)});
    }
    read_floats(slice, count);
    check(slice, count, half_round_limit);
    for (int64_t i = 0; i < count; i++) fp16[i] = float_to_half(floats_[i]);
  }

  void read(const Slice& slice, void* to) const {
    const TensorSource& source = *slice.placement->source;
    const uint64_t row_bytes = uint64_t(slice.placement->columns) * element_bytes(source.dtype);
    files_.at(source.path)->read(source.offset + slice.row_begin * row_bytes, (slice.row_end - slice.row_begin) * row_bytes,
                                 static_cast<uint8_t*>(to));
  }

  // bf16 or fp32, into floats_.
  void read_floats(const Slice& slice, int64_t count) {
    floats_.resize(count);
    if (slice.placement->source->dtype == Dtype::f32) return read(slice, floats_.data());
    halves_.resize(count);
    read(slice, halves_.data());
    for (int64_t i = 0; i < count; i++) floats_[i] = bf16_to_float(halves_[i]);
  }

  static void check_halves(const Slice& slice, std::span<const uint16_t> halves) {
    const auto is_finite = [](uint16_t half) { return (half & half_exponent_mask) != half_exponent_mask; };
    bool finite = true;
    for (const uint16_t half : halves) finite &= is_finite(half);
    if (finite) return;
    const auto bad = std::find_if_not(halves.begin(), halves.end(), is_finite);
    throw EngineError("weights_not_finite", value_at(slice, bad - halves.begin()) + " is not finite");
  }

  void check(const Slice& slice, int64_t count, float limit) const {
    bool fits = true;
    for (int64_t i = 0; i < count; i++) fits &= std::abs(floats_[i]) < limit;
    if (fits) return;
    for (int64_t i = 0; i < count; i++) {
      if (!std::isfinite(floats_[i])) throw EngineError("weights_not_finite", value_at(slice, i) + " is not finite");
      if (std::abs(floats_[i]) >= limit)
        throw EngineError("weights_overflow", value_at(slice, i) + " is beyond the range of fp16");
    }
  }

  // "NAME[row, column]" of the slice's value `index`.
  static std::string value_at(const Slice& slice, int64_t index) {
    const Placement& to = *slice.placement;
    const std::string column = std::to_string(index % to.columns);
    if (to.vector != nullptr) return to.source->name + "[" + column + "]";
    return to.source->name + "[" + std::to_string(slice.row_begin + index / to.columns) + ", " + column + "]";
  }

  const std::unordered_map<std::string, std::unique_ptr<File>>& files_;
  std::vector<uint16_t> halves_;  // also bf16
  std::vector<float> floats_;
};

// Shared by the loading threads: the next slice, what is done, the first error.
class SliceQueue {
 public:
  SliceQueue(std::vector<Slice> slices, uint64_t bytes_total, const LoadProgress& progress)
      : slices_(std::move(slices)), bytes_total_(bytes_total), progress_(progress) {}

  void drain(SliceLoader loader) {
    try {
      for (size_t i = next_++; i < slices_.size() && !stopped_; i = next_++) {
        if (progress_.cancelled) throw EngineError("engine_closed", "the engine was closed while it loaded");
        add_done(loader.load(slices_[i]));
      }
    } catch (const EngineError& error) {
      fail(error);
    } catch (const std::bad_alloc&) {
      fail(EngineError("out_of_memory", "no memory for a slice of the weights"));
    }
  }

  void throw_error() const {
    if (error_) throw EngineError(*error_);
  }

 private:
  void add_done(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes_done_ += bytes;
    if (progress_.report) progress_.report(bytes_done_, bytes_total_);
  }

  void fail(const EngineError& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_.emplace(error);
    stopped_ = true;
  }

  const std::vector<Slice> slices_;
  const uint64_t bytes_total_;
  const LoadProgress& progress_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  uint64_t bytes_done_ = 0;
  std::optional<EngineError> error_;
};

}  // namespace

Weights allocate_weights(const ModelShape& shape, const Devices& devices) {
  const int hidden = shape.hidden_size;
  Weights weights;
  weights.embedding = devices.first().make_matrix(shape.vocab_size, hidden, MatrixLayout::plain);
  for (int i = 0; i < shape.layers; i++) {
    Kernels& kernels = devices.of_layer(i);
    LayerWeights layer;
    layer.attention_norm = kernels.make_vector(hidden);
    layer.qkv = kernels.make_matrix(shape.qkv_columns(), hidden, MatrixLayout::plain);
    layer.attention_out = kernels.make_matrix(hidden, shape.attention_columns(), MatrixLayout::plain);
    layer.mlp_norm = kernels.make_vector(hidden);
    layer.gate_up = kernels.make_matrix(2 * shape.intermediate_size, hidden, MatrixLayout::gate_up);
    layer.down = kernels.make_matrix(hidden, shape.intermediate_size, MatrixLayout::plain);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = devices.last().make_vector(hidden);
  if (!shape.tied_embeddings || &devices.first() != &devices.last())
    weights.head = devices.last().make_matrix(shape.vocab_size, hidden, MatrixLayout::plain);
  return weights;
}

int64_t parameter_count(const ModelShape& shape) {
  const int64_t hidden = shape.hidden_size;
  const int64_t layer =
      hidden * (2 + shape.qkv_columns() + shape.attention_columns() + 3 * int64_t(shape.intermediate_size));
  return hidden + layer * shape.layers + hidden * shape.vocab_size * (shape.tied_embeddings ? 1 : 2);
}

Weights load_weights(const ModelShape& shape, const std::vector<TensorSource>& tensors, int threads,
                     const LoadProgress& progress, const Devices& devices) {
  std::unordered_map<std::string, std::unique_ptr<File>> files;
  for (const auto& tensor : tensors) {
    if (!files.contains(tensor.path)) files.emplace(tensor.path, std::make_unique<File>(tensor.path));
    files.at(tensor.path)->require(tensor);
  }

  Weights weights = allocate_weights(shape, devices);
  const Plan plan(shape, tensors, weights, devices);
  SliceQueue queue(plan.slices(), plan.bytes_total(), progress);
  std::vector<std::thread> loaders;
  try {
    for (int i = 1; i < threads; i++) loaders.emplace_back([&] { queue.drain(SliceLoader(files)); });
  } catch (const std::system_error&) {
    // Fewer threads load more slowly.
  }
  queue.drain(SliceLoader(files));
  for (auto& loader : loaders) loader.join();
  queue.throw_error();
  return weights;
}

}  // namespace ziya
