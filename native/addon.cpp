// The engine for JavaScript: arrays in, promises out. Misuse rejects with a TypeError, a failing engine with an Error whose
// `code` is the EngineError's. One ThreadSafeFunction an engine carries every event of the engine's thread to
// JavaScript.
#include <napi.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine.h"
#include "addon_grammar.h"

namespace {

using ziya::EngineError;

// Reading arguments: each of these throws a Napi::TypeError that names the field.

Napi::TypeError wrong(const Napi::Value& value, const std::string& field, const char* wanted) {
  return Napi::TypeError::New(value.Env(), field + " must be " + wanted);
}

Napi::Object object_of(const Napi::Value& value, const std::string& field) {
  if (!value.IsObject()) throw wrong(value, field, "an object");
  return value.As<Napi::Object>();
}

double number_of(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsNumber()) throw wrong(object, field, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

// A whole number in [0, max].
double whole_of(const Napi::Object& object, const char* field, double max) {
  const double value = number_of(object, field);
  if (!(value >= 0 && value <= max) || value != std::floor(value))
    throw wrong(object, field, "a whole number in range");
  return value;
}

int int_of(const Napi::Object& object, const char* field) { return int(whole_of(object, field, 2147483647.0)); }

bool bool_of(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsBoolean()) throw wrong(object, field, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string string_of(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsString()) throw wrong(object, field, "a string");
  return value.As<Napi::String>().Utf8Value();
}

template <class T>
std::vector<T> array_of(const Napi::Object& object, const char* field, napi_typedarray_type type, const char* wanted) {
  const Napi::Value value = object.Get(field);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw wrong(object, field, wanted);
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  return std::vector<T>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<int32_t> ints_of(const Napi::Object& object, const char* field) {
  return array_of<int32_t>(object, field, napi_int32_array, "an Int32Array");
}

std::vector<float> floats_of(const Napi::Object& object, const char* field) {
  return array_of<float>(object, field, napi_float32_array, "a Float32Array");
}

// The table of rows as it lies in memory: bytes, so that one copy is all there is to it.
std::vector<ziya::Row> rows_of(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  const bool is_bytes = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
  if (!is_bytes || value.As<Napi::TypedArray>().ByteLength() % sizeof(ziya::Row) != 0)
    throw wrong(object, field, "a Uint8Array of whole rows");
  const auto bytes = value.As<Napi::Uint8Array>();
  std::vector<ziya::Row> rows(bytes.ByteLength() / sizeof(ziya::Row));
  if (!rows.empty()) std::memcpy(rows.data(), bytes.Data(), bytes.ByteLength());
  return rows;
}

ziya::ModelShape shape_of(const Napi::Object& object) {
  ziya::ModelShape shape;
  shape.vocab_size = int_of(object, "vocab_size");
  shape.hidden_size = int_of(object, "hidden_size");
  shape.intermediate_size = int_of(object, "intermediate_size");
  shape.layers = int_of(object, "layers");
  shape.heads = int_of(object, "heads");
  shape.kv_heads = int_of(object, "kv_heads");
  shape.head_size = int_of(object, "head_size");
  shape.context_tokens = int_of(object, "context_tokens");
  shape.rope_theta = number_of(object, "rope_theta");
  shape.rope_scaling_factor = number_of(object, "rope_scaling_factor");
  shape.rope_original_tokens = int_of(object, "rope_original_tokens");
  shape.rope_low_turns = number_of(object, "rope_low_turns");
  shape.rope_high_turns = number_of(object, "rope_high_turns");
  shape.rms_norm_eps = number_of(object, "rms_norm_eps");
  shape.layer_norm_eps = number_of(object, "layer_norm_eps");
  shape.exact_gelu = bool_of(object, "exact_gelu");
  shape.attention_bias = bool_of(object, "attention_bias");
  shape.mlp_bias = bool_of(object, "mlp_bias");
  shape.tied_embeddings = bool_of(object, "tied_embeddings");
  return shape;
}

ziya::Dtype dtype_of(const Napi::Object& object) {
  const std::string name = string_of(object, "dtype");
  if (name == "F16") return ziya::Dtype::f16;
  if (name == "BF16") return ziya::Dtype::bf16;
  if (name == "F32") return ziya::Dtype::f32;
  throw wrong(object, "dtype", "F16, BF16 or F32");
}

ziya::TensorSource tensor_of(const Napi::Object& object) {
  constexpr double whole_max = 9007199254740991.0;
  ziya::TensorSource tensor;
  tensor.slot = string_of(object, "slot");
  tensor.first_row = int_of(object, "first_row");
  tensor.name = string_of(object, "name");
  tensor.path = string_of(object, "path");
  tensor.dtype = dtype_of(object);
  tensor.offset = uint64_t(whole_of(object, "offset", whole_max));
  tensor.bytes = uint64_t(whole_of(object, "bytes", whole_max));
  const Napi::Value shape = object.Get("shape");
  if (!shape.IsArray()) throw wrong(object, "shape", "an array of numbers");
  const auto sizes = shape.As<Napi::Array>();
  for (uint32_t i = 0; i < sizes.Length(); i++) {
    const Napi::Value size = sizes.Get(i);
    if (!size.IsNumber()) throw wrong(object, "shape", "an array of numbers");
    tensor.shape.push_back(size.As<Napi::Number>().Int64Value());
  }
  return tensor;
}

// The objects of an array; each is read by a function.
template <class Read>
auto list_of(const Napi::Value& value, const char* field, const Read& read) {
  if (!value.IsArray()) throw wrong(value, field, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<decltype(read(Napi::Object()))> list;
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(read(object_of(array.Get(i), field)));
  return list;
}

ziya::AdapterPartShape adapter_part_of(const Napi::Object& object) {
  return {string_of(object, "slot"), int_of(object, "first_output"), int_of(object, "outputs"), int_of(object, "rank"),
          float(number_of(object, "scale"))};
}

ziya::ModelDescription::Adapter adapter_of(const Napi::Object& object) {
  return {list_of(object.Get("parts"), "parts", adapter_part_of), list_of(object.Get("tensors"), "tensors", tensor_of)};
}

// fp16 where it is not said.
template <class Format>
Format format_of(const Napi::Object& object, const char* field) {
  if (object.Get(field).IsUndefined()) return Format::fp16;
  const std::string name = string_of(object, field);
  if (name == "fp16") return Format::fp16;
  if (name == "fp8") return Format::fp8;
  throw wrong(object, field, "fp16 or fp8");
}

ziya::ModelDescription model_of(const Napi::Value& shape, const Napi::Value& tensors, const Napi::Value& options) {
  const Napi::Object object = object_of(shape, "shape");
  ziya::ModelDescription model = {string_of(object, "architecture"), shape_of(object), list_of(tensors, "tensors", tensor_of)};
  model.shape.weights = format_of<ziya::WeightFormat>(object_of(options, "options"), "weights");
  model.shape.kv_cache = format_of<ziya::KvFormat>(object_of(options, "options"), "kv_cache");
  const Napi::Value adapters = object_of(options, "options").Get("adapters");
  if (!adapters.IsUndefined()) model.adapters = list_of(adapters, "adapters", adapter_of);
  return model;
}

ziya::CpuIsa isa_of(const Napi::Object& object) {
  if (object.Get("isa").IsUndefined()) return ziya::CpuIsa::automatic;
  const std::string name = string_of(object, "isa");
  if (name == "auto") return ziya::CpuIsa::automatic;
  if (name == "avx512") return ziya::CpuIsa::avx512;
  if (name == "avx2") return ziya::CpuIsa::avx2;
  if (name == "scalar") return ziya::CpuIsa::scalar;
  throw wrong(object, "isa", "auto, avx512, avx2 or scalar");
}

ziya::EngineOptions options_of(const Napi::Value& value) {
  constexpr double threads_max = 1024;
  const Napi::Object object = object_of(value, "options");
  ziya::EngineOptions options;
  options.device = string_of(object, "device");
  if (options.device != "auto" && options.device != "cpu" && ziya::cuda_numbers(options.device).empty())
    throw wrong(object, "device", "auto, cpu, cuda:N or cuda:N,M,...");
  options.threads = int(whole_of(object, "threads", threads_max));
  options.isa = isa_of(object);
  if (!object.Get("tensor_parallel").IsUndefined()) options.tensor_parallel = int_of(object, "tensor_parallel");
  options.limits.blocks = int_of(object, "blocks");
  options.limits.batch_tokens_max = int_of(object, "batch_tokens_max");
  options.limits.sequences_max = int_of(object, "sequences_max");
  return options;
}

ziya::StepBatch batch_of(const Napi::Value& value) {
  const Napi::Object object = object_of(value, "batch");
  ziya::StepBatch batch;
  batch.tokens = ints_of(object, "tokens");
  batch.token_counts = ints_of(object, "token_counts");
  batch.starts = ints_of(object, "starts");
  batch.block_counts = ints_of(object, "block_counts");
  batch.block_tables = ints_of(object, "block_tables");
  batch.adapters = ints_of(object, "adapters");
  batch.rows = rows_of(object, "rows");
  batch.history = ints_of(object, "history");
  batch.bias_ids = ints_of(object, "bias_ids");
  batch.bias_values = floats_of(object, "bias_values");
  batch.banned_ids = ints_of(object, "banned_ids");
  batch.mask_words = ints_of(object, "mask_words");
  batch.want_logits = bool_of(object, "want_logits");
  return batch;
}

Napi::Value error_value(Napi::Env env, const EngineError& error) {
  Napi::Object value = Napi::Error::New(env, error.what()).Value();
  value.Set("code", error.code);
  return value;
}

template <class Array, class T>
Array array_value(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Object result_value(Napi::Env env, const ziya::StepResult& result, bool want_logits) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokens", array_value<Napi::Int32Array>(env, result.tokens));
  object.Set("logprobs", array_value<Napi::Float32Array>(env, result.logprobs));
  object.Set("top_ids", array_value<Napi::Int32Array>(env, result.top_ids));
  object.Set("top_logprobs", array_value<Napi::Float32Array>(env, result.top_logprobs));
  object.Set("logits", want_logits ? array_value<Napi::Float32Array>(env, result.logits) : env.Null());
  object.Set("seconds", result.seconds);
  return object;
}

struct Constant {
  const char* name;
  double value;
};

constexpr Constant constants[] = {{"block_tokens", ziya::block_tokens},
                                  {"alternatives_max", ziya::top_logprobs_max},
                                  {"unfinished_steps_max", ziya::unfinished_steps_max},
                                  {"dimension_max", ziya::dimension_max},
                                  {"layers_max", ziya::layers_max},
                                  {"heads_max", ziya::heads_max},
                                  {"head_size_max", ziya::head_size_max},
                                  {"adapter_rank_max", ziya::adapter_rank_max},
                                  {"adapters_max", ziya::adapters_max}};

// Each field stands so many bytes behind the beginning of its row.
constexpr Constant row_layout[] = {{"bytes", sizeof(ziya::Row)},
                                   {"seed", offsetof(ziya::Row, seed)},
                                   {"token", offsetof(ziya::Row, token)},
                                   {"counter", offsetof(ziya::Row, counter)},
                                   {"temperature", offsetof(ziya::Row, temperature)},
                                   {"top_p", offsetof(ziya::Row, top_p)},
                                   {"min_p", offsetof(ziya::Row, min_p)},
                                   {"repetition_penalty", offsetof(ziya::Row, repetition_penalty)},
                                   {"frequency_penalty", offsetof(ziya::Row, frequency_penalty)},
                                   {"presence_penalty", offsetof(ziya::Row, presence_penalty)},
                                   {"top_k", offsetof(ziya::Row, top_k)},
                                   {"logprobs", offsetof(ziya::Row, logprobs)},
                                   {"output_tokens", offsetof(ziya::Row, output_tokens)},
                                   {"history", offsetof(ziya::Row, history)},
                                   {"bias", offsetof(ziya::Row, bias)},
                                   {"banned", offsetof(ziya::Row, banned)},
                                   {"mask", offsetof(ziya::Row, mask)},
                                   {"scored", offsetof(ziya::Row, scored)}};

Napi::Object object_value(Napi::Env env, std::span<const Constant> fields) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, value] : fields) object.Set(name, value);
  return object;
}

// TypeScript counts on these: it has the same numbers itself, and refuses an addon that has others.
Napi::Object constants_value(Napi::Env env) {
  Napi::Object object = object_value(env, constants);
  object.Set("row", object_value(env, row_layout));
  return object;
}

// Something to do on the JavaScript thread.
using Task = std::function<void(Napi::Env)>;

// An engine and its way back to JavaScript. Lives on the JavaScript thread, kept by its NativeEngine and, while
// anything is under way, by itself.
class Host : public std::enable_shared_from_this<Host> {
 public:
  Host(Napi::Env env, Napi::Function on_progress, Napi::Promise::Deferred loaded);
  ~Host() { stop(); }

