#include "grammar/grammar.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "engine_error.h"

namespace ziya {
namespace {

// Readings of one text at a time, beyond which it is taken as one that may not come: a grammar that is so ambiguous would
// hold up everybody's steps.
constexpr size_t configs_max = 2048;
constexpr int frames_max = 1 << 23;  // more than can come before they are forgotten
// Readings that one mask may follow. They are counted as if nothing were remembered, so that a mask does not depend on that.
constexpr int64_t work_max = 500'000;
constexpr int64_t work_a_step = 16;
constexpr int32_t nodes_max = 1 << 20;

uint64_t pair(int32_t a, int32_t b) { return uint64_t(uint32_t(a)) << 32 | uint32_t(b); }

[[noreturn]] void refuse(const char* why) { throw EngineError("bad_grammar", why); }

class Reader {
 public:
  explicit Reader(std::span<const int32_t> words) : words_(words) {}
  int32_t next(int32_t low, int32_t end) {
    if (at_ == words_.size()) refuse("the grammar ends early");
    const int32_t word = words_[at_++];
    if (word < low || word >= end) refuse("the grammar has a word out of range");
    return word;
  }
  bool is_at_end() const { return at_ == words_.size(); }

 private:
  std::span<const int32_t> words_;
  size_t at_ = 0;
};

}  // namespace

TokenTree::TokenTree(std::span<const uint8_t> bytes, std::span<const int32_t> ends)
    : vocab_size_(int(ends.size())), bytes_(bytes.begin(), bytes.end()), ends_(ends.begin(), ends.end()) {
  for (size_t i = 0; i < ends_.size(); i++)
    if (ends_[i] < (i == 0 ? 0 : ends_[i - 1]) || size_t(ends_[i]) > bytes_.size()) refuse("the tokens' ends are out of order");
  std::vector<int32_t> order(ends_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::ranges::lexicographical_compare(bytes_of(a), bytes_of(b));
  });
  std::vector<int32_t> path;  // nodes from the root to the token before
  std::span<const uint8_t> before;
  const auto leave = [&](size_t depth) {
    while (path.size() > depth) nodes_[size_t(path.back())].skip = int32_t(nodes_.size()), path.pop_back();
  };
  for (const int32_t token : order) {
    const auto own = bytes_of(token);
    if (own.empty()) continue;
    size_t same = 0;
    while (same < own.size() && same < before.size() && own[same] == before[same]) same++;
    leave(same);
    for (size_t depth = same; depth < own.size(); depth++) {
      path.push_back(int32_t(nodes_.size()));
      nodes_.push_back({own[depth], int32_t(depth), 0, int32_t(tokens_.size()), 0});
    }
    nodes_[size_t(path.back())].token_count++;
    tokens_.push_back(token);
    depth_max_ = std::max(depth_max_, int(own.size()));
    before = own;
  }
  leave(0);
}

std::span<const uint8_t> TokenTree::bytes_of(int token) const {
  const int32_t begin = token == 0 ? 0 : ends_[size_t(token) - 1];
  return std::span(bytes_).subspan(size_t(begin), size_t(ends_[size_t(token)] - begin));
}

Grammar::Grammar(std::span<const int32_t> words) {
  parse(words);
  forget();
}

void Grammar::parse(std::span<const int32_t> words) {
  Reader reader(words);
  classes_ = reader.next(1, 257);
  nodes_ = reader.next(1, nodes_max);
  start_node_ = reader.next(0, nodes_);
  is_final_.reserve(size_t(nodes_));
  first_edge_.reserve(size_t(nodes_) + 1);
  first_call_.reserve(size_t(nodes_) + 1);
  edges_.reserve(words.size() / 2);
  only_byte_.assign(size_t(classes_), unknown);
  for (int byte = 0; byte < 256; byte++) {
    class_of_.push_back(uint8_t(reader.next(0, classes_)));
    int32_t& only = only_byte_[class_of_.back()];
    only = only == unknown ? byte : many;
  }
  for (int32_t node = 0; node < nodes_; node++) {
    is_final_.push_back(uint8_t(reader.next(0, 2)));
    const int32_t bytes = reader.next(0, classes_ + 1), calls = reader.next(0, nodes_max);
    first_edge_.push_back(int32_t(edges_.size()));
    for (int32_t i = 0; i < bytes; i++) {
      const int32_t byte_class = reader.next(i == 0 ? 0 : edges_.back().byte_class + 1, classes_);
      edges_.push_back({byte_class, reader.next(0, nodes_)});
    }
    first_call_.push_back(int32_t(calls_.size()));
    for (int32_t i = 0; i < calls; i++) {
      const int32_t start = reader.next(0, nodes_);
      calls_.push_back({start, reader.next(0, nodes_)});
    }
  }
  first_edge_.push_back(int32_t(edges_.size()));
  first_call_.push_back(int32_t(calls_.size()));
  alike_bytes_ = reader.next(0, INT32_MAX);
  for (int32_t node = 0; node < nodes_; node++) alike_node_.push_back(reader.next(0, nodes_));
  for (const int32_t first : alike_node_)
    if (alike_node_[size_t(first)] != first) refuse("the grammar likens a node to one that is like another");
  if (!reader.is_at_end()) refuse("the grammar goes on behind its end");
}

