// Just enough of safetensors and of a Llama's shape to load a model in a test or a measurement.
#pragma once

#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <string>

#include "weights.h"

namespace ziya::test {

struct SafetensorsFile {
  std::vector<TensorSource> tensors;

  // From the tensors' sizes; what these do not tell is the embedded model's own.
  ModelShape shape(int head_size = 32) const {
    std::map<std::string, std::vector<int64_t>> sizes;
    ModelShape shape;
    for (const auto& tensor : tensors) {
      sizes[tensor.name] = tensor.shape;
      if (tensor.name.ends_with("mlp.down_proj.weight")) shape.layers++;
    }
    shape.vocab_size = int(sizes.at("model.embed_tokens.weight")[0]);
    shape.hidden_size = int(sizes.at("model.embed_tokens.weight")[1]);
    shape.intermediate_size = int(sizes.at("model.layers.0.mlp.down_proj.weight")[1]);
    shape.head_size = head_size;
    shape.heads = int(sizes.at("model.layers.0.self_attn.q_proj.weight")[0]) / shape.head_size;
    shape.kv_heads = int(sizes.at("model.layers.0.self_attn.k_proj.weight")[0]) / shape.head_size;
    shape.context_tokens = 1024;
    shape.rope_theta = 1e6;
    shape.rms_norm_eps = 1e-5;
    shape.tied_embeddings = !sizes.contains("lm_head.weight");
    return shape;
  }
};

inline std::optional<SafetensorsFile> read_safetensors(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  uint64_t header_bytes = 0;
  if (!stream.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes))) return {};
  std::string header(header_bytes, ' ');
  stream.read(header.data(), std::streamsize(header_bytes));
  SafetensorsFile file;
  const std::regex entry(R"re("([^"]+)":\{"dtype":"(F16|BF16|F32)","shape":\[(\d+)(?:,(\d+))?\],"data_offsets":\[(\d+),(\d+)\]\})re");
  for (std::sregex_iterator it(header.begin(), header.end(), entry), end; it != end; ++it) {
    const std::smatch& match = *it;
    TensorSource tensor;
    tensor.name = match[1];
    tensor.path = path;
    tensor.dtype = match[2] == "F16" ? Dtype::f16 : match[2] == "BF16" ? Dtype::bf16 : Dtype::f32;
    tensor.shape = {std::stoll(match[3])};
    if (match[4].matched) tensor.shape.push_back(std::stoll(match[4]));
    tensor.offset = sizeof(header_bytes) + header_bytes + std::stoull(match[5]);
    tensor.bytes = std::stoull(match[6]) - std::stoull(match[5]);
    file.tensors.push_back(tensor);
  }
  return file;
}

}  // namespace ziya::test
