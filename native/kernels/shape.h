// What a Llama model is: the numbers of its config.json that the arithmetic needs. Parsed and validated in TypeScript.
#pragma once

#include <cstdint>

namespace ziya {

constexpr int block_tokens = 16;  // positions in one KV block
constexpr int top_logprobs_max = 20;

struct ModelShape {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_size = 0;
  int context_tokens = 0;
  double rope_theta = 0;
  double rope_scaling_factor = 1;  // linear; 1 is none
  double rms_norm_eps = 0;
  bool tied_embeddings = false;

  int qkv_columns() const { return (heads + 2 * kv_heads) * head_size; }
  int attention_columns() const { return heads * head_size; }
};

// The bounds that every buffer is sized by.
struct StepLimits {
  int batch_tokens_max = 0;
  int sequences_max = 0;
  int blocks = 0;
};

}  // namespace ziya
