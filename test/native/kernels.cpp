// Each kernel alone, through kernels.h: fresh random inputs of odd shapes, outputs poisoned with NaN, float64 beside
// it; and the same token alone and in company, compared bit by bit.
#include "bench.h"

namespace ziya::test {
namespace {

// What a row of the matrix times x may be off by.
double size_of_product(const Doubles& w, const Doubles& x, int row) {
  double size = 0;
  for (size_t i = 0; i < x.size(); i++) size += std::abs(w[row * x.size() + i] * x[i]);
  return size;
}

const std::vector<int> row_counts = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 24, 25, 33, 64, 101, 120};

const std::vector<int> some_row_counts = {1, 2, 7, 8, 9, 33, 120};

enum class Product { store, add, swiglu };

Floats run_product(Bench& b, Product kind, const Matrix& weight, const Activations& in, int rows,
                   const Floats& residual, int columns) {
  auto out = kind == Product::add ? b.activations(rows, columns, residual) : b.poisoned(columns);
  if (kind == Product::add) b.kernels->project_add(in, weight, *out);
  if (kind == Product::swiglu) b.kernels->gate_up_swiglu(in, weight, *out);
  if (kind == Product::store) b.kernels->logits(in, weight, rows, *out);
  return b.rows_of(*out, rows);
}

void expect_product(const Bench& b, Product kind, const Doubles& w, const Doubles& x, const float* out, const float* residual, int columns) {
  const Doubles want = multiply(w, x, kind == Product::swiglu ? 2 * columns : columns);
  for (int i = 0; i < columns; i++) {
    const double size = size_of_product(w, x, i);
    if (kind == Product::store) b.expect_near(out[i], want[i], size, "product");
    if (kind == Product::add) b.expect_near(out[i], residual[i] + want[i], size + std::abs(residual[i]), "sum with product");
    if (kind == Product::swiglu) {
      const double up = want[columns + i], gate = want[i];
      const double sizes = (size + 1) * (size_of_product(w, x, columns + i) + 1);
      b.expect_near(out[i], gate / (1 + std::exp(-gate)) * up, sizes, "swiglu");
    }
  }
}

// Random rows times a random matrix, as the device computes it.
struct RandomProduct {
  RandomProduct(Bench& b, Product kind, int rows, int inputs, int columns, WeightFormat format)
      : b(b), kind(kind), rows(rows), inputs(inputs), columns(columns),
        weight(kind == Product::swiglu ? b.matrix(2 * columns, inputs, MatrixLayout::gate_up, w, format)
                                       : b.matrix(columns, inputs, MatrixLayout::plain, w, format)),
        x(b.random_rows(rows, inputs)), residual(b.random_rows(rows, columns)), out(run(x, residual, rows)) {}

  Floats run(const Floats& in, const Floats& added_to, int count) {
    b.begin(count);
    return run_product(b, kind, *weight, *b.activations(count, inputs, in), count, added_to, columns);
  }

  void expect_right(int row) const {
    expect_product(b, kind, w, row_of(x, row, inputs), &out[row * columns], &residual[row * columns], columns);
  }

  void expect_same_alone(int row) {
    const Floats own_x(&x[row * inputs], &x[row * inputs] + inputs);
    const Floats own_residual(&residual[row * columns], &residual[row * columns] + columns);
    const Floats alone = run(own_x, own_residual, 1);
    expect_same_bits(alone.data(), &out[row * columns], columns,
                     "row " + std::to_string(row) + " of " + std::to_string(rows) + " differs from the row alone");
  }

