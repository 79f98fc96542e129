// Where the tensors of a Llama go, by their Hugging Face names. A node's are told by TypeScript, which these programs are
// without.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "weights.h"

namespace ziya::test {

// The tensor's slot and first row.
inline void place_llama_tensor(TensorSource& tensor, const ModelShape& shape) {
  const int queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  const std::map<std::string, std::pair<std::string, int>> in_model = {
      {"model.embed_tokens", {"embedding", 0}}, {"model.norm", {"final_norm", 0}}, {"lm_head", {"head", 0}},
      {"value_head", {"value_head", 0}},       {"value_head.bias", {"value_bias", 0}}};
  const std::map<std::string, std::pair<std::string, int>> in_layer = {
      {"input_layernorm", {"attention_norm", 0}},  {"self_attn.q_proj", {"qkv", 0}},
      {"self_attn.k_proj", {"qkv", queries}},      {"self_attn.v_proj", {"qkv", queries + keys}},
      {"self_attn.o_proj", {"attention_out", 0}},  {"post_attention_layernorm", {"mlp_norm", 0}},
      {"mlp.gate_proj", {"gate_up", 0}},           {"mlp.up_proj", {"gate_up", shape.intermediate_size}},
      {"mlp.down_proj", {"down", 0}},              {"self_attn.q_proj.bias", {"qkv_bias", 0}},
      {"self_attn.k_proj.bias", {"qkv_bias", queries}}, {"self_attn.v_proj.bias", {"qkv_bias", queries + keys}},
      {"self_attn.o_proj.bias", {"attention_out_bias", 0}}, {"mlp.gate_proj.bias", {"gate_bias", 0}},
      {"mlp.up_proj.bias", {"up_bias", 0}},        {"mlp.down_proj.bias", {"down_bias", 0}}};
  const std::string layers = "model.layers.";
  const std::string stem = tensor.name.substr(0, tensor.name.rfind(".weight"));
  if (!stem.starts_with(layers)) {
    std::tie(tensor.slot, tensor.first_row) = in_model.at(stem);
    return;
  }
  const size_t dot = stem.find('.', layers.size());
  std::tie(tensor.slot, tensor.first_row) = in_layer.at(stem.substr(dot + 1));
  tensor.slot = "layer." + stem.substr(layers.size(), dot - layers.size()) + "." + tensor.slot;
}

}  // namespace ziya::test
