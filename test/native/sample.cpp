// Sampling through kernels.h: distributions by chi-square, filters against plain sorting, draws that repeat whatever
// their neighbours are.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "reference.h"

namespace ziya::test {
namespace {

constexpr int rows_max = 64;

// Rows of logits and their parameters, run through the sample kernel in one step.
struct Sampling {
  Sampling(const Device& device, int vocab)
      : shape(small_shape(vocab, rows_max)),
        kernels(device.make(shape, {.batch_tokens_max = rows_max, .sequences_max = 1, .blocks = 8}, 2)),
        logits(kernels->make_activations(rows_max, vocab)) {
    batch.tokens.assign(rows_max, 0);
    batch.token_counts = {rows_max};
    batch.starts = {0};
    batch.block_counts = {rows_max / block_tokens};
    for (int i = 0; i < rows_max / block_tokens; i++) batch.block_tables.push_back(i);
  }

  void set_rows(int count) {
    batch.rows.clear();
    for (int i = 0; i < count; i++) batch.rows.push_back({.token = i});
  }

  StepResult draw(const std::vector<float>& values) {
    StepResult result;
    kernels->upload(*logits, int(batch.rows.size()), values.data());
    kernels->begin_step(batch);
    if (batch.has_references()) kernels->resolve_references(*kernels);
    kernels->sample(*logits, {0, int(batch.rows.size())});
    kernels->end_step();
    kernels->finish_step(result);
    return result;
  }

  const ModelShape shape;
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<Activations> logits;
  StepBatch batch;
};

std::vector<float> random_logits(int count, Random& random) {
  std::vector<float> values;
  for (int i = 0; i < count; i++) values.push_back(random.normal(2));
  return values;
}

struct Filters {
  float temperature = 1, top_p = 1, min_p = 0;
  int top_k = 0;

