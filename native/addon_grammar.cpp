// Misuse throws a TypeError. A state is a number; dead is -1.
#include "addon_grammar.h"

#include <algorithm>

#include "engine_error.h"
#include "grammar/grammar.h"

namespace ziya {
namespace {

constexpr napi_type_tag vocabulary_tag = {0x8d9f3ad5d4c84c1e, 0xa1b07f52f0a94e63};

Napi::TypeError wrong(Napi::Env env, const char* field, const char* wanted) {
  return Napi::TypeError::New(env, std::string(field) + " must be " + wanted);
}

template <class T>
std::span<T> array_of(const Napi::Value& value, napi_typedarray_type type, const char* field, const char* wanted) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) throw wrong(value.Env(), field, wanted);
  auto array = value.As<Napi::TypedArrayOf<T>>();
  return std::span<T>(array.Data(), array.ElementLength());
}

std::span<int32_t> ints_of(const Napi::Value& value, const char* field) {
  return array_of<int32_t>(value, napi_int32_array, field, "an Int32Array");
}

int32_t int_of(const Napi::Value& value, const char* field, int64_t end) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number < double(end)) || number != double(int32_t(number)))
    throw wrong(value.Env(), field, "a whole number in range");
  return int32_t(number);
}

// Makes what JavaScript asked for; what the arguments do not allow is a TypeError.
template <class T, class... Arguments>
std::unique_ptr<T> made(Napi::Env env, Arguments... arguments) {
  try {
    return std::make_unique<T>(arguments...);
  } catch (const EngineError& error) {
    throw Napi::TypeError::New(env, error.what());
  }
}

class NativeVocabulary : public Napi::ObjectWrap<NativeVocabulary> {
 public:
  static Napi::Function define(Napi::Env env) { return DefineClass(env, "NativeVocabulary", {}); }

  explicit NativeVocabulary(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeVocabulary>(info) {
    const auto bytes = array_of<uint8_t>(info[0], napi_uint8_array, "bytes", "a Uint8Array");
    tree_ = made<TokenTree>(info.Env(), std::span<const uint8_t>(bytes), std::span<const int32_t>(ints_of(info[1], "ends")));
    number_ = int_of(info[2], "number", 1 << 16);
    info.This().As<Napi::Object>().TypeTag(&vocabulary_tag);
  }

  static const NativeVocabulary& of(const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&vocabulary_tag))
      throw wrong(value.Env(), "vocabulary", "a NativeVocabulary");
    return *Unwrap(value.As<Napi::Object>());
  }
  const TokenTree& tree() const { return *tree_; }
  int32_t number() const { return number_; }

 private:
  std::unique_ptr<TokenTree> tree_;
  int32_t number_ = 0;
};

class NativeGrammar : public Napi::ObjectWrap<NativeGrammar> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeGrammar",
                       {InstanceMethod("start", &NativeGrammar::start), InstanceMethod("advance", &NativeGrammar::advance),
                        InstanceMethod("accepts", &NativeGrammar::accepts), InstanceMethod("mask", &NativeGrammar::mask),
                        InstanceMethod("goesOn", &NativeGrammar::goes_on), InstanceMethod("hasMask", &NativeGrammar::has_mask),
                        InstanceMethod("forced", &NativeGrammar::forced),
                        InstanceMethod("trim", &NativeGrammar::trim), InstanceMethod("bytes", &NativeGrammar::bytes)});
  }

  explicit NativeGrammar(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeGrammar>(info) {
    grammar_ = made<Grammar>(info.Env(), std::span<const int32_t>(ints_of(info[0], "words")));
  }

 private:
  int32_t state_of(const Napi::Value& value) const {
    const int32_t state = int_of(value, "state", INT32_MAX);
    if (!grammar_->has(state)) throw wrong(value.Env(), "state", "one that this grammar has");
    return state;
  }

  Napi::Value start(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), grammar_->start()); }

  // advance(state, vocabulary, token)
  Napi::Value advance(const Napi::CallbackInfo& info) {
    const TokenTree& tree = NativeVocabulary::of(info[1]).tree();
    const int32_t token = int_of(info[2], "token", tree.vocab_size());
    return Napi::Number::New(info.Env(), grammar_->advance(state_of(info[0]), tree.bytes_of(token)));
  }

  Napi::Value accepts(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), grammar_->accepts(state_of(info[0])));
  }

  // forced(state, bytes_max): the bytes that must come next.
  Napi::Value forced(const Napi::CallbackInfo& info) {
    const auto bytes = grammar_->forced(state_of(info[0]), size_t(int_of(info[1], "bytes_max", INT32_MAX)));
    Napi::Uint8Array array = Napi::Uint8Array::New(info.Env(), bytes.size());
    std::copy(bytes.begin(), bytes.end(), array.Data());
    return array;
  }

  // mask(state, vocabulary, words): puts the mask into the words.
  Napi::Value mask(const Napi::CallbackInfo& info) {
    const NativeVocabulary& vocabulary = NativeVocabulary::of(info[1]);
    const auto into = ints_of(info[2], "words");
    const auto& words = grammar_->mask(state_of(info[0]), vocabulary.tree(), vocabulary.number());
    if (into.size() < words.size()) throw wrong(info.Env(), "words", "as long as the mask");
    std::copy(words.begin(), words.end(), into.begin());
    return info.Env().Undefined();
  }

  // goesOn(state, vocabulary, except): whether any token but these may come next.
  Napi::Value goes_on(const Napi::CallbackInfo& info) {
    const NativeVocabulary& vocabulary = NativeVocabulary::of(info[1]);
    const auto except = ints_of(info[2], "except");
    return Napi::Boolean::New(info.Env(), grammar_->goes_on(state_of(info[0]), vocabulary.tree(), vocabulary.number(), except));
  }

  // hasMask(state, vocabulary): whether it is remembered.
  Napi::Value has_mask(const Napi::CallbackInfo& info) {
    const NativeVocabulary& vocabulary = NativeVocabulary::of(info[1]);
    return Napi::Boolean::New(info.Env(), grammar_->has_mask(state_of(info[0]), vocabulary.tree(), vocabulary.number()));
  }

  // trim(bytes_max)
  Napi::Value trim(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), grammar_->trim(int_of(info[0], "bytes_max", INT32_MAX)));
  }

  Napi::Value bytes(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), double(grammar_->bytes())); }

  std::unique_ptr<Grammar> grammar_;
};

}  // namespace

void export_grammar(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeVocabulary", NativeVocabulary::define(env));
  exports.Set("NativeGrammar", NativeGrammar::define(env));
}

}  // namespace ziya