  void load(ziya::ModelDescription model, const ziya::EngineOptions& options);
  void step(ziya::StepBatch batch, Napi::Promise::Deferred stepped);
  void close(Napi::Promise::Deferred closed);
  const ziya::EngineInfo& info() const { return info_; }

 private:
  void post(std::function<void(Host&, Napi::Env)> task);
  void report(uint64_t bytes_done, uint64_t bytes_total);
  void settle_load(Napi::Env env, const ziya::Engine::Error& error);
  void settle_close(Napi::Env env);
  void hold();
  void let_go();
  void stop();
  static void run_task(napi_env env, napi_value, void*, void* task);
  static void on_teardown(void* host);

  const napi_env env_;
  napi_threadsafe_function to_javascript_ = nullptr;
  Napi::FunctionReference on_progress_;
  Napi::Promise::Deferred loaded_;
  std::vector<Napi::Promise::Deferred> closed_;
  std::unique_ptr<ziya::Engine> engine_;  // null once stopped
  ziya::EngineInfo info_;
  std::shared_ptr<Host> self_;  // while held_ > 0
  int held_ = 0;                // promises that wait; they keep the event loop alive
  std::chrono::steady_clock::time_point reported_{};
};

class NativeEngine : public Napi::ObjectWrap<NativeEngine> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit NativeEngine(const Napi::CallbackInfo& info);