  void set(Row& row) const {
    row.temperature = temperature;
    row.top_p = top_p;
    row.min_p = min_p;
    row.top_k = top_k;
  }
};

// The distribution that the filters leave, by sorting.
Doubles filtered(const std::vector<float>& logits, const Filters& filters) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  const auto weight = [&](int id) { return std::exp((double(logits[id]) - logits[order[0]]) / filters.temperature); };
  if (filters.top_k > 0) order.resize(std::min(order.size(), size_t(filters.top_k)));
  double total = 0, passed = 0, kept = 0;
  for (const int id : order) total += weight(id);
  size_t count = 0;
  while (count < order.size() && (count == 0 || passed < filters.top_p * total)) passed += weight(order[count++]);
  order.resize(count);
  std::erase_if(order, [&](int id) { return weight(id) < filters.min_p; });
  for (const int id : order) kept += weight(id);
  Doubles result(logits.size());
  for (const int id : order) result[id] = weight(id) / kept;
  return result;
}

void draws_follow_the_distribution(const Device& device, Random& random) {
  const int vocab = 37, draws = device.is_slow ? 640 : 20000;
  const std::vector<Filters> cases = {{},
                                      {.temperature = 0.5f},
                                      {.temperature = 2},
                                      {.top_p = 0.7f},
                                      {.min_p = 0.1f},
                                      {.top_k = 5},
                                      {.temperature = 1.3f, .top_p = 0.9f, .min_p = 0.02f, .top_k = 20}};
  for (const auto& filters : cases) {
    Sampling sampling(device, vocab);
    const auto logits = random_logits(vocab, random);
    const Doubles want = filtered(logits, filters);
    const uint64_t seed = random.bits();
    std::vector<int> seen(vocab);
    std::vector<float> rows;
    for (int i = 0; i < rows_max; i++) rows.insert(rows.end(), logits.begin(), logits.end());
    sampling.set_rows(rows_max);
    for (Row& row : sampling.batch.rows) filters.set(row), row.seed = seed;
    for (int first = 0; first < draws; first += rows_max) {
      for (int i = 0; i < rows_max; i++) sampling.batch.rows[i].counter = first + i;
      for (const int token : sampling.draw(rows).tokens) seen[token]++;
    }
    const int total = std::accumulate(seen.begin(), seen.end(), 0);
    double chi_square = 0;
    int cells = 0;
    for (int id = 0; id < vocab; id++) {
      expect(want[id] > 0 || seen[id] == 0, "a filtered token was drawn");
      if (want[id] * total < 5) continue;
      chi_square += std::pow(seen[id] - want[id] * total, 2) / (want[id] * total);
      cells++;
    }
    // Mean cells, deviation sqrt(2 cells): six deviations above is one run in a hundred million.
    expect(chi_square < cells + 6 * std::sqrt(2.0 * cells) + 10,
           "chi-square " + std::to_string(chi_square) + " over " + std::to_string(cells) + " cells");
  }
}

void filters_keep_what_sorting_keeps(const Device& device, Random& random) {
  const int vocab = 1000;
  for (int round = 0; round < (device.is_slow ? 3 : 20); round++) {
    Sampling sampling(device, vocab);
    const Filters filters = {.temperature = float(0.3 + random.uniform() * 2),
                             .top_p = float(0.05 + 0.9 * random.uniform()),
                             .min_p = random.between(0, 1) ? float(0.2 * random.uniform()) : 0,
                             .top_k = random.between(0, 1) ? random.between(1, vocab) : 0};
    sampling.set_rows(rows_max);
    std::vector<float> rows;
    std::vector<Doubles> want;
    for (int i = 0; i < rows_max; i++) {
      const auto logits = random_logits(vocab, random);
      rows.insert(rows.end(), logits.begin(), logits.end());
      want.push_back(filtered(logits, filters));
      sampling.batch.rows[i].seed = random.bits();
    }
    for (Row& row : sampling.batch.rows) filters.set(row);
    int outside = 0;
    const auto tokens = sampling.draw(rows).tokens;
    for (int i = 0; i < rows_max; i++) outside += want[i][tokens[i]] == 0;
    // fp32 may put the edge of top-p one token away; that token is then drawn very seldom.
    expect(outside <= 1, std::to_string(outside) + " draws lie outside the filters");
  }
}

void greedy_takes_the_highest_and_lowest_id(const Device& device, Random& random) {
  const int vocab = 101;
  Sampling sampling(device, vocab);
  sampling.set_rows(rows_max);
  std::vector<float> rows = random_logits(rows_max * vocab, random);
  std::vector<int> want;
  for (int i = 0; i < rows_max; i++) {
    const int first = random.between(0, vocab - 1), second = random.between(0, vocab - 1);
    rows[i * vocab + first] = rows[i * vocab + second] = 50;
    want.push_back(std::min(first, second));
  }
  expect(sampling.draw(rows).tokens == want, "argmax, the lowest id among equals");
}

void a_draw_depends_on_its_own_row_alone(const Device& device, Random& random) {
  const int vocab = 333;
  Sampling sampling(device, vocab);
  const auto logits = random_logits(vocab, random);
  const uint64_t seed = random.bits();
  const int counter = random.between(0, 1000);
  const auto history = random_tokens(20, vocab, random);
  std::vector<int> tokens;
  for (const int count : {1, 2, 7, rows_max}) {
    const int place = random.between(0, count - 1);
    sampling.set_rows(count);
    std::vector<float> rows = random_logits(count * vocab, random);
    std::copy(logits.begin(), logits.end(), rows.begin() + place * vocab);
    sampling.batch.history.clear();
    for (int i = 0; i < count; i++) {
      const auto own = i == place ? history : random_tokens(random.between(0, 9), vocab, random);
      append_history(sampling.batch, sampling.batch.rows[i], own, int(own.size()) / 2);
      sampling.batch.rows[i].temperature = i == place ? 1.5f : float(random.uniform() * 2);
      sampling.batch.rows[i].top_p = i == place ? 0.9f : float(0.1 + 0.9 * random.uniform());
      sampling.batch.rows[i].repetition_penalty = 1.2f;
      sampling.batch.rows[i].frequency_penalty = 0.3f;
      sampling.batch.rows[i].seed = i == place ? seed : random.bits();
      sampling.batch.rows[i].counter = i == place ? counter : random.between(0, 1000);
    }
    tokens.push_back(sampling.draw(rows).tokens[place]);
  }
  expect(std::all_of(tokens.begin(), tokens.end(), [&](int token) { return token == tokens[0]; }), "the draw changed");
}

// Under any parameters only what is in the mask is drawn, and with the probabilities that it has among itself.
void only_what_is_in_the_mask_is_drawn(const Device& device, Random& random) {
  const int vocab = 77, rows = 60;
  Sampling sampling(device, vocab);
  sampling.set_rows(rows);
  auto& b = sampling.batch;
  auto logits = random_logits(rows * vocab, random);
  for (int r = 0; r < rows; r++) {
    Row& row = b.rows[r];
    row.temperature = random.one_of<float>({0, 0.7f, 2});
    row.top_k = random.one_of<int32_t>({0, 1, 5});
    row.top_p = random.one_of<float>({0.3f, 1});
    row.min_p = random.one_of<float>({0, 0.2f});
    row.seed = random.bits();
    row.mask = {int(b.mask_words.size()), r % 4 == 0 ? 0 : mask_words(vocab)};
    for (int i = 0; i < row.mask.count; i++) b.mask_words.push_back(0);
    if (row.mask.count == 0) continue;
    for (int i = random.between(1, 4); i > 0; i--) {
      const int id = random.between(0, vocab - 1);
      b.mask_words[row.mask.begin + id / mask_word_bits] |= int32_t(1u << id % mask_word_bits);
    }
  }
  const StepResult masked = sampling.draw(logits);
  for (int r = 0; r < rows; r++) {
    const Row& row = b.rows[r];
    if (row.mask.count > 0) expect(is_in_mask(b.mask_words.data() + row.mask.begin, masked.tokens[r]), "a token of the mask");
  }
  // Logits far below all others say the same as a mask.
  for (int r = 0; r < rows; r++) {
    Row& row = b.rows[r];
    for (int id = 0; row.mask.count > 0 && id < vocab; id++)
      if (!is_in_mask(b.mask_words.data() + row.mask.begin, id)) logits[r * vocab + id] = -1e30f;
    row.mask = {0, 0};
  }
  b.mask_words.clear();
  expect(sampling.draw(logits).tokens == masked.tokens, "the same tokens as from logits without the others");
}

void a_scored_row_tells_of_its_id_and_draws_nothing(const Device& device, Random& random) {
  const int vocab = 1237;
  Sampling sampling(device, vocab);
  sampling.set_rows(rows_max);
  const std::vector<float> logits = random_logits(rows_max * vocab, random);
  for (Row& row : sampling.batch.rows) row.temperature = 1, row.seed = random.bits(), row.logprobs = random.between(-1, 3);
  const StepResult drawn = sampling.draw(logits);
  for (int i = 0; i < rows_max; i++)
    if (random.between(0, 1)) sampling.batch.rows[i].scored = random.between(0, vocab - 1);
  const StepResult scored = sampling.draw(logits);
  for (int i = 0; i < rows_max; i++) {
    const int id = sampling.batch.rows[i].scored < 0 ? drawn.tokens[i] : sampling.batch.rows[i].scored;
    const float* own = logits.data() + i * vocab;
    double sum = 0;
    for (int other = 0; other < vocab; other++) sum += std::exp(double(own[other]));
    expect(scored.tokens[i] == id, "the token of a row is the one it scores, or that it draws beside such rows");
    expect(std::abs(scored.logprobs[i] - (own[id] - std::log(sum))) < 1e-4, "a score is of the raw logits");
  }
  expect(scored.top_ids == drawn.top_ids && scored.top_logprobs == drawn.top_logprobs, "the likeliest are the same");
}

void penalties_bias_and_bans(const Device& device, Random&) {
  Sampling sampling(device, 8);
  sampling.set_rows(7);
  std::vector<float> rows;
  for (int i = 0; i < 7; i++) rows.insert(rows.end(), {5.0f, 4.0f, -1.0f, -1.1f, -3, -3, -3, -3});
  auto& b = sampling.batch;
  const auto set_history = [&](std::vector<std::vector<int32_t>> histories, std::vector<int32_t> outputs) {
    for (size_t i = 0; i < histories.size(); i++) append_history(b, b.rows[i], histories[i], outputs[i]);
  };
  //                row 0: nothing; 1: repeated in the prompt; 2, 3: prompt does not count; 4: counts; 5: bias; 6: ban
  set_history({{}, {0, 0}, {0, 0}, {0, 0, 0}, {0, 0, 0}, {}, {}}, {0, 0, 0, 1, 2, 0, 0});
  b.rows[1].repetition_penalty = 1.3f;  // 5 / 1.3 < 4, and only once
  b.rows[2].frequency_penalty = 2;
  b.rows[3].frequency_penalty = 0.6f;  // 5 - 0.6 > 4
  b.rows[4].frequency_penalty = 0.6f;  // 5 - 1.2 < 4
  b.rows[5].bias = {0, 1};
  b.bias_ids = {6};
  b.bias_values = {100};
  b.rows[6].banned = {0, 2};
  b.banned_ids = {0, 1};
  for (Row& row : b.rows) row.logprobs = 2;
  const StepResult result = sampling.draw(rows);
  expect(result.tokens == std::vector<int32_t>({0, 1, 0, 0, 1, 6, 2}), "the drawn tokens");
  double sum = 0;
  for (const float logit : {5.0f, 4.0f, -1.0f, -1.1f, -3.0f, -3.0f, -3.0f, -3.0f}) sum += std::exp(double(logit));
  expect(std::abs(result.logprobs[5] - (-3 - std::log(sum))) < 1e-5, "a logprob is of the raw logits");
  expect(std::abs(result.logprobs[1] - (4 - std::log(sum))) < 1e-5, "a logprob is of the raw logits");
  for (int row = 0; row < 7; row++) {
    expect(result.top_ids[row * top_logprobs_max] == 0 && result.top_ids[row * top_logprobs_max + 1] == 1, "top ids");
    expect(result.top_ids[row * top_logprobs_max + 2] == -1, "padding");
    expect(std::abs(result.top_logprobs[row * top_logprobs_max] - (5 - std::log(sum))) < 1e-5, "top logprobs");
  }
}

// The end of a history as the step before drew it, unknown to the host, may be new to the history or in it already.
void the_latest_token_may_be_a_reference(const Device& device, Random& random) {
  const int vocab = 12, rows = 48;
  Sampling sampling(device, vocab);
  sampling.set_rows(rows);
  const auto before = random_logits(rows * vocab, random);
  auto after = random_logits(rows * vocab, random);
  const StepBatch first = sampling.batch;
  StepBatch named = first;
  const auto draw = [&](const StepBatch& batch, const std::vector<float>& logits) {
    sampling.batch = batch;
    return sampling.draw(logits);
  };
  const std::vector<int32_t> drawn = draw(first, before).tokens;
  for (int row = 0; row < rows; row++) {
    named.rows[row].repetition_penalty = random.one_of<float>({1, 1.5f});
    named.rows[row].frequency_penalty = random.one_of<float>({0, 0.7f});
    named.rows[row].presence_penalty = 0.5f;
    const int output_tokens = random.between(1, 6);
    auto history = random_tokens(output_tokens + random.between(0, 6) - 1, vocab, random);
    history.push_back(drawn[rows - 1 - row]);
    append_history(named, named.rows[row], history, output_tokens);
    // A little above the others: so whether it is drawn again depends on every part of its penalty.
    const auto own = after.begin() + row * vocab;
    own[named.history.back()] = *std::max_element(own, own + vocab) + 0.05f * float(random.between(0, 40));
  }
  StepBatch referring = named;
  for (int row = 0; row < rows; row++) referring.history[named.rows[row].history.end() - 1] = reference_to(rows - 1 - row);
  const StepResult want = draw(named, after);
  draw(first, before);
  expect(draw(referring, after).tokens == want.tokens, "the tokens");
  draw(first, after);
  expect(draw(referring, after).tokens != want.tokens, "what the step before drew matters");
}

void extreme_parameters_still_draw(const Device& device, Random& random) {
  const int vocab = 50;
  for (const float temperature : {1e-38f, 1e-7f, 1e-3f, 1e30f}) {
    for (const float penalty : {1e-30f, 1.0f, 1e30f}) {
      Sampling sampling(device, vocab);
      sampling.set_rows(1);
      Row& row = sampling.batch.rows[0];
      row.temperature = temperature;
      row.repetition_penalty = penalty;
      row.frequency_penalty = 3e38f;
      append_history(sampling.batch, row, random_tokens(60, vocab, random), 30);
      row.bias = {0, 2};
      sampling.batch.bias_ids = {0, 0};
      sampling.batch.bias_values = {3e38f, -3e38f};
      const StepResult result = sampling.draw(random_logits(vocab, random));
      expect(result.tokens[0] >= 0 && result.tokens[0] < vocab, "a token of the vocabulary");
      expect(std::isfinite(result.logprobs[0]), "a finite logprob");
    }
  }
}

void a_row_without_finite_logits_draws_nothing_alone(const Device& device, Random& random) {
  const int vocab = 20, rows = 16;
  Sampling sampling(device, vocab);
  sampling.set_rows(rows);
  for (Row& row : sampling.batch.rows) row.logprobs = 3;
  auto logits = random_logits(rows * vocab, random);
  const StepResult whole = sampling.draw(logits);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const int broken = random.between(0, rows - 1);
    auto planted = logits;
    planted[broken * vocab + random.between(0, vocab - 1)] = bad;
    const StepResult result = sampling.draw(planted);
    for (int row = 0; row < rows; row++) {
      expect(result.tokens[row] == (row == broken ? nothing_drawn : whole.tokens[row]), "the tokens of the others");
      if (row == broken) continue;
      expect(result.logprobs[row] == whole.logprobs[row], "their log-probabilities");
      for (int i = row * top_logprobs_max; i < (row + 1) * top_logprobs_max; i++)
        expect(result.top_ids[i] == whole.top_ids[i], "their alternatives");
    }
  }
}

}  // namespace

