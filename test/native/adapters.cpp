// LoRA adapters on each device: what they add to one product, and whole models whose merged weights the float64 reference has. A sequence
// draws the same bytes alone and beside sequences of other adapters, or of none.
#include <optional>
#include <tuple>

#include "bench.h"
#include "llama_slots.h"

namespace ziya::test {
namespace {

const std::atomic<bool> not_cancelled{false};
constexpr int adapter_count = 3;

std::unique_ptr<Matrix> random_matrix(Kernels& kernels, Random& random, int outputs, int inputs, MatrixLayout layout, Doubles& values) {
  auto matrix = kernels.make_matrix(outputs, inputs, layout);
  for (int64_t i = 0; i < int64_t(outputs) * inputs; i++) values.push_back(rounded_to_half(random.normal(1 / std::sqrt(float(inputs)))));
  kernels.upload_rows(*matrix, 0, outputs, [&](int begin, int count, uint16_t* fp16) {
    for (int64_t i = 0; i < int64_t(count) * inputs; i++) fp16[i] = Bench::bits_of_half(values[int64_t(begin) * inputs + i]);
  });
  return matrix;
}

// Sequences of a step: how many tokens each has, and its adapter.
struct Company {
  std::vector<int32_t> token_counts, adapters;
};

Company random_company(Random& random, int sequences) {
  Company company;
  for (int s = 0; s < sequences; s++) {
    company.token_counts.push_back(random.one_of<int>({1, 1, 2, 7, 8, 9, 17}));
    company.adapters.push_back(random.between(no_adapter, adapter_count - 1));
  }
  return company;
}

// Begins a step of these sequences, each at position 0.
void begin(Bench& b, const Company& company) {
  std::vector<Piece> pieces;
  int block = 0;
  for (const int32_t count : company.token_counts) {
    Piece piece = {random_tokens(count, b.shape.vocab_size, b.random), 0, {}};
    for (int i = 0; i < count; i += block_tokens) piece.blocks.push_back(block++);
    pieces.push_back(piece);
  }
  b.batch = greedy_batch(pieces);
  b.batch.adapters = company.adapters;
  b.kernels->begin_step(b.batch);
}

// Adapters of a random matrix, which change random outputs of it, each by a rank of its own.
struct AdaptedProduct {
  struct Part {
    int adapter, first_output, rank;
    float scale;
    Doubles a, b;
    std::unique_ptr<Matrix> a_made, b_made;
  };

  AdaptedProduct(Bench& b, int inputs, int outputs, MatrixLayout layout) : b(b), inputs(inputs), outputs(outputs) {
    weight = b.matrix(outputs, inputs, layout, w);
    std::vector<AdapterPart> made;
    for (int adapter = 0; adapter < adapter_count; adapter++) {
      const int half = outputs / 2;
      const std::vector<std::pair<int, int>> gate_up = {{0, half}, {half, outputs}};
      const int cut = b.random.between(1, outputs - 1);
      const std::vector<std::pair<int, int>> plain = {{b.random.between(0, cut - 1), cut}, {cut, b.random.between(cut + 1, outputs)}};
      for (const auto& [begin, end] : layout == MatrixLayout::gate_up ? gate_up : plain)
        if (adapter > 0 || b.random.between(0, 1)) add_part(adapter, begin, end - begin);
    }
    for (const Part& part : parts) made.push_back({part.adapter, part.first_output, part.scale, *part.a_made, *part.b_made});
    product = b.kernels->make_adapter_product(*weight, made);
  }

  void add_part(int adapter, int first_output, int count) {
    const int rank = b.random.one_of<int>({1, 2, 3, 8, 16, 33, 70});
    Part& part = parts.emplace_back(Part{adapter, first_output, rank, b.random.normal(), {}, {}, nullptr, nullptr});
    part.a_made = random_matrix(*b.kernels, b.random, rank, inputs, MatrixLayout::lora_a, part.a);
    part.b_made = random_matrix(*b.kernels, b.random, count, rank, MatrixLayout::lora_b, part.b);
  }

