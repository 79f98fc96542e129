// One function a kernel: it owns grid and block, so no caller ever sees one. All are asynchronous on their stream.
#pragma once

#include "layout.h"
#include "step_view.h"

namespace ziya::ZIYA_DEVICE {

// rows from first_row on, given as (rows, inputs) in device memory, into tiles
void pack(const half* from, int first_row, int rows, const WeightView& to, cudaStream_t stream);

// The same as codes (rows, inputs) and their scales (rows), of fp8 weights
void pack_fp8(const uint8_t* codes, const float* scales, int first_row, int rows, const WeightView& to, cudaStream_t stream);

// to = normal(0, deviation), for measurements; of fp8 weights, codes of no great spread
void fill(const WeightView& to, uint64_t seed, float deviation, cudaStream_t stream);

// to (rows, columns) fp16 = from fp32
void convert(const ActivationView& from, const ActivationView& to, int rows, cudaStream_t stream);

// References among the tokens and the rows become the ids that the step before drew; of a row that drew none, any id.
void resolve_references(TokenPlace* tokens, int token_count, RowPlace* rows, int row_count, const DrawnToken* drawn, int vocab_size,
                        cudaStream_t stream);

// residual (tokens, hidden) fp32 = table[token id]
void embed(const StepView& step, int tokens, const WeightView& table, const ActivationView& residual, cudaStream_t stream);

// residual (tokens, hidden) fp32 += table[the token's position]
void add_positions(const StepView& step, int tokens, const WeightView& table, const ActivationView& residual, cudaStream_t stream);

// out (rows, columns) fp16 = in / rms(in) * weight
void rms_norm(const ActivationView& in, const float* weight, float eps, int rows, const ActivationView& out,
              cudaStream_t stream);
// The same, where out row i is of the step's row first_row + i.
void rms_norm_rows(const StepView& step, int first_row, const ActivationView& in, const float* weight, float eps, int rows,
                   const ActivationView& out, cudaStream_t stream);

struct LayerNormWeights {
  const float *weight, *bias;  // (columns), padded with zeros to whole units
  float eps;
};
// out (rows, columns) fp16 = (in - mean(in)) / deviation(in) * weight + bias; and where out row i is of the step's row first_row + i.
void layer_norm(const ActivationView& in, const LayerNormWeights& weights, int rows, const ActivationView& out, cudaStream_t stream);
void layer_norm_rows(const StepView& step, int first_row, const ActivationView& in, const LayerNormWeights& weights, int rows,
                     const ActivationView& out, cudaStream_t stream);

// to (rows, columns) fp32 += bias
void add_bias(const float* bias, int rows, const ActivationView& to, cudaStream_t stream);

// to (tokens, columns) fp32 += the parts, added up in their order; those of other devices are read where they are
void add_parts(const PartsView& parts, int tokens, const ActivationView& to, cudaStream_t stream);

// to (rows, first_column ...) fp32 = from (rows, columns) fp32, which may be another device's
void copy_columns(const ActivationView& from, int rows, int first_column, const ActivationView& to, cudaStream_t stream);

struct GateUpBiasView {
  const float* gate = nullptr;  // (columns); both null where there are no biases
  const float* up = nullptr;
};
// out (rows, columns) fp16 = silu(gate + its bias) * (up + its bias), where gate_up is what matmul or gemm left of such a matrix as it is packed
void swiglu(const ActivationView& gate_up, const GateUpBiasView& bias, int rows, const ActivationView& out, cudaStream_t stream);

// out (tokens, outputs) fp32 += what the adapters add to it, for no more than `items` of the step's; shrunk (tokens, adapters.ranks)
void add_adapters(const StepView& step, int items, const AdapterView& adapters, const ActivationView& in, float* shrunk,
                  const ActivationView& out, cudaStream_t stream);

// out (rows, columns) fp16 = gelu(in + bias), in fp32; by the error function where it is to be exact, else by tanh
void gelu(const ActivationView& in, const float* bias, int rows, bool is_exact, const ActivationView& out, cudaStream_t stream);

enum class Epilogue { store, add, swiglu };

// out (rows, outputs) = epilogue(in (rows, inputs) * weight^T): a warp an output
void matmul(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
            cudaStream_t stream);

// What the tensor-core products need beside their operands.
struct GemmWorkspace {
  float* partials;  // gemm_partials_bytes(blocks)
  int blocks;       // one a multiprocessor
};
size_t gemm_partials_bytes(int blocks);

struct RowSpan {
  int begin, end;
};
// The same as matmul, by tensor cores, for fp16 `in` only. arrivals (weight.row_tiles()) are zero, and zero again after.
void gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows,
          const ActivationView& out, const GemmWorkspace& workspace, cudaStream_t stream);

// The same for fp8 weights.
void gemm_fp8(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int* arrivals, RowSpan rows, const ActivationView& out,
              const GemmWorkspace& workspace, cudaStream_t stream);

// The same bytes as gemm for rows 0 ... rows - 1 in tiles of 256.
void prefill_gemm(Epilogue epilogue, const ActivationView& in, const WeightView& weight, int rows, const ActivationView& out,
                  const GemmWorkspace& workspace, cudaStream_t stream);
// How many of the rows these tiles are best at: enough for every multiprocessor, the last ones more than half full. The rest
// is for gemm.
int prefill_rows(const WeightView& weight, int rows, int multiprocessors);

struct HeadShape {
  int heads, kv_heads, head_size;
  __host__ __device__ int group() const { return heads / kv_heads; }
};

// qkv (tokens, (heads + 2 kv_heads) * head_size) fp32: queries rotated and scaled in place, keys rotated, keys and values
// written to the cache. angles (context, head_size) are cosines, then sines.
void rope(const StepView& step, int tokens, const HeadShape& shape, const float* angles, const ActivationView& qkv,
          const KvView& kv, cudaStream_t stream);

// The same for positions that do not rotate: bias is added to all of qkv.
void place_qkv(const StepView& step, int tokens, const HeadShape& shape, const float* bias, const ActivationView& qkv, const KvView& kv,
               cudaStream_t stream);

// out (tokens, heads * head_size) fp16: a warp a query head. The reference, for any shape.
void attention(const StepView& step, int tokens, const HeadShape& shape, const ActivationView& qkv, const KvView& kv,
               const ActivationView& out, cudaStream_t stream);

// The same by tensor cores, for heads of up to tiled_head_size_max: the step's narrow items, wide items and merged tokens.
constexpr int tiled_head_size_max = 128;
size_t tiled_attention_shared_bytes(int head_size);
struct AttentionParts {
  float* values;   // (parts, heads, head_stride), not divided by their sums
  float2* scales;  // (parts, heads) maximum and sum
};
// A recorded launch serves steps with other counts, so its blocks are of the device and take the items in turns.
struct AttentionLaunch {
  StepCounts counts;
  int multiprocessors;  // 0: a block an item
};
void tiled_attention(const StepView& step, const AttentionLaunch& launch, const HeadShape& shape, const ActivationView& qkv,
                     const KvView& kv, const AttentionParts& parts, const ActivationView& out, cudaStream_t stream);

enum class SampleBy { histograms, bisection };
// drawn[i] is of the step's row first_row + i and logits row i; scores (rows, vocab) is scratch.
void sample(SampleBy by, const StepView& step, int first_row, const ActivationView& logits, int rows, int vocab_size,
            float* scores, DrawnToken* drawn, cudaStream_t stream);

}  // namespace ziya::ZIYA_DEVICE