 private:
  static Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value info(const Napi::CallbackInfo& info);

  std::shared_ptr<Host> host_;
};

// Each environment has one: the main thread's, and every worker's.
struct AddonState {
  Napi::FunctionReference constructor;
  std::shared_ptr<Host> newborn;  // what the constructor wraps; none when JavaScript calls it
};

void require_ok(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env, "the environment takes no more calls");
}

Host::Host(Napi::Env env, Napi::Function on_progress, Napi::Promise::Deferred loaded)
    : env_(env), on_progress_(Napi::Persistent(on_progress)), loaded_(loaded) {
  const Napi::String name = Napi::String::New(env, "ziya engine");
  require_ok(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                                  run_task, &to_javascript_));
  napi_unref_threadsafe_function(env_, to_javascript_);
  // Teardown runs hooks newest first: this one joins the engine's thread while that thread's function still takes
  // calls.
  napi_add_env_cleanup_hook(env_, on_teardown, this);
}

void Host::load(ziya::ModelDescription model, const ziya::EngineOptions& options) {
  hold();
  ziya::Engine::Events events;
  events.on_progress = [this](uint64_t done, uint64_t total) { report(done, total); };
  events.on_loaded = [this](const ziya::Engine::Error& error) {
    post([error](Host& host, Napi::Env env) { host.settle_load(env, error); });
  };
  events.on_closed = [this] { post([](Host& host, Napi::Env env) { host.settle_close(env); }); };
  try {
    engine_ = std::make_unique<ziya::Engine>(std::move(model), options, std::move(events));
  } catch (const EngineError& error) {
    loaded_.Reject(error_value(env_, error));
    let_go();
  }
}