  // What an adapter makes of the outputs for one row, and how large the numbers are that it adds up.
  std::pair<Doubles, Doubles> want(int adapter, const Doubles& x) const {
    Doubles sums = multiply(w, x, outputs), sizes(outputs, 1);
    for (const Part& part : parts) {
      if (part.adapter != adapter) continue;
      Doubles shrunk = multiply(part.a, x, part.rank);
      for (double& value : shrunk) value *= part.scale;
      const int count = int(part.b.size()) / part.rank;
      const Doubles added = multiply(part.b, shrunk, count);
      for (int i = 0; i < count; i++) {
        sums[part.first_output + i] += added[i];
        for (int r = 0; r < part.rank; r++) sizes[part.first_output + i] += std::abs(part.b[i * part.rank + r] * shrunk[r]);
      }
    }
    for (int i = 0; i < outputs; i++)
      for (int k = 0; k < inputs; k++) sizes[i] += std::abs(w[int64_t(i) * inputs + k] * x[k]);
    return {sums, sizes};
  }

  Bench& b;
  const int inputs, outputs;
  Doubles w;
  std::unique_ptr<Matrix> weight;
  std::vector<Part> parts;
  std::unique_ptr<AdapterProduct> product;
};

int rows_of(const Company& company) {
  int rows = 0;
  for (const int32_t count : company.token_counts) rows += count;
  return rows;
}

using Run = std::function<Floats(const Company& company, const Floats& x)>;

// Runs all sequences together, checks each row, and some sequences alone.
void expect_right_and_same_alone(const AdaptedProduct& product, Random& random, int columns, const Run& run,
                                 const std::function<void(int adapter, const Doubles& x, const float* out)>& check) {
  const Company company = random_company(random, random.between(1, 6));
  const int rows = rows_of(company), inputs = product.inputs;
  const Floats x = product.b.random_rows(rows, inputs);
  const Floats out = run(company, x);
  const int chosen = random.between(0, int(company.adapters.size()) - 1);
  int row = 0;
  for (int s = 0; s < int(company.adapters.size()); s++) {
    const int count = company.token_counts[s];
    for (int i = row; i < row + count; i++) check(company.adapters[s], row_of(x, i, inputs), &out[int64_t(i) * columns]);
    if (s == chosen) {
      const Floats alone = run({{count}, {company.adapters[s]}}, Floats(&x[int64_t(row) * inputs], &x[int64_t(row + count - 1) * inputs] + inputs));
      expect_same_bits(alone.data(), &out[int64_t(row) * columns], count * columns, "a sequence differs from itself alone");
    }
    row += count;
  }
}

void added_to_a_product(const Device& device, Random& random) {
  for (int round = 0; round < (device.is_slow ? 3 : 8); round++) {
    Bench b(device, random);
    const AdaptedProduct product(b, random.between(1, 700), random.between(2, 300), MatrixLayout::plain);
    const Run run = [&](const Company& company, const Floats& x) {
      const int rows = rows_of(company);
      begin(b, company);
      const auto in = b.activations(rows, product.inputs, x);
      auto out = b.poisoned(product.outputs);
      b.kernels->project(*in, *product.weight, *out);
      b.kernels->add_adapters(*in, *product.product, *out);
      return b.rows_of(*out, rows);
    };
    expect_right_and_same_alone(product, random, product.outputs, run, [&](int adapter, const Doubles& x, const float* out) {
      const auto [want, sizes] = product.want(adapter, x);
      for (int i = 0; i < product.outputs; i++) b.expect_near(out[i], want[i], sizes[i], "an adapted product");
    });
  }
}

void added_to_gate_and_up(const Device& device, Random& random) {
  for (int round = 0; round < (device.is_slow ? 3 : 8); round++) {
    Bench b(device, random);
    const int columns = random.between(1, 150);
    const AdaptedProduct product(b, random.between(1, 300), 2 * columns, MatrixLayout::gate_up);
    const Run run = [&](const Company& company, const Floats& x) {
      const int rows = rows_of(company);
      begin(b, company);
      const auto in = b.activations(rows, product.inputs, x);
      auto gate_up = b.poisoned(2 * columns), out = b.poisoned(columns), whole = b.poisoned(columns);
      b.kernels->project(*in, *product.weight, *gate_up);
      b.kernels->swiglu(*gate_up, nullptr, *out);
      b.kernels->gate_up_swiglu(*in, *product.weight, *whole);
      expect_same_bits(b.rows_of(*out, rows).data(), b.rows_of(*whole, rows).data(), rows * columns, "swiglu differs from that of the whole product");
      b.kernels->add_adapters(*in, *product.product, *gate_up);
      b.kernels->swiglu(*gate_up, nullptr, *out);
      return b.rows_of(*out, rows);
    };
    expect_right_and_same_alone(product, random, columns, run, [&](int adapter, const Doubles& x, const float* out) {
      const auto [want, sizes] = product.want(adapter, x);
      for (int i = 0; i < columns; i++)
        b.expect_near(out[i], want[i] / (1 + std::exp(-want[i])) * want[columns + i], (sizes[i] + 1) * (sizes[columns + i] + 1), "swiglu");
    });
  }
}

// ── whole models

struct RandomAdapter {
  AdapterShape shape;
  std::map<std::string, std::vector<float>> values;  // by slot
};

// Some matrices of some layers.
RandomAdapter random_adapter(const RandomModel& model, Random& random, RandomModel& merged) {
  RandomAdapter adapter;
  merged = as_computed(model);
  for (const auto& [name, shape] : model.shapes) {
    TensorSource tensor;
    tensor.slot = tensor.name = name;
    if (model.architecture == "llama") place_llama_tensor(tensor, model.shape);
    if (shape.size() != 2 || !tensor.slot.starts_with("layer.") || random.between(0, 2) == 0) continue;
    const int outputs = int(shape[0]), inputs = int(shape[1]), rank = random.one_of<int>({1, 4, 8, 19});
    adapter.shape.push_back({tensor.slot, int(tensor.first_row), outputs, rank, random.normal()});
    const std::string slot = tensor.slot + "." + std::to_string(tensor.first_row);
    std::vector<float>&a = adapter.values[slot + ".a"], &b = adapter.values[slot + ".b"];
    for (int i = 0; i < rank * inputs; i++) a.push_back(float(rounded_to_half(random.normal(1 / std::sqrt(float(inputs))))));
    for (int i = 0; i < outputs * rank; i++) b.push_back(float(rounded_to_half(random.normal(1 / std::sqrt(float(rank))))));
    for (int64_t i = 0; i < int64_t(outputs) * inputs; i++) {
      double sum = 0;
      for (int r = 0; r < rank; r++) sum += double(b[i / inputs * rank + r]) * a[r * inputs + i % inputs];
      merged.tensors[name][i] += float(adapter.shape.back().scale * sum);
    }
  }
  std::sort(adapter.shape.begin(), adapter.shape.end(), [](const AdapterPartShape& one, const AdapterPartShape& other) {
    return std::tie(one.slot, one.first_output) < std::tie(other.slot, other.first_output);
  });
  return adapter;
}

struct AdaptedModel {
  AdaptedModel(const Device& device, Random& random, const RandomModel& base, int device_count = 1) : merged(adapter_count + 1, as_computed(base)), vocab(base.shape.vocab_size) {
    std::vector<std::unique_ptr<Kernels>> kernels;
    for (int i = 0; i < device_count; i++) kernels.push_back(device.make(base.shape, limits, random.between(1, 3)));
    devices.emplace(std::move(kernels), base.shape.layers);
    model = load_model(base, limits, *devices);
    std::vector<RandomAdapter> adapters;
    std::vector<AdapterShape> shapes;
    for (int i = 0; i < adapter_count; i++) shapes.push_back(adapters.emplace_back(random_adapter(base, random, merged[i])).shape);
    model->add_adapters(shapes);
    for (int i = 0; i < adapter_count; i++)
      for (const WeightSlot& slot : model->adapter_weights()[i].slots()) fill(slot, adapters[i].values.at(slot.name));
  }

