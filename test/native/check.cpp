// The door: each field of a batch is broken alone and must be refused by name; then random damage, which must be
// refused or harmless.
#include <climits>
#include <cmath>

#include "engine.h"
#include "reference.h"

namespace ziya::test {
namespace {

const StepLimits limits = {.batch_tokens_max = 64, .sequences_max = 4, .blocks = 40};

const ModelShape small = small_shape(50, 128);

// Of 1, 2, 3, ..., so many for each row, of which so many are output.
void set_histories(StepBatch& batch, const std::vector<int>& counts, const std::vector<int>& outputs) {
  batch.history.clear();
  for (size_t row = 0; row < counts.size(); row++) {
    std::vector<int32_t> ids;
    for (int i = 0; i < counts[row]; i++) ids.push_back(int(batch.history.size()) + i + 1);
    append_history(batch, batch.rows[row], ids, outputs[row]);
  }
}

StepBatch good_batch() {
  StepBatch batch = greedy_batch({{{1, 2, 3}, 15, {7, 3}}, {{4}, 40, {0, 1, 2}}});
  set_histories(batch, {3, 1}, {1, 0});
  batch.bias_ids = {5};
  batch.bias_values = {1.5f};
  batch.rows[1].bias = {0, 1};
  batch.banned_ids = {9, 10};
  batch.rows[0].banned = {0, 2};
  batch.rows[1].banned = {2, 0};
  batch.rows[0].mask = {0, 0};
  batch.rows[1].mask = {0, 2};
  batch.mask_words = {1 << 9, 1 << 17};
  return batch;
}

using Damage = std::function<void(StepBatch&)>;

void expect_refused(const char* field, const Damage& damage) {
  StepBatch batch = good_batch();
  damage(batch);
  const auto check = [&] { check_batch(batch, small, limits); };
  expect(error_code(check) == "bad_batch", std::string(field) + " is not refused");
  expect(error_text(check).starts_with(std::string(field) + ":"),
         "the refusal names another field: " + error_text(check));
}

void each_field_is_checked(Random&) {
  check_batch(good_batch(), small, limits);
  expect_refused("tokens", [](auto& b) { b.tokens[0] = 50; });
  expect_refused("tokens", [](auto& b) { b.tokens[3] = -1; });
  expect_refused("tokens", [](auto& b) { b.tokens.resize(65), b.token_counts = {64, 1}; });
  expect_refused("token_counts", [](auto& b) { b.token_counts = {4, 0}; });
  expect_refused("token_counts", [](auto& b) { b.token_counts = {INT_MAX, INT_MAX}; });
  expect_refused("token_counts", [](auto& b) { b.token_counts = {5, -1}; });
  expect_refused("token_counts", [](auto& b) { b.token_counts.clear(); });
  expect_refused("starts", [](auto& b) { b.starts[0] = -1; });
  expect_refused("starts", [](auto& b) { b.starts[0] = 126; });
  expect_refused("starts", [](auto& b) { b.starts[1] = INT_MAX; });
  expect_refused("starts", [](auto& b) { b.starts.pop_back(); });
  expect_refused("block_counts", [](auto& b) { b.starts[1] = 48; });
  expect_refused("block_counts", [](auto& b) { b.block_counts = {2, 2}; });
  expect_refused("block_counts", [](auto& b) { b.block_counts = {6, -1}; });
  expect_refused("block_tables", [](auto& b) { b.block_tables[2] = 40; });
  expect_refused("block_tables", [](auto& b) { b.block_tables[0] = -1; });
  expect_refused("block_tables", [](auto& b) { b.block_tables[1] = 7; });
  expect_refused("block_tables", [](auto& b) { b.block_tables[4] = 3; });
  expect_refused("rows", [](auto& b) { b.rows[0].token = 4; });
  expect_refused("rows", [](auto& b) { b.rows[1].token = -1; });
  expect_refused("rows", [](auto& b) { b.rows.resize(5); });
  expect_refused("scored", [](auto& b) { b.rows[0].scored = 50; });
  expect_refused("scored", [](auto& b) { b.rows[1].scored = -2; });
  expect_refused("temperature", [](auto& b) { b.rows[0].temperature = -0.1f; });
  expect_refused("temperature", [](auto& b) { b.rows[0].temperature = NAN; });
  expect_refused("top_p", [](auto& b) { b.rows[0].top_p = 0; });
  expect_refused("top_p", [](auto& b) { b.rows[1].top_p = 1.01f; });
  expect_refused("min_p", [](auto& b) { b.rows[0].min_p = INFINITY; });
  expect_refused("repetition_penalty", [](auto& b) { b.rows[0].repetition_penalty = 0; });
  expect_refused("frequency_penalty", [](auto& b) { b.rows[0].frequency_penalty = NAN; });
  expect_refused("presence_penalty", [](auto& b) { b.rows[0].presence_penalty = -INFINITY; });
  expect_refused("top_k", [](auto& b) { b.rows[0].top_k = -1; });
  expect_refused("counter", [](auto& b) { b.rows[0].counter = -1; });
  expect_refused("history", [](auto& b) { b.history[0] = 50; });
  expect_refused("history", [](auto& b) { b.rows[1].history.count = 2; });
  expect_refused("history", [](auto& b) { b.rows[0].history.count = 5, b.rows[1].history = {5, -1}; });
  expect_refused("history", [](auto& b) { b.rows[1].history.begin = 2; });
  expect_refused("history", [](auto& b) { b.rows[0].history.begin = INT_MIN; });
  expect_refused("history", [](auto& b) { b.rows[0].history.count = INT_MAX, b.rows[1].history = {INT_MAX, INT_MAX}; });
  expect_refused("history", [](auto& b) { b.history.push_back(1); });
  expect_refused("output_tokens", [](auto& b) { b.rows[0].output_tokens = 4; });
  expect_refused("output_tokens", [](auto& b) { b.rows[1].output_tokens = -1; });
  expect_refused("bias", [](auto& b) { b.rows[0].bias.count = 1; });
  expect_refused("bias", [](auto& b) { b.rows[1].bias = {1, 0}; });
  expect_refused("bias_ids", [](auto& b) { b.bias_ids[0] = 50; });
  expect_refused("bias_values", [](auto& b) { b.bias_values[0] = NAN; });
  expect_refused("bias_values", [](auto& b) { b.bias_values.clear(); });
  expect_refused("banned", [](auto& b) { b.rows[0].banned.count = 1, b.rows[1].banned = {1, 2}; });
  expect_refused("banned_ids", [](auto& b) { b.banned_ids[1] = -5; });
  expect_refused("banned_ids", [](auto& b) {
    b.banned_ids.clear();
    for (int id = 0; id < 50; id++) b.banned_ids.push_back(id);
    b.rows[0].banned = {0, 50};
    b.rows[1].banned = {50, 0};
  });
  expect_refused("mask", [](auto& b) { b.rows[1].mask.count = 1; });
  expect_refused("mask", [](auto& b) { b.rows[1].mask.count = 1, b.mask_words.pop_back(); });
  expect_refused("mask", [](auto& b) { b.rows[1].mask.begin = -1; });
  expect_refused("mask_words", [](auto& b) { b.mask_words = {0, 0}; });
  expect_refused("mask_words", [](auto& b) { b.mask_words = {0, 1 << 18}; });  // beyond the vocabulary
  expect_refused("mask_words", [](auto& b) {
    b.rows[0].mask = {0, 2}, b.rows[1].mask = {2, 0};
    b.mask_words = {1 << 9 | 1 << 10, 0};  // both are banned
  });
  expect_refused("logprobs", [](auto& b) { b.rows[0].logprobs = 21; });
  expect_refused("logprobs", [](auto& b) { b.rows[0].logprobs = -2; });
}

// References are to rows that the step before has drawn, where a token is expected that a step draws.
void references_are_checked(Random&) {
  const auto code = [](int rows_before, const Damage& damage) {
    StepBatch batch = good_batch();
    set_histories(batch, {2, 2}, {1, 1});
    damage(batch);
    return error_code([&] { check_batch(batch, small, limits, rows_before); });
  };
  expect(code(0, [](auto& b) { b.tokens[3] = reference_to(0); }) == "bad_batch", "the step before drew nothing");
  expect(code(2, [](auto& b) { b.tokens[3] = reference_to(1); }) == "", "its last row");
  expect(code(2, [](auto& b) { b.tokens[3] = reference_to(2); }) == "bad_batch", "a row too many");
  expect(code(2, [](auto& b) { b.tokens[3] = INT_MIN; }) == "bad_batch", "far too many");
  expect(code(2, [](auto& b) { b.history[1] = b.history[3] = reference_to(0); }) == "", "the ends of the histories");
  expect(code(2, [](auto& b) { b.history[3] = reference_to(2); }) == "bad_batch", "a row too many in a history");
  expect(code(2, [](auto& b) { b.history[0] = reference_to(0); }) == "bad_batch", "not the end of a history");
  expect(code(2, [](auto& b) { b.history[3] = reference_to(0), b.rows[1].output_tokens = 0; }) == "bad_batch", "the end of a prompt");
}

template <class T>
void damage_one(std::vector<T>& values, const std::vector<T>& extremes, Random& random) {
  if (random.between(0, 3) == 0) {
    values.resize(size_t(random.between(0, int(values.size()) + 1)));
  } else if (!values.empty()) {
    values[size_t(random.between(0, int(values.size()) - 1))] = random.one_of(extremes);
  }
}

const std::vector<int32_t> extreme_ints = {INT_MIN, -1, 0, 1, 2, 16, 39, 40, 49, 50, INT_MAX};
const std::vector<float> extreme_floats = {-1e38f, -1, 0, 1e-38f, 0.5f, 1, 1e38f, INFINITY, NAN};

void damage_row(Row& row, Random& random) {
  const std::vector<int32_t*> ints = {&row.token,         &row.counter,       &row.top_k,      &row.logprobs,   &row.output_tokens,
                                      &row.history.begin, &row.history.count, &row.bias.begin, &row.bias.count, &row.banned.begin,
                                      &row.banned.count,  &row.mask.begin,    &row.mask.count};
  const std::vector<float*> floats = {&row.temperature,        &row.top_p,             &row.min_p,
                                      &row.repetition_penalty, &row.frequency_penalty, &row.presence_penalty};
  if (random.between(0, 1))
    *random.one_of(ints) = random.one_of(extreme_ints);
  else
    *random.one_of(floats) = random.one_of(extreme_floats);
}

void damage_any(StepBatch& b, Random& random) {
  const std::vector<std::vector<int32_t>*> ints = {&b.tokens,       &b.token_counts, &b.starts,   &b.block_counts,
                                                   &b.block_tables, &b.history,      &b.bias_ids, &b.banned_ids,
                                                   &b.mask_words};
  const int which = random.between(0, 2 * int(ints.size()));
  if (which < int(ints.size()))
    damage_one(*ints[which], extreme_ints, random);
  else if (which == int(ints.size()))
    damage_one(b.bias_values, extreme_floats, random);
  else if (random.between(0, 7) == 0)
    b.rows.resize(size_t(random.between(0, int(b.rows.size()) + 1)));
  else
    damage_row(b.rows[size_t(random.between(0, int(b.rows.size()) - 1))], random);
}

// Built with the address sanitizer, this is what shows that nothing that passes the door touches foreign memory.
void random_damage_is_refused_or_harmless(Random& random) {
  const RandomModel weights = random_model(small, random);
  const Devices devices(make_cpu_kernels(weights.shape, limits, 2, CpuIsa::automatic), weights.shape.layers);
  const auto model = load_model(weights, limits, devices);
  const std::atomic<bool> cancelled{false};
  int refused = 0;
  for (int round = 0; round < 3000; round++) {
    StepBatch batch = good_batch();
    for (int i = random.between(1, 2); i > 0 && !batch.rows.empty(); i--) damage_any(batch, random);
    const std::string code = error_code([&] {
      check_batch(batch, weights.shape, limits);
      model->step(batch, cancelled);
    });
    expect(code == "" || code == "bad_batch", "another error: " + code);
    refused += code == "bad_batch";
  }
  expect(refused > 1000, "hardly anything was refused");
}

void shapes_are_checked(Random&) {
  const auto code = [](auto change) {
    ModelShape shape = small;
    change(shape);
    return error_code([&] { check_shape(architecture_of("llama"), shape, limits); });
  };
  expect(code([](auto&) {}) == "", "a good shape");
  expect(code([](auto& s) { s.heads = 3, s.kv_heads = 2; }) == "bad_shape", "kv_heads");
  expect(code([](auto& s) { s.head_size = 7; }) == "bad_shape", "head_size");
  expect(code([](auto& s) { s.vocab_size = 0; }) == "bad_shape", "vocab_size");
  expect(code([](auto& s) { s.hidden_size = INT_MAX; }) == "bad_shape", "hidden_size");
  expect(code([](auto& s) { s.heads = INT_MAX; }) == "bad_shape", "heads");
  expect(code([](auto& s) { s.rope_theta = 0; }) == "bad_shape", "rope_theta");
  expect(code([](auto& s) { s.rope_theta = NAN; }) == "bad_shape", "rope_theta");
  expect(code([](auto& s) { s.rope_scaling_factor = 0; }) == "bad_shape", "rope_scaling_factor");
  expect(code([](auto& s) { s.rope_original_tokens = -1, s.rope_low_turns = 1, s.rope_high_turns = 4; }) == "bad_shape", "rope_original_tokens");
  expect(code([](auto& s) { s.rope_original_tokens = 64, s.rope_low_turns = 4, s.rope_high_turns = 4; }) == "bad_shape", "rope_high_turns");
  expect(code([](auto& s) { s.rope_original_tokens = 64, s.rope_low_turns = 1, s.rope_high_turns = 4; }) == "", "turns");
  expect(code([](auto& s) { s.rms_norm_eps = -1; }) == "bad_shape", "rms_norm_eps");
  expect(code([](auto& s) { s.heads = s.kv_heads = s.head_size = 0; }) == "bad_shape", "a Llama has attention");
  expect(code([](auto& s) { s.intermediate_size = 0; }) == "bad_shape", "a Llama has an MLP");
}

}  // namespace

std::vector<Test> check_tests() {
  return {{"each field of a batch is checked, and named", each_field_is_checked},
          {"references in a batch are checked", references_are_checked},
          {"random damage to a batch is refused or harmless", random_damage_is_refused_or_harmless},
          {"shapes are checked", shapes_are_checked}};
}

}  // namespace ziya::test