  Bench& b;
  const Product kind;
  const int rows, inputs, columns;
  Doubles w;
  const std::unique_ptr<Matrix> weight;
  const Floats x, residual;
  const Floats out;
};

void product_is_right_and_batch_invariant(const Device& device, Random& random, Product kind, const std::vector<int>& rows_of_cases, WeightFormat format) {
  for (const int rows : rows_of_cases) {
    Bench b(device, random);
    const int inputs = random.between(1, 700), columns = random.between(1, 150);
    RandomProduct product(b, kind, rows, inputs, columns, format);
    for (int row = 0; row < rows; row++) product.expect_right(row);
    product.expect_same_alone(random.between(0, rows - 1));
  }
}

void product_is_right(const Device& device, Random& random, Product kind) {
  product_is_right_and_batch_invariant(device, random, kind, device.is_slow ? some_row_counts : row_counts, WeightFormat::fp16);
}

// Each kind with other numbers of rows.
void fp8_products_are_right(const Device& device, Random& random) {
  for (const Product kind : {Product::store, Product::add, Product::swiglu})
    product_is_right_and_batch_invariant(device, random, kind, cases_of<int>(device, random, some_row_counts, 2), WeightFormat::fp8);
}

// Rows of one input that is 1 give the weights themselves. Each row has all of E4M3's values, times a power of two of its own; a product has as
// many rows as each of the fast kernel's shapes, and sums are put together from parts.
void fp8_weights_are_exact(const Device& device, Random& random) {
  for (const int rows : cases_of<int>(device, random, {1, 16, 32, 64, 96, 128, 160, 192, 224, 256, 300}, 3)) {
    const int inputs = random.between(260, 400), columns = random.between(65, 200);
    Bench b(device, random, random_shape(random), 0, rows);
    Doubles w;
    for (int row = 0; row < columns; row++) {
      const double scale = std::ldexp(1.0, random.between(-6, 4));
      const int turn = random.between(0, 253);
      for (int i = 0; i < inputs; i++) {
        const int code = (i + turn) % 254 % 127;
        const double magnitude = code < 8 ? std::ldexp(code, -9) : std::ldexp(8 + code % 8, code / 8 - 10);
        w.push_back((i + turn) % 254 < 127 ? magnitude * scale : -magnitude * scale);
      }
    }
    const auto weight = b.upload(columns, inputs, MatrixLayout::plain, w, WeightFormat::fp8);
    Floats x(size_t(rows) * inputs);
    std::vector<int> ones;
    for (int row = 0; row < rows; row++) x[int64_t(row) * inputs + ones.emplace_back(random.between(0, inputs - 1))] = 1;
    b.begin(rows);
    const auto in = b.activations(rows, inputs, x);
    const auto out = b.poisoned(columns);
    b.kernels->project(*in, *weight, *out);
    const Floats got = b.rows_of(*out, rows);
    for (int row = 0; row < rows; row++)
      for (int i = 0; i < columns; i++) {
        const double want = w[int64_t(i) * inputs + ones[row]];
        expect(got[row * columns + i] == want, "row " + std::to_string(row) + " of " + std::to_string(rows) + ", output " + std::to_string(i) +
                                                   ": got " + std::to_string(got[row * columns + i]) + ", want " + std::to_string(want));
      }
  }
}

// The batch has as many rows as a prefill has, which are computed in other tiles: some of them against float64, and each of those alone. The
// sums of narrow ones are put together from three parts and more.
void large_products_are_right_and_batch_invariant(const Device& device, Random& random) {
  for (const Product kind : {Product::store, Product::add, Product::swiglu}) {
    const bool is_narrow = kind == Product::add;
    const int rows = is_narrow ? random.between(1409, 1536) : kind == Product::store ? 512 : random.between(500, 700);
    // Stripes cut K elsewhere in each of the four pairs of row tiles that the columns of `store` are.
    const int inputs = is_narrow ? random.between(385, 512) : random.between(kind == Product::store ? 257 : 1, 700);
    const int columns = is_narrow ? random.between(65, 128) : kind == Product::swiglu ? random.between(130, 200) : random.between(385, 512);
    Bench b(device, random, random_shape(random), 0, rows);
    RandomProduct product(b, kind, rows, inputs, columns, WeightFormat::fp16);
    for (const int row : {0, random.between(1, 254), 255, random.between(0, rows - 1), rows - 1}) {
      product.expect_right(row);
      product.expect_same_alone(row);
    }
  }
}

void embedding_rows_are_exact(const Device& device, Random& random) {
  for (const int count : {1, 5, 77}) {
    Bench b(device, random);
    Doubles table;
    const auto matrix = b.matrix(b.shape.vocab_size, b.shape.hidden_size, MatrixLayout::plain, table);
    b.begin(count);
    auto out = b.poisoned(b.shape.hidden_size);
    b.kernels->embed(*matrix, *out);
    const Floats rows = b.rows_of(*out, count);
    for (int64_t i = 0; i < int64_t(rows.size()); i++) {
      const int64_t token = b.batch.tokens[i / b.shape.hidden_size];
      expect(rows[i] == table[token * b.shape.hidden_size + i % b.shape.hidden_size], "an embedding differs");
    }
  }
}

void rms_norm_is_right(const Device& device, Random& random) {
  for (const int count : {1, 2, 3, 50}) {
    Bench b(device, random);
    const int columns = b.shape.hidden_size;
    const Floats x = b.random_rows(count, columns), w = b.random_rows(1, columns);
    auto weight = b.kernels->make_vector(columns);
    b.kernels->upload(*weight, 0, columns, w.data());
    b.begin(count);
    auto out = b.poisoned(columns), last = b.poisoned(columns);
    const auto in = b.activations(count, columns, x);
    b.kernels->rms_norm(*in, *weight, *out);
    b.kernels->rms_norm_rows(*in, *weight, {0, 1}, *last);
    const Floats rows = b.rows_of(*out, count), sampled = b.rows_of(*last, 1);
    for (int row = 0; row < count; row++) {
      const Doubles want = rms_normalize(row_of(x, row, columns), row_of(w, 0, columns), b.shape.rms_norm_eps);
      for (int i = 0; i < columns; i++) b.expect_near(rows[row * columns + i], want[i], std::abs(want[i]), "rms norm");
    }
    expect_same_bits(sampled.data(), &rows[(count - 1) * columns], columns, "the sampled row differs");
  }
}

void layer_norm_is_right(const Device& device, Random& random) {
  for (const int count : {1, 2, 3, 50}) {
    Bench b(device, random);
    b.shape.layer_norm_eps = 1e-5;
    b.kernels = device.make(b.shape, b.limits, 2);
    const int columns = b.shape.hidden_size;
    Floats x = b.random_rows(count, columns);
    for (float& value : x) value += 3;  // a mean that is worth subtracting
    const auto weight = b.vector(columns), bias = b.vector(columns);
    b.begin(count);
    auto out = b.poisoned(columns), last = b.poisoned(columns);
    const auto in = b.activations(count, columns, x);
    b.kernels->layer_norm(*in, *weight.made, *bias.made, *out);
    b.kernels->layer_norm_rows(*in, *weight.made, *bias.made, {0, 1}, *last);
    const Floats rows = b.rows_of(*out, count), sampled = b.rows_of(*last, 1);
    for (int row = 0; row < count; row++) {
      const Doubles want = layer_normalize(row_of(x, row, columns), weight.values, bias.values, b.shape.layer_norm_eps);
      for (int i = 0; i < columns; i++)
        b.expect_near(rows[row * columns + i], want[i], 20 * (std::abs(weight.values[i]) + std::abs(bias.values[i])), "layer norm");
    }
    expect_same_bits(sampled.data(), &rows[(count - 1) * columns], columns, "the sampled row differs");
  }
}

void biases_are_added(const Device& device, Random& random) {
  for (const int count : {1, 7, 50}) {
    Bench b(device, random);
    const int columns = random.between(1, 700);
    const Floats x = b.random_rows(count, columns);
    const auto bias = b.vector(columns);
    b.begin(count);
    const auto sum = b.activations(count, columns, x);
    b.kernels->add_bias(*bias.made, *sum);
    const Floats sums = b.rows_of(*sum, count);
    for (int i = 0; i < count * columns; i++)
      b.expect_near(sums[i], double(x[i]) + bias.values[i % columns], std::abs(x[i]) + std::abs(bias.values[i % columns]), "sum with bias");
  }
}

void gate_and_up_have_biases(const Device& device, Random& random) {
  for (const int count : {1, 7, 50}) {
    Bench b(device, random);
    const int columns = random.between(1, 200), inputs = random.between(1, 100);
    Doubles w;
    const auto weight = b.matrix(2 * columns, inputs, MatrixLayout::gate_up, w);
    const auto gate_bias = b.vector(columns), up_bias = b.vector(columns);
    const Floats x = b.random_rows(count, inputs);
    b.begin(count);
    auto gate_up = b.poisoned(2 * columns), out = b.poisoned(columns);
    b.kernels->project(*b.activations(count, inputs, x), *weight, *gate_up);
    const GateUpBias bias = {*gate_bias.made, *up_bias.made};
    b.kernels->swiglu(*gate_up, &bias, *out);
    const Floats got = b.rows_of(*out, count);
    for (int row = 0; row < count; row++) {
      const Doubles of_row = row_of(x, row, inputs), sums = multiply(w, of_row, 2 * columns);
      for (int i = 0; i < columns; i++) {
        const double gate = sums[i] + gate_bias.values[i], up = sums[columns + i] + up_bias.values[i];
        const double gate_size = size_of_product(w, of_row, i) + std::abs(gate_bias.values[i]);
        const double up_size = size_of_product(w, of_row, columns + i) + std::abs(up_bias.values[i]);
        b.expect_near(got[row * columns + i], gate / (1 + std::exp(-gate)) * up, (gate_size + 1) * (up_size + 1), "swiglu with biases");
      }
    }
  }
}

void gelu_is_right(const Device& device, Random& random) {
  for (const bool is_exact : {false, true})
    for (const int count : {1, 7, 50}) {
      Bench b(device, random);
      b.shape.exact_gelu = is_exact;
      b.kernels = device.make(b.shape, b.limits, 2);
      const int columns = random.between(1, 700);
      const Floats x = b.random_rows(count, columns);
      const auto bias = b.vector(columns);
      b.begin(count);
      auto out = b.poisoned(columns);
      b.kernels->gelu(*b.activations(count, columns, x), *bias.made, *out);
      const Floats got = b.rows_of(*out, count);
      for (int i = 0; i < count * columns; i++) {
        const double sum = double(x[i]) + bias.values[i % columns], want = gelu(sum, is_exact);
        b.expect_near(got[i], want, std::abs(want) + std::abs(sum) / 20, "gelu");  // near enough to tell one from the other
      }
    }
}

// Far from zero it is x, or nothing; and no number is lost in its exponential.
void gelu_is_right_far_out(const Device& device, Random& random) {
  for (const bool is_exact : {false, true}) {
    Bench b(device, random);
    b.shape.exact_gelu = is_exact;
    b.kernels = device.make(b.shape, b.limits, 2);
    const Floats x = {-1e4f, -300, -30, -12, -5, -1, -0.0f, 0, 1e-6f, 1, 5, 12, 30, 300, 1e4f};
    const int columns = int(x.size());
    auto zero = b.kernels->make_vector(columns);
    b.kernels->upload(*zero, 0, columns, Floats(x.size(), 0).data());
    b.begin(1);
    auto out = b.poisoned(columns);
    b.kernels->gelu(*b.activations(1, columns, x), *zero, *out);
    const Floats got = b.rows_of(*out, 1);
    for (int i = 0; i < columns; i++) b.expect_near(got[i], gelu(x[i], is_exact), std::max(1.0f, x[i]), "gelu of " + std::to_string(x[i]));
  }
}

void positions_are_added_exactly(const Device& device, Random& random) {
  for (const int count : {1, 5, 77}) {
    Bench b(device, random);
    const int columns = b.shape.hidden_size, start = random.between(0, 100);
    Doubles table;
    const auto matrix = b.matrix(b.shape.context_tokens, columns, MatrixLayout::plain, table);
    std::vector<int32_t> blocks(b.shape.context_tokens / block_tokens);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = int(i);
    b.batch = greedy_batch({{random_tokens(count, b.shape.vocab_size, random), start, blocks}});
    b.kernels->begin_step(b.batch);
    const Floats x = b.random_rows(count, columns);
    const auto residual = b.activations(count, columns, x);
    b.kernels->add_positions(*matrix, *residual);
    const Floats rows = b.rows_of(*residual, count);
    for (int i = 0; i < count * columns; i++)
      expect(rows[i] == x[i] + float(table[(start + i / columns) * columns + i % columns]), "a position differs");
  }
}

// Rows of weights as long as the 34B has them, relative to the length of the whole result.
void long_products_are_right(const Device& device, Random& random) {
  for (const int rows : {1, 9, 140}) {
    Bench b(device, random);
    const bool is_too_slow = device.is_slow && rows > 9;
    const int inputs = is_too_slow ? 1000 : random.one_of<int>({8192, 22016}), columns = random.between(65, 80);
    Doubles w;
    const auto weight = b.matrix(columns, inputs, MatrixLayout::plain, w);
    const int checked = std::min(rows, 12);
    const auto out_rows = b.kernels->make_activations(rows, columns), in = b.kernels->make_activations(rows, inputs);
    const Floats x = b.random_rows(rows, inputs);
    b.kernels->upload(*in, rows, x.data());
    b.begin(1);
    b.kernels->logits(*in, *weight, rows, *out_rows);
    const Floats out = b.rows_of(*out_rows, rows);
    double error = 0, length = 0;
    for (int row = rows - checked; row < rows; row++) {
      const Doubles want = multiply(w, row_of(x, row, inputs), columns);
      for (int i = 0; i < columns; i++) {
        error += std::pow(out[row * columns + i] - want[i], 2);
        length += want[i] * want[i];
      }
    }
    expect(std::sqrt(error / length) <= 2e-3, "relative L2 " + std::to_string(std::sqrt(error / length)));
  }
}

}  // namespace

