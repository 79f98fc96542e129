// Loading: a plan of (tensor, rows of a slot) is cut into slices; threads take slices, read them to where the device wants
// them, converted to fp16 with checks, and it packs them as it likes.
#include "weights.h"

#include <fcntl.h>
#include <sys/mman.h>
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
#include <unordered_set>

#include "engine_error.h"
#include "half.h"

namespace ziya {
namespace {

constexpr int64_t slice_bytes = 8 << 20;
constexpr float half_round_limit = 65520.0f;  // from here on, rounding to fp16 gives infinity

// One tensor, and the slot that it is some rows of.
struct Placement {
  const WeightSlot& slot;
  const TensorSource& source;
  int first_row, rows;
  bool is_copy;  // another device has the same
};

struct Slice {
  const Placement* placement;
  int row_begin, row_end;
};

int element_bytes(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

class Plan {
 public:
  Plan(const Weights& weights, const std::vector<TensorSource>& tensors) {
    for (const auto& tensor : tensors) by_slot_[tensor.slot].push_back(&tensor);
    for (auto& [slot, sources] : by_slot_)
      std::stable_sort(sources.begin(), sources.end(), [](auto* a, auto* b) { return a->first_row < b->first_row; });
    std::unordered_set<std::string> names;
    for (const WeightSlot& slot : weights.slots()) place(slot, !names.insert(slot.name).second);
    refuse_unknown(weights);
  }

  std::vector<Slice> slices() const {
    std::vector<Slice> result;
    for (const auto& placement : placements_) {
      const int64_t row_bytes = int64_t(placement.slot.columns()) * element_bytes(placement.source.dtype);
      const int64_t multiple = Kernels::upload_row_multiple;
      const int step = int(std::max<int64_t>(1, slice_bytes / row_bytes / multiple) * multiple);
      for (int row = 0; row < placement.rows; row += step)
        result.push_back({&placement, row, std::min(placement.rows, row + step)});
    }
    return result;
  }

  uint64_t bytes_total() const {
    uint64_t total = 0;
    for (const auto& placement : placements_) total += placement.source.bytes;
    return total;
  }

 private:
  // Each of the slot's rows comes from one tensor.
  void place(const WeightSlot& slot, bool is_copy) {
    int placed = 0;
    for (const TensorSource* tensor : by_slot_[slot.name]) {
      const int rows = checked_rows(slot, *tensor);
      if (tensor->first_row > placed) break;
      require_shape(tensor->first_row == placed, *tensor, "is of rows that another tensor is of, too");
      placements_.push_back({slot, *tensor, placed, rows, is_copy});
      placed += rows;
    }
    if (placed < slot.rows()) throw EngineError("weights_missing_tensor", "the weights have no tensor for " + slot.name);
  }

  static int checked_rows(const WeightSlot& slot, const TensorSource& tensor) {
    const bool is_matrix = slot.matrix != nullptr;
    require_shape(tensor.shape.size() == (is_matrix ? 2 : 1) && (!is_matrix || tensor.shape.back() == slot.columns()), tensor,
                  "does not have the shape that the model's needs");
    const int64_t rows = tensor.shape.front();
    require_shape(rows >= 1 && rows <= slot.rows() && tensor.first_row >= 0 && tensor.first_row <= slot.rows() - rows, tensor,
                  "does not have the shape that the model's needs");
    // Rows and columns are at most dimension_max.
    require_shape(tensor.bytes == uint64_t(rows) * uint64_t(slot.columns()) * uint64_t(element_bytes(tensor.dtype)), tensor,
                  "has other bytes than its shape and type need");
    return int(rows);
  }

  static void require_shape(bool holds, const TensorSource& tensor, const char* what) {
    if (!holds) throw EngineError("bad_shape", tensor.name + " " + what);
  }

  void refuse_unknown(const Weights& weights) {
    for (const WeightSlot& slot : weights.slots()) by_slot_.erase(slot.name);
    for (const auto& [slot, sources] : by_slot_)
      throw EngineError("weights_unknown_tensor", sources.front()->name + " is for " + slot + ", which the model does not have");
  }

  std::unordered_map<std::string, std::vector<const TensorSource*>> by_slot_;
  std::vector<Placement> placements_;
};

// Sums of these are the same in any order: each says where its row belongs.
class RowDigest {
 public:
  RowDigest(const std::string& slot, int64_t row) : digest_(mixed(std::hash<std::string>()(slot) ^ mixed(uint64_t(row) + 1))) {}

  // Four words a round, so that one product need not wait for the other.
  uint64_t of(const void* values, size_t bytes) {
    const auto* from = static_cast<const uint8_t*>(values);
    uint64_t lanes[4] = {digest_, ~digest_, digest_ + odd, digest_ - odd};
    for (; bytes >= sizeof lanes; bytes -= sizeof lanes, from += sizeof lanes) {
      uint64_t words[4];
      std::memcpy(words, from, sizeof words);
      for (int i = 0; i < 4; i++) lanes[i] = std::rotl((lanes[i] ^ words[i]) * odd, 29);
    }
    uint64_t last[4] = {};
    std::memcpy(last, from, bytes);
    uint64_t result = bytes;
    for (int i = 0; i < 4; i++) result = mixed(result ^ mixed(lanes[i] ^ last[i]));
    return result;
  }

 private:
  static constexpr uint64_t odd = 0x9e3779b97f4a7c15;
  static uint64_t mixed(uint64_t value) {
    value = (value ^ value >> 32) * odd;
    value = (value ^ value >> 29) * odd;
    return value ^ value >> 32;
  }

  const uint64_t digest_;
};

// Which pages of a part of a file the page cache has.
class CachedPages {
 public:
  CachedPages(int descriptor, uint64_t offset, uint64_t bytes) : descriptor_(descriptor), page_(uint64_t(sysconf(_SC_PAGESIZE))) {
    begin_ = offset / page_ * page_;
    const uint64_t length = offset + bytes - begin_;
    void* mapped = mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, off_t(begin_));
    if (mapped == MAP_FAILED) return;
    is_cached_.resize((length + page_ - 1) / page_);
    if (mincore(mapped, length, is_cached_.data()) != 0) is_cached_.clear();
    munmap(mapped, length);
  }

  void drop_others() const {
    for (size_t i = 0; i < is_cached_.size(); i++) {
      size_t end = i;
      while (end < is_cached_.size() && !(is_cached_[end] & 1)) end++;
      if (end > i) posix_fadvise(descriptor_, off_t(begin_ + i * page_), off_t((end - i) * page_), POSIX_FADV_DONTNEED);
      i = end;
    }
  }

 private:
  const int descriptor_;
  const uint64_t page_;
  uint64_t begin_;
  std::vector<unsigned char> is_cached_;  // the lowest bit of each; empty where it cannot be known
};

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status = {};
    const bool is_open = descriptor_ >= 0 && fstat(descriptor_, &status) == 0;
    if (is_open && S_ISREG(status.st_mode)) {
      bytes_ = uint64_t(status.st_size);
      posix_fadvise(descriptor_, 0, 0, POSIX_FADV_RANDOM);  // what is read ahead of a slice would be taken for cached before
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

  // What was not in the page cache is not left there: a model is read once, and pushes out what others read again and again.
  void read(uint64_t offset, uint64_t bytes, uint8_t* to) const {
    const CachedPages before(descriptor_, offset, bytes);
    read_all(offset, bytes, to);
    before.drop_others();
  }

 private:
  void read_all(uint64_t offset, uint64_t bytes, uint8_t* to) const {
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

  const std::string path_;
  const int descriptor_;
  uint64_t bytes_ = 0;
};

// A thread's buffers, reused from slice to slice.
class SliceLoader {
 public:
  explicit SliceLoader(const std::unordered_map<std::string, std::unique_ptr<File>>& files) : files_(files) {}

  struct Loaded {
    uint64_t bytes, digest;
  };

  Loaded load(const Slice& slice) {
    const Placement& from = *slice.placement;
    const WeightSlot& to = from.slot;
    const int rows = slice.row_end - slice.row_begin;
    digest_ = 0;
    if (to.vector != nullptr) {
      load_vector(slice);
    } else {
      to.kernels.upload_rows(*to.matrix, from.first_row + slice.row_begin, rows, [&](int begin, int count, uint16_t* fp16) {
        write_rows({slice.placement, slice.row_begin + begin, slice.row_begin + begin + count}, fp16);
      });
    }
    return {uint64_t(rows) * to.columns() * element_bytes(from.source.dtype), from.is_copy ? 0 : digest_};
  }

 private:
  void load_vector(const Slice& slice) {
    const WeightSlot& to = slice.placement->slot;
    const int first = slice.placement->first_row + slice.row_begin, count = slice.row_end - slice.row_begin;
    if (slice.placement->source.dtype == Dtype::f16) {
      halves_.resize(count);
      read(slice, halves_.data());
      check_halves(slice, halves_);
      floats_.resize(count);
      std::transform(halves_.begin(), halves_.end(), floats_.begin(), half_to_float);
    } else {
      read_floats(slice, count);
    }
    check(slice, count, 3.0e38f);
    digest_ += RowDigest(to.name, first).of(floats_.data(), floats_.size() * sizeof(float));
    to.kernels.upload(*to.vector, first, count, floats_.data());
  }

  // fp16 goes from the file straight to where the device takes it.
  void write_rows(const Slice& slice, uint16_t* fp16) {
    const int64_t count = int64_t(slice.row_end - slice.row_begin) * slice.placement->slot.columns();
    if (slice.placement->source.dtype == Dtype::f16) {
      read(slice, fp16);
      check_halves(slice, {fp16, size_t(count)});
    } else {
      read_floats(slice, count);
      check(slice, count, half_round_limit);
      for (int64_t i = 0; i < count; i++) fp16[i] = float_to_half(floats_[i]);
    }
    add_digests(slice, fp16);
  }

  void add_digests(const Slice& slice, const uint16_t* fp16) {
    const auto& [slot, source, first_row, rows, is_copy] = *slice.placement;
    if (is_copy) return;
    // These halves and no others give these codes.
    const std::string name = slot.matrix->format == WeightFormat::fp8 ? slot.name + ", fp8" : slot.name;
    for (int row = slice.row_begin; row < slice.row_end; row++, fp16 += slot.columns())
      digest_ += RowDigest(name, first_row + row).of(fp16, size_t(slot.columns()) * sizeof(uint16_t));
  }

  void read(const Slice& slice, void* to) const {
    const TensorSource& source = slice.placement->source;
    const uint64_t row_bytes = uint64_t(slice.placement->slot.columns()) * element_bytes(source.dtype);
    files_.at(source.path)->read(source.offset + slice.row_begin * row_bytes, (slice.row_end - slice.row_begin) * row_bytes,
                                 static_cast<uint8_t*>(to));
  }

  // bf16 or fp32, into floats_.
  void read_floats(const Slice& slice, int64_t count) {
    floats_.resize(count);
    if (slice.placement->source.dtype == Dtype::f32) return read(slice, floats_.data());
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
    const auto& [slot, source, first_row, rows, is_copy] = *slice.placement;
    const std::string row = std::to_string(slice.row_begin + index / slot.columns());
    if (slot.vector != nullptr) return source.name + "[" + row + "]";
    return source.name + "[" + row + ", " + std::to_string(index % slot.columns()) + "]";
  }

  const std::unordered_map<std::string, std::unique_ptr<File>>& files_;
  std::vector<uint16_t> halves_;  // also bf16
  std::vector<float> floats_;
  uint64_t digest_ = 0;  // of the slice
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
        add(loader.load(slices_[i]));
      }
    } catch (const EngineError& error) {
      fail(error);
    } catch (const std::bad_alloc&) {
      fail(EngineError("out_of_memory", "no memory for a slice of the weights"));
    }
  }

