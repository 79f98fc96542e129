// A Llama and a GPTBigCode in float64, as plainly as they can be written, and the random models and batches they are compared on.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness.h"
#include "models/registry.h"

namespace ziya::test {

using Doubles = std::vector<double>;

// Values of an fp8 cache so near the middle between two codes that a device may take the other one: a sixteenth of such a value.
struct CacheTies {
  double nearness = 0;  // relative to the largest value of the head
  int groups = 1;
  int turned = -1;    // the group that is rounded to the other side
  int64_t count = 0;  // found
};

// value as fp16 keeps it, computed in another way than the engine does.
double rounded_to_half(double value);
// The same of E4M3; and a row of weights (inputs) as fp8 keeps it.
double rounded_to_fp8(double value);
void round_row_to_fp8(double* row, int inputs);
// Heads (heads, head_size) of a token's keys or values, as the cache keeps them.
void round_to_cache(Doubles& values, const ModelShape& shape, CacheTies* ties = nullptr);

// out (outputs) = w (outputs, inputs) * x (inputs)
Doubles multiply(const Doubles& w, const Doubles& x, int outputs);
Doubles rms_normalize(const Doubles& x, const Doubles& weight, double eps);
Doubles layer_normalize(const Doubles& x, const Doubles& weight, const Doubles& bias, double eps);
double gelu(double x, bool is_exact);
// head (head_size) rotated to its position, pairs being (i, i + head_size / 2).
void rotate_half(double* head, const ModelShape& shape, int position);

// A random model: its tensors, a Llama's by their Hugging Face names and another's by their slots, values exact in fp16.
struct RandomModel {
  std::string architecture;
  ModelShape shape;
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, std::vector<int64_t>> shapes;
};

ModelShape small_shape(int vocab_size, int context_tokens);
ModelShape random_shape(Random& random, int ranks = 1);  // that so many can share
// For whole networks beside float64: where a norm is of two or three numbers, one that is rounded the other way changes all.
ModelShape with_wide_norms(ModelShape shape, Random& random);
RandomModel random_model(const ModelShape& shape, Random& random);
// With the weights that it is computed with: those of layers' matrices rounded where its shape says fp8.
RandomModel as_computed(RandomModel model);
RandomModel random_gpt_bigcode(const ModelShape& shape, Random& random);  // what is a Llama's of the shape is left out

// The logits (vocab) after each of the tokens.
std::vector<Doubles> reference_logits(const RandomModel& model, const std::vector<int32_t>& tokens, CacheTies* ties = nullptr);

// A file with the model's tensors in one type, removed with the object.
class ModelFile {
 public:
  ModelFile(const RandomModel& model, Dtype dtype);
  ModelFile(const ModelFile&) = delete;
  ~ModelFile();
  std::vector<TensorSource> tensors;
  std::string path;
};

// A Llama of this shape, all of whose weights are zero; and a model with the weights of a random one.
std::unique_ptr<Model> make_llama(const ModelShape& shape, const StepLimits& limits, const Devices& devices);
std::unique_ptr<Model> load_model(const RandomModel& model, const StepLimits& limits, const Devices& devices,
                                  Dtype dtype = Dtype::f32, int threads = 2);

// Some tokens of one sequence, with the blocks of the whole sequence.
struct Piece {
  std::vector<int32_t> tokens;
  int start = 0;
  std::vector<int32_t> blocks;
  bool every_row = false;  // sample each token's row, not only the last one's
};

StepBatch greedy_batch(const std::vector<Piece>& pieces);
// Puts these ids behind the batch's history, and has the row look at them: all are prompt but the last `output_tokens`.
void append_history(StepBatch& batch, Row& row, const std::vector<int32_t>& ids, int output_tokens);

std::vector<int32_t> random_tokens(int count, int vocab, Random& random);
// Draws as many different block ids as the positions of each sequence need.
std::vector<std::vector<int32_t>> random_blocks(int sequences, int positions, int blocks, Random& random);

}  // namespace ziya::test