std::vector<Test> kernel_tests(const Device& device) {
  const auto on = [&](const std::string& name, void (*body)(const Device&, Random&)) {
    return Test{device.name + ": " + name, [=](Random& random) { body(device, random); }};
  };
  std::vector<Test> tests = {
      on("embedding rows are exact", embedding_rows_are_exact),
      on("rms norm is right, for all tokens and for sampled rows", rms_norm_is_right),
      on("layer norm is right, for all tokens and for sampled rows", layer_norm_is_right),
      on("biases are added", biases_are_added),
      on("gate and up have their biases before swiglu", gate_and_up_have_biases),
      on("gelu is right, by tanh and exact", gelu_is_right),
      on("gelu is right far from zero", gelu_is_right_far_out),
      on("positions are added exactly", positions_are_added_exactly),
      on("a product is right, and the same alone and in a batch",
         [](const Device& d, Random& r) { product_is_right(d, r, Product::store); }),
      on("a product added to the residual is right, and the same alone and in a batch",
         [](const Device& d, Random& r) { product_is_right(d, r, Product::add); }),
      on("gate, up and swiglu are right, and the same alone and in a batch",
         [](const Device& d, Random& r) { product_is_right(d, r, Product::swiglu); }),
      on("fp8 weights multiply as what they are", fp8_weights_are_exact),
      on("fp8 products are right, and the same alone and in a batch", fp8_products_are_right),
      on("products of a prefill are right, and the same alone", large_products_are_right_and_batch_invariant),
      on("products as long as the 34B's are right", long_products_are_right),
  };
  for (const Test& test : adapter_kernel_tests(device)) tests.push_back(test);
  return tests;
}

}  // namespace ziya::test
