// The sizes that kernels are made for, and the bounds of what is asked of them. Which of these a model has is its
// architecture's business: what is 0 here it does not have, and no device keeps memory or spends time for it.
#pragma once

#include <cstdint>

namespace ziya {

constexpr int block_tokens = 16;  // positions in one KV block
constexpr int top_logprobs_max = 20;

// Bounds of every shape: products of two of these fit 64 bits, and each alone an int.
constexpr int dimension_max = 1 << 24;
constexpr int layers_max = 10000;
constexpr int heads_max = 65536;
constexpr int head_size_max = 4096;
constexpr int adapter_rank_max = 512;
constexpr int adapters_max = 1024;
constexpr int tensor_parallel_max = 8;  // devices that compute every layer together

// How the matrices of layers lie in a device's memory; all other weights are fp16.
enum class WeightFormat { fp16, fp8 };

// How keys and values lie in the cache. fp8: codes as fp8.h says, and a scale for each head of a token, which no later token changes.
enum class KvFormat { fp16, fp8 };

struct ModelShape {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;  // 0 = no gated MLP
  int layers = 0;
  int heads = 0;  // 0 = no attention
  int kv_heads = 0;
  int head_size = 0;
  int context_tokens = 0;
  double rope_theta = 0;           // 0 = positions do not rotate
  double rope_scaling_factor = 1;  // frequencies are divided by it; 1 is none
  // Where this is not 0 only those frequencies are that make few turns in so many tokens: all below low_turns, part of those below high_turns.
  int rope_original_tokens = 0;
  double rope_low_turns = 0;
  double rope_high_turns = 0;
  double rms_norm_eps = 0;
  double layer_norm_eps = 0;
  bool exact_gelu = false;  // by the error function; else by the tanh that approximates it
  bool attention_bias = false;  // of a llama's four products there; gpt_bigcode always has them
  bool mlp_bias = false;        // of its three
  bool tied_embeddings = false;
  WeightFormat weights = WeightFormat::fp16;
  KvFormat kv_cache = KvFormat::fp16;

  bool has_attention() const { return heads > 0; }
  bool has_rope() const { return rope_theta != 0; }
  int heads_a_kv_head() const { return has_attention() ? heads / kv_heads : 0; }
  int qkv_columns() const { return (heads + 2 * kv_heads) * head_size; }
  int attention_columns() const { return heads * head_size; }
};

// The bounds that every buffer is sized by.
struct StepLimits {
  int batch_tokens_max = 0;
  int sequences_max = 0;
  int blocks = 0;
  int adapters = 0;
};

}  // namespace ziya
