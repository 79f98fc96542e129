// Just enough of safetensors and of a Llama's shape to load a model in a test or a measurement.
#pragma once

#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "llama_slots.h"

namespace ziya::test {

struct SafetensorsFile {
  std::vector<TensorSource> tensors;  // without their places

  std::vector<TensorSource> placed(const ModelShape& shape) const {
    std::vector<TensorSource> result = tensors;
    for (TensorSource& tensor : result) place_llama_tensor(tensor, shape);
    return result;
  }

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
  const std::string mark = R"(":{"dtype":")";
  for (size_t at = header.find(mark); at != std::string::npos; at = header.find(mark, at + 1)) {
    const size_t name = header.rfind('"', at - 1) + 1;
    const char* rest = header.c_str() + at + mark.size();
    char dtype[8] = {};
    long long rows = 0, columns = 0;
    unsigned long long begin = 0, end = 0;
    int taken = 0;
    if (std::sscanf(rest, R"(%7[A-Z0-9]","shape":[%lld%n)", dtype, &rows, &taken) != 2) continue;
    rest += taken;
    const bool is_matrix = std::sscanf(rest, ",%lld%n", &columns, &taken) == 1;
    if (is_matrix) rest += taken;
    if (std::sscanf(rest, R"(],"data_offsets":[%llu,%llu])", &begin, &end) != 2) continue;
    TensorSource tensor;
    tensor.name = header.substr(name, at - name);
    tensor.path = path;
    tensor.dtype = dtype == std::string("F16") ? Dtype::f16 : dtype == std::string("BF16") ? Dtype::bf16 : Dtype::f32;
    tensor.shape = {rows};
    if (is_matrix) tensor.shape.push_back(columns);
    tensor.offset = sizeof(header_bytes) + header_bytes + begin;
    tensor.bytes = end - begin;
    file.tensors.push_back(tensor);
  }
  return file;
}

}  // namespace ziya::test