std::vector<Test> sample_tests(const Device& device) {
  const auto on = [&](const std::string& name, void (*body)(const Device&, Random&)) {
    return Test{device.name + ": " + name, [=](Random& random) { body(device, random); }};
  };
  return {
      on("draws follow the distribution", draws_follow_the_distribution),
      on("filters keep what sorting keeps", filters_keep_what_sorting_keeps),
      on("temperature 0 takes the highest logit, the lowest id among equals", greedy_takes_the_highest_and_lowest_id),
      on("a draw depends on its own row alone", a_draw_depends_on_its_own_row_alone),
      on("a scored row tells of its id and draws nothing", a_scored_row_tells_of_its_id_and_draws_nothing),
      on("penalties, bias, bans and logprobs", penalties_bias_and_bans),
      on("only what is in the mask is drawn", only_what_is_in_the_mask_is_drawn),
      on("the latest token of a history may be what the step before drew",
         [](const Device& tested, Random& random) {
           for (int round = 0; round < 4; round++) the_latest_token_may_be_a_reference(tested, random);
         }),
      on("extreme parameters still draw a token", extreme_parameters_still_draw),
      on("a row without finite logits draws nothing, and no other row notices", a_row_without_finite_logits_draws_nothing_alone)};
}

}  // namespace ziya::test