void Grammar::forget() {
  frames_.assign(1, {dead, 0});
  frame_ids_.clear();
  alike_frame_.assign(1, 0);
  states_.clear();
  alike_state_.clear();
  steps_.clear();
  walked_.clear();
  state_ids_.clear();
  masks_.clear();
  start_state_ = unknown;
  config_count_ = mask_word_count_ = 0;
}

int64_t Grammar::bytes() const {
  constexpr int64_t entry = 64;  // of a table, about
  return int64_t(2 * edges_.size() + 2 * steps_.size() + size_t(mask_word_count_)) * 4 + config_count_ * 8 +
         int64_t(states_.size() + frames_.size() + masks_.size()) * entry;
}

bool Grammar::trim(int64_t bytes_max) {
  if (bytes() - int64_t(edges_.size() * sizeof(Edge)) <= bytes_max) return false;
  forget();
  return true;
}

int32_t Grammar::start() {
  if (start_state_ == unknown) {
    overflows_ = false;
    reach(start_node_, 0);
    start_state_ = close_and_intern();
  }
  return start_state_;
}

// A rule that is called last returns to whoever called the one before: so what is nested on the right needs no frames.
int32_t Grammar::push(int32_t node, int32_t stack) {
  const bool is_last = is_final_[size_t(node)] && !has_bytes(node) && first_call_[size_t(node)] == first_call_[size_t(node) + 1];
  if (is_last) return stack;
  const auto [at, is_new] = frame_ids_.try_emplace(pair(node, stack), int32_t(frames_.size()));
  if (is_new) frames_.push_back({node, stack});
  return at->second;
}

void Grammar::reach(int32_t node, int32_t stack) {
  if (open_.size() >= configs_max || frames_.size() >= size_t(frames_max)) {
    overflows_ = true;
    return;
  }
  if (seen_.try_emplace(pair(node, stack), true).second) open_.push_back({node, stack});
}

// Follows calls and returns from what was reached. What no byte leads on from is dropped: it has done its part.
int32_t Grammar::close_and_intern() {
  accepts_ = false;
  for (size_t i = 0; i < open_.size(); i++) {
    const auto [node, stack] = open_[i];
    for (int32_t c = first_call_[size_t(node)]; c < first_call_[size_t(node) + 1]; c++)
      reach(calls_[size_t(c)].start, push(calls_[size_t(c)].returns_to, stack));
    if (!is_final_[size_t(node)]) continue;
    if (stack == 0)
      accepts_ = true;
    else
      reach(frames_[size_t(stack)].node, frames_[size_t(stack)].parent);
  }
  std::vector<Config> configs;
  for (const Config& config : open_)
    if (has_bytes(config.node)) configs.push_back(config);
  open_.clear();
  seen_.clear();
  if (overflows_ || (configs.empty() && !accepts_)) return dead;
  std::sort(configs.begin(), configs.end());
  return intern(std::move(configs), accepts_);
}

int32_t Grammar::intern(std::vector<Config> configs, bool accepts) {
  uint64_t hash = accepts ? 1469598103934665603u : 88172645463325252u;
  for (const Config& config : configs) hash = (hash ^ pair(config.node, config.stack)) * 1099511628211u, hash ^= hash >> 29;
  for (auto [at, end] = state_ids_.equal_range(hash); at != end; ++at) {
    const State& same = states_[size_t(at->second)];
    if (same.accepts == accepts && same.configs == configs) return at->second;
  }
  const auto id = int32_t(states_.size());
  config_count_ += int64_t(configs.size());
  states_.push_back({std::move(configs), accepts});
  alike_state_.push_back(unknown);
  steps_.resize(steps_.size() + size_t(classes_), unknown);
  walked_.resize(steps_.size());
  state_ids_.emplace(hash, id);
  return id;
}

int32_t Grammar::target(int32_t node, int32_t byte_class) const {
  const auto begin = edges_.begin() + first_edge_[size_t(node)], end = edges_.begin() + first_edge_[size_t(node) + 1];
  const auto at = std::lower_bound(begin, end, byte_class, [](const Edge& edge, int32_t wanted) { return edge.byte_class < wanted; });
  return at != end && at->byte_class == byte_class ? at->target : dead;
}

int32_t Grammar::step_class(int32_t state, int32_t byte_class) {
  const size_t at = size_t(state) * size_t(classes_) + size_t(byte_class);
  if (steps_[at] != unknown) return steps_[at];
  overflows_ = false;
  for (const auto& [node, stack] : states_[size_t(state)].configs) {
    const int32_t next = target(node, byte_class);
    if (next != dead) reach(next, stack);
  }
  const int32_t next = open_.empty() ? dead : close_and_intern();
  steps_[at] = next;  // the table may have moved, its places have not
  return next;
}