void Host::step(ziya::StepBatch batch, Napi::Promise::Deferred stepped) {
  const bool want_logits = batch.want_logits;
  const auto on_step = [this, want_logits, stepped](ziya::StepResult result, const ziya::Engine::Error& error) {
    const auto shared = std::make_shared<ziya::StepResult>(std::move(result));
    post([=](Host& host, Napi::Env env) {
      if (error)
        stepped.Reject(error_value(env, *error));
      else
        stepped.Resolve(result_value(env, *shared, want_logits));
      host.let_go();
    });
  };
  try {
    if (!engine_) throw EngineError("engine_closed", "the engine is closed");
    engine_->submit(std::move(batch), on_step);
    hold();
  } catch (const EngineError& error) {
    stepped.Reject(error_value(env_, error));
  }
}

void Host::close(Napi::Promise::Deferred closed) {
  if (!engine_) return closed.Resolve(Napi::Env(env_).Undefined());
  closed_.push_back(closed);
  hold();
  engine_->close();
}

// The engine's thread calls this, and the destructor joins that thread: `this` is valid, but perhaps nobody's any more.
void Host::post(std::function<void(Host&, Napi::Env)> task) {
  auto* posted = new Task([weak = weak_from_this(), task = std::move(task)](Napi::Env env) {
    if (const auto host = weak.lock()) task(*host, env);
  });
  if (napi_call_threadsafe_function(to_javascript_, posted, napi_tsfn_nonblocking) != napi_ok) delete posted;
}

