// The engine knows no more of a model than this: it has weights, which are loaded once, and computes steps. An architecture is
// a name that TypeScript says, the shapes it can have, and how a model of it is made.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "devices.h"
#include "engine_error.h"
#include "weights.h"

namespace ziya {

// What an adapter has for some outputs of one of the model's matrices: slots SLOT.FIRST_OUTPUT.a (rank, inputs) and .b (outputs, rank).
struct AdapterPartShape {
  std::string slot;
  int first_output, outputs, rank;
  float scale;
};
using AdapterShape = std::vector<AdapterPartShape>;

class Model {
 public:
  virtual ~Model() = default;

  // Whoever made the model fills these slots before its first step.
  virtual const Weights& weights() const = 0;
  virtual int64_t kv_bytes() const = 0;

  // Takes adapters, each with its number as its place, before the first step. Throws EngineError bad_shape where one does not fit.
  virtual void add_adapters(const std::vector<AdapterShape>& adapters) {
    if (!adapters.empty()) throw EngineError("bad_shape", "adapters: this model takes none");
  }
  // Of each adapter; filled as the model's own are.
  virtual std::span<const Weights> adapter_weights() const { return {}; }

  // A step in two halves, so that one is enqueued behind another that was not finished yet, whose tokens it may refer to. The
  // oldest is finished first, perhaps by another thread; no more than unfinished_steps_max are begun. The batch is already
  // checked. `cancelled` is looked at between layers; a cancelled step throws engine_closed.
  virtual StepResult begin(const StepBatch& batch, const std::atomic<bool>& cancelled) = 0;
  virtual void finish(StepResult& result) = 0;
  // Says whether there is anything to wait for between the two.
  virtual bool is_asynchronous() const = 0;

  StepResult step(const StepBatch& batch, const std::atomic<bool>& cancelled) {
    StepResult result = begin(batch, cancelled);
    finish(result);
    return result;
  }
};

struct Architecture {
  std::string_view name;
  // Throws EngineError bad_shape, naming the field, where a model cannot have this shape. What holds of every shape was checked.
  void (*check)(const ModelShape& shape);
  std::unique_ptr<Model> (*make)(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
};

inline void require_shape(bool holds, const char* field) {
  if (!holds) throw EngineError("bad_shape", std::string(field) + " is out of range");
}

}  // namespace ziya