int32_t Grammar::advance(int32_t state, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return dead;
  for (const uint8_t byte : bytes)
    if ((state = step_class(state, class_of_[byte])) == dead) return dead;
  return state;
}

std::vector<uint8_t> Grammar::forced(int32_t state, size_t bytes_max) {
  std::vector<uint8_t> bytes;
  while (bytes.size() < bytes_max) {
    const int32_t byte = forced_byte(state);
    if (byte < 0 || (state = step_class(state, class_of_[size_t(byte)])) == dead) break;
    bytes.push_back(uint8_t(byte));
  }
  return bytes;
}

int32_t Grammar::forced_byte(int32_t state) const {
  if (accepts(state)) return many;
  int32_t forced = unknown;
  for (const auto& [node, stack] : states_[size_t(state)].configs)
    for (int32_t e = first_edge_[size_t(node)]; e < first_edge_[size_t(node) + 1]; e++) {
      const int32_t byte = only_byte_[size_t(edges_[size_t(e)].byte_class)];
      if (byte < 0 || (forced >= 0 && byte != forced)) return many;
      forced = byte;
    }
  return forced;
}

// The frame whose nodes are those that its own are like. Each stands behind the one it returns to.
int32_t Grammar::alike_frame(int32_t frame) {
  while (alike_frame_.size() <= size_t(frame)) {
    const auto [node, parent] = frames_[alike_frame_.size()];
    const Frame alike{alike_node_[size_t(node)], alike_frame_[size_t(parent)]};
    const auto [at, is_new] = frame_ids_.try_emplace(pair(alike.node, alike.parent), int32_t(frames_.size()));
    if (is_new) frames_.push_back(alike);
    alike_frame_.push_back(at->second);
  }
  return alike_frame_[size_t(frame)];
}

// The state that stands for all that no token tells from it, and so follows from what it is alone.
int32_t Grammar::alike_state(int32_t state, const TokenTree& tree) {
  if (tree.depth_max() > alike_bytes_) return state;
  if (alike_state_[size_t(state)] != unknown) return alike_state_[size_t(state)];
  std::vector<Config> configs;
  for (const auto& [node, stack] : states_[size_t(state)].configs)
    configs.push_back({alike_node_[size_t(node)], alike_frame(stack)});
  std::sort(configs.begin(), configs.end());
  configs.erase(std::unique(configs.begin(), configs.end()), configs.end());
  const int32_t alike = intern(std::move(configs), accepts(state));
  return alike_state_[size_t(state)] = alike;
}

bool Grammar::has_mask(int32_t state, const TokenTree& tree, int32_t tree_number) {
  return masks_.contains(pair(alike_state(state, tree), tree_number));
}

// Visits the tokens that may come next, until a visit says false.
template <class Visit>
void Grammar::walk(int32_t state, const TokenTree& tree, const Visit& visit) {
  path_.assign(size_t(tree.depth_max()) + 1, state);  // the state before each byte of the branch
  const auto& nodes = tree.nodes();
  int64_t work = 0;
  walks_++;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTree::Node& node = nodes[i];
    const int32_t before = path_[size_t(node.depth)];
    const size_t at = size_t(before) * size_t(classes_) + class_of_[node.byte];
    if (walked_[at] != walks_) {
      walked_[at] = walks_;
      work += int64_t(states_[size_t(before)].configs.size()) + work_a_step;
    }
    const int32_t next = work > work_max ? dead : step_class(before, class_of_[node.byte]);
    if (next == dead) {
      i = size_t(node.skip);
      continue;
    }
    path_[size_t(node.depth) + 1] = next;
    for (int32_t k = 0; k < node.token_count; k++)
      if (!visit(tree.tokens()[size_t(node.first_token + k)])) return;
    i++;
  }
}

bool Grammar::goes_on(int32_t state, const TokenTree& tree, int32_t tree_number, std::span<const int32_t> except) {
  const auto counts = [&](int32_t token) { return std::find(except.begin(), except.end(), token) == except.end(); };
  bool found = false;
  state = alike_state(state, tree);
  const auto known = masks_.find(pair(state, tree_number));
  if (known == masks_.end()) {
    walk(state, tree, [&](int32_t token) { return !(found = counts(token)); });
    return found;
  }
  for (size_t i = 0; i < known->second.size() && !found; i++)
    for (auto word = uint32_t(known->second[i]); word != 0 && !found; word &= word - 1)
      found = counts(int32_t(i * 32) + std::countr_zero(word));
  return found;
}

const std::vector<int32_t>& Grammar::mask(int32_t state, const TokenTree& tree, int32_t tree_number) {
  state = alike_state(state, tree);
  const uint64_t key = pair(state, tree_number);
  const auto known = masks_.find(key);
  if (known != masks_.end()) return known->second;
  std::vector<int32_t> words((size_t(tree.vocab_size()) + 31) / 32);
  walk(state, tree, [&](int32_t token) {
    words[size_t(token) / 32] |= int32_t(1u << token % 32);
    return true;
  });
  mask_word_count_ += int64_t(words.size());
  return masks_.emplace(key, std::move(words)).first->second;
}

}  // namespace ziya