  static void fill(const WeightSlot& slot, const std::vector<float>& values) {
    slot.kernels.upload_rows(*slot.matrix, 0, slot.rows(), [&](int begin, int count, uint16_t* fp16) {
      for (int64_t i = 0; i < int64_t(count) * slot.columns(); i++) fp16[i] = Bench::bits_of_half(values[int64_t(begin) * slot.columns() + i]);
    });
  }

  const RandomModel& merged_of(int adapter) const { return merged[adapter == no_adapter ? adapter_count : adapter]; }

  StepResult step(const std::vector<Piece>& pieces, const std::vector<int32_t>& adapters, bool want_logits) {
    StepBatch batch = greedy_batch(pieces);
    batch.adapters = adapters;
    batch.want_logits = want_logits;
    return model->step(batch, not_cancelled);
  }

  static constexpr StepLimits limits = {.batch_tokens_max = 256, .sequences_max = 64, .blocks = 600, .adapters = adapter_count};
  std::vector<RandomModel> merged;  // of each adapter, then the base
  const int vocab;
  std::optional<Devices> devices;
  std::unique_ptr<Model> model;
};

RandomModel random_base(ModelShape shape, Random& random, bool is_llama) {
  shape.layers = 2;
  shape.weights = random.one_of<WeightFormat>({WeightFormat::fp16, WeightFormat::fp8});
  return is_llama ? random_model(shape, random) : random_gpt_bigcode(shape, random);
}

void models_match_the_reference(const Device& device, Random& random) {
  for (const bool is_llama : cases_of<bool>(device, random, {true, false, true}, 2)) {
    AdaptedModel adapted(device, random, random_base(with_wide_norms(random_shape(random, device.ranks), random), random, is_llama), random.between(1, 2));
    const std::vector<int32_t> adapters = {1, no_adapter, 0, 2, no_adapter, 1};
    const auto blocks = random_blocks(int(adapters.size()), 64, 600, random);
    std::vector<Piece> pieces;
    for (size_t s = 0; s < adapters.size(); s++) pieces.push_back({random_tokens(random.between(1, 20), adapted.vocab, random), 0, blocks[s]});
    const StepResult together = adapted.step(pieces, adapters, true);
    for (size_t s = 0; s < adapters.size(); s++) {
      const float* got = &together.logits[s * adapted.vocab];
      const Doubles want = reference_logits(adapted.merged_of(adapters[s]), pieces[s].tokens).back();
      double error = 0, size = 0;
      for (int i = 0; i < adapted.vocab; i++) error += std::pow(got[i] - want[i], 2), size += want[i] * want[i];
      expect(std::sqrt(error / size) <= std::max(2e-3, 8 * device.precision), "adapter " + std::to_string(adapters[s]) + ": relative L2 " + std::to_string(std::sqrt(error / size)));
      const StepResult alone = adapted.step({pieces[s]}, {adapters[s]}, true);
      expect_same_bits(alone.logits.data(), got, adapted.vocab, "adapter " + std::to_string(adapters[s]) + " differs alone");
    }
  }
}

// Decode steps, which a device may record: of the same size with other adapters each time; each sequence alone, too, and with its logits,
// which is never recorded.
void recorded_steps_follow_the_adapters(const Device& device, Random& random) {
  AdaptedModel adapted(device, random, random_base(random_shape(random, device.ranks), random, true));
  const int sequences = 5, steps = 3;
  const auto blocks = random_blocks(3 * sequences, 64, 600, random);
  // Steps without any are recorded first, and must not be what the others replay.
  for (const int round : {no_adapter, 0, 1}) {
    std::vector<int32_t> adapters;
    std::vector<std::vector<int32_t>> tokens;
    for (int s = 0; s < sequences; s++) adapters.push_back(random.between(no_adapter, adapter_count - 1)), tokens.push_back(random_tokens(steps, adapted.vocab, random));
    adapters[0] = round;  // at least one
    if (round == no_adapter) adapters.assign(sequences, no_adapter);
    const auto piece = [&](int s, int step, int of) { return Piece{{tokens[s][step]}, step, blocks[of * sequences + s]}; };
    for (int step = 0; step < steps; step++) {
      std::vector<Piece> pieces;
      for (int s = 0; s < sequences; s++) pieces.push_back(piece(s, step, 0));
      const StepResult together = adapted.step(pieces, adapters, false);
      for (int s = 0; s < sequences; s++) {
        for (const bool want_logits : {false, true}) {
          const StepResult alone = adapted.step({piece(s, step, want_logits ? 2 : 1)}, {adapters[s]}, want_logits);
          expect(together.tokens[s] == alone.tokens[0], "a token differs");
          expect_same_bits(&together.logprobs[s], alone.logprobs.data(), 1, "a log-probability differs");
        }
      }
    }
  }
}

}  // namespace

std::vector<Test> adapter_kernel_tests(const Device& device) {
  return {{device.name + ": adapters add to a product what float64 does, the same alone and in a batch", [=](Random& random) { added_to_a_product(device, random); }},
          {device.name + ": adapters find gate and up apart, and swiglu is that of the whole product", [=](Random& random) { added_to_gate_and_up(device, random); }}};
}

std::vector<Test> adapter_step_tests(const Device& device) {
  return {{device.name + ": adapters of a model match float64 of merged weights, the same alone and in a batch", [=](Random& random) { models_match_the_reference(device, random); }},
          {device.name + ": adapters of a recorded step are those of its sequences", [=](Random& random) { recorded_steps_follow_the_adapters(device, random); }}};
}

}  // namespace ziya::test