  // Of all that was loaded, once every thread is done. Throws the first error.
  uint64_t digest() const {
    if (error_) throw EngineError(*error_);
    return digest_;
  }

 private:
  void add(SliceLoader::Loaded loaded) {
    const std::lock_guard lock(mutex_);
    bytes_done_ += loaded.bytes;
    digest_ += loaded.digest;
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
  uint64_t digest_ = 0;
  std::optional<EngineError> error_;
};

}  // namespace

Matrix& Weights::add_matrix(const std::string& name, Kernels& kernels, int outputs, int inputs, MatrixLayout layout, WeightFormat format,
                            Share share) {
  const int64_t before = kernels.allocated_bytes();
  slots_.push_back({name, kernels, kernels.make_matrix(outputs, inputs, layout, format, share), nullptr});
  bytes_ += kernels.allocated_bytes() - before;
  return *slots_.back().matrix;
}

Vector& Weights::add_vector(const std::string& name, Kernels& kernels, int columns, Share share) {
  const int64_t before = kernels.allocated_bytes();
  slots_.push_back({name, kernels, nullptr, kernels.make_vector(columns, share)});
  bytes_ += kernels.allocated_bytes() - before;
  return *slots_.back().vector;
}

std::pair<Matrix&, Matrix&> Weights::add_adapter(const std::string& name, const WeightSlot& changed, int first_output, int outputs, int rank) {
  Kernels& kernels = changed.kernels;
  const int64_t before = kernels.allocated_bytes();
  auto [a, b] = kernels.make_adapter_matrices(*changed.matrix, first_output, outputs, rank);
  bytes_ += kernels.allocated_bytes() - before;
  slots_.push_back({name + ".a", kernels, std::move(a), nullptr});
  slots_.push_back({name + ".b", kernels, std::move(b), nullptr});
  return {*slots_[slots_.size() - 2].matrix, *slots_.back().matrix};
}

int64_t parameter_count(const std::vector<TensorSource>& tensors) {
  uint64_t count = 0;
  for (const auto& tensor : tensors) count += tensor.bytes / uint64_t(element_bytes(tensor.dtype));
  return int64_t(count);
}

uint64_t load_weights(const Weights& weights, const std::vector<TensorSource>& tensors, int threads, const LoadProgress& progress) {
  std::unordered_map<std::string, std::unique_ptr<File>> files;
  for (const auto& tensor : tensors) {
    if (!files.contains(tensor.path)) files.emplace(tensor.path, std::make_unique<File>(tensor.path));
    files.at(tensor.path)->require(tensor);
  }

  const Plan plan(weights, tensors);
  SliceQueue queue(plan.slices(), plan.bytes_total(), progress);
  std::vector<std::thread> loaders;
  try {
    for (int i = 1; i < threads; i++) loaders.emplace_back([&] { queue.drain(SliceLoader(files)); });
  } catch (const std::system_error&) {
    // Fewer threads load more slowly.
  }
  queue.drain(SliceLoader(files));
  for (auto& loader : loaders) loader.join();
  return queue.digest();
}

}  // namespace ziya