void Host::run_task(napi_env env, napi_value, void*, void* task) {
  const std::unique_ptr<Task> owned(static_cast<Task*>(task));
  if (env == nullptr) return;  // teardown empties the queue
  try {
    (*owned)(env);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
}

void Host::report(uint64_t bytes_done, uint64_t bytes_total) {
  constexpr std::chrono::milliseconds interval(50);
  const auto now = std::chrono::steady_clock::now();
  if (now - reported_ < interval && bytes_done < bytes_total) return;
  reported_ = now;
  post([=](Host& host, Napi::Env env) {
    host.on_progress_.Call({Napi::Number::New(env, double(bytes_done)), Napi::Number::New(env, double(bytes_total))});
  });
}

void Host::settle_load(Napi::Env env, const ziya::Engine::Error& error) {
  on_progress_.Reset();
  if (error) {
    loaded_.Reject(error_value(env, *error));
  } else {
    info_ = engine_->info();
    auto* state = env.GetInstanceData<AddonState>();
    state->newborn = shared_from_this();
    loaded_.Resolve(state->constructor.New({}));
  }
  let_go();
}

void Host::settle_close(Napi::Env env) {
  stop();
  for (const auto& closed : closed_) {
    closed.Resolve(env.Undefined());
    let_go();
  }
  closed_.clear();
}

void Host::hold() {
  if (held_++ > 0) return;
  self_ = shared_from_this();
  napi_ref_threadsafe_function(env_, to_javascript_);
}

// Callers have a reference of their own.
void Host::let_go() {
  if (--held_ > 0) return;
  if (to_javascript_ != nullptr) napi_unref_threadsafe_function(env_, to_javascript_);
  self_.reset();
}

void Host::stop() {
  engine_.reset();
  if (to_javascript_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, on_teardown, this);
  napi_release_threadsafe_function(to_javascript_, napi_tsfn_release);
  to_javascript_ = nullptr;
}

// The environment itself frees the function and forgets the hook.
void Host::on_teardown(void* data) {
  Host& host = *static_cast<Host*>(data);
  const auto keep = host.shared_from_this();
  host.engine_.reset();
  host.to_javascript_ = nullptr;
  host.self_.reset();
}

// A promise that body settles, or that is rejected with what body throws.
template <class Body>
Napi::Value promised(Napi::Env env, const Body& body) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  try {
    body(deferred);
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  }
  return deferred.Promise();
}

Napi::Function NativeEngine::define(Napi::Env env) {
  return DefineClass(
      env, "NativeEngine",
      {StaticMethod("load", &NativeEngine::load), InstanceMethod("step", &NativeEngine::step),
       InstanceMethod("close", &NativeEngine::close), InstanceAccessor("info", &NativeEngine::info, nullptr)});
}

NativeEngine::NativeEngine(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<NativeEngine>(info), host_(std::move(info.Env().GetInstanceData<AddonState>()->newborn)) {
  if (!host_) throw Napi::TypeError::New(info.Env(), "an engine comes from NativeEngine.load");
}

Napi::Value NativeEngine::load(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const Napi::Promise::Deferred& deferred) {
    ziya::ModelDescription model = model_of(info[0], info[1], info[2]);
    const ziya::EngineOptions options = options_of(info[2]);
    if (!info[3].IsFunction()) throw wrong(info[3], "on_progress", "a function");
    const auto host = std::make_shared<Host>(info.Env(), info[3].As<Napi::Function>(), deferred);
    host->load(std::move(model), options);
  });
}

Napi::Value NativeEngine::step(const Napi::CallbackInfo& info) {
  return promised(info.Env(),
                  [&](const Napi::Promise::Deferred& deferred) { host_->step(batch_of(info[0]), deferred); });
}

Napi::Value NativeEngine::close(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const Napi::Promise::Deferred& deferred) { host_->close(deferred); });
}

Napi::Value NativeEngine::info(const Napi::CallbackInfo& info) {
  const ziya::EngineInfo& known = host_->info();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("device", known.device);
  object.Set("arithmetic", known.arithmetic);
  object.Set("weights_digest", known.weights_digest);
  Napi::Array digests = Napi::Array::New(info.Env());
  for (const std::string& digest : known.adapter_digests) digests.Set(digests.Length(), digest);
  object.Set("adapter_digests", digests);
  object.Set("weight_bytes", double(known.weight_bytes));
  object.Set("kv_bytes", double(known.kv_bytes));
  object.Set("parameters", double(known.parameters));
  object.Set("blocks", known.blocks);
  return object;
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* state = new AddonState;
  env.SetInstanceData(state);
  const Napi::Function constructor = NativeEngine::define(env);
  state->constructor = Napi::Persistent(constructor);
  exports.Set("NativeEngine", constructor);
  exports.Set("constants", constants_value(env));
  ziya::export_grammar(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(ziya, initialize)
