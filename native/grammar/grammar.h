// A grammar over bytes, followed token by token: which tokens may come next, as a mask, and where that leads.
//
// What has been read so far is a state: every way in which the grammar can have read it, each a node of some rule and the
// nodes to return to when that rule has ended. States are interned, and where a byte leads from one is remembered, so
// that the automaton without recursion that a grammar is for most of its life is found as it is walked. A mask is one
// walk over the vocabulary's bytes, put in a tree, and is remembered with its state. States that no token can tell apart,
// as those of a count that is far from its end, share one: it is that of the state that all of them are made to look like.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace ziya {

// The tokens that have text, in a tree of their bytes.
class TokenTree {
 public:
  // Token i is bytes[ends[i - 1], ends[i]); one without bytes has no text, and is in no mask.
  TokenTree(std::span<const uint8_t> bytes, std::span<const int32_t> ends);

  struct Node {
    uint8_t byte;
    int32_t depth;  // bytes before this one
    int32_t skip;   // the next node that is not below this one
    int32_t first_token, token_count;  // those that end here: of tokens()
  };
  int vocab_size() const { return vocab_size_; }
  int depth_max() const { return depth_max_; }
  const std::vector<Node>& nodes() const { return nodes_; }  // each before those below it
  const std::vector<int32_t>& tokens() const { return tokens_; }
  std::span<const uint8_t> bytes_of(int token) const;

 private:
  int vocab_size_, depth_max_ = 0;
  std::vector<uint8_t> bytes_;
  std::vector<int32_t> ends_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
};

// As a compiler writes it: words, one after the other.
//   [byte classes, nodes, start node] [class of each of 256 bytes]
//   then for each node: [is final, count of byte edges, count of calls] [class, target]... [start node of the rule, node to return to]...
//   then [bytes] and for each node the first that so many bytes do not tell from it.
// A node's edges are in order of their classes. From every node an end can be reached, and no rule calls itself before it has read a byte. Throws EngineError
// bad_grammar for words that are no grammar.
class Grammar {
 public:
  explicit Grammar(std::span<const int32_t> words);

  static constexpr int32_t dead = -1;
  int32_t start();
  // Where the bytes of a token lead; dead where they may not come.
  int32_t advance(int32_t state, std::span<const uint8_t> bytes);
  // The bytes that must come next, one after the other, as long as nothing else may and the text is not whole before them.
  std::vector<uint8_t> forced(int32_t state, size_t bytes_max);
  bool has(int32_t state) const { return state >= 0 && size_t(state) < states_.size(); }
  bool accepts(int32_t state) const { return states_[size_t(state)].accepts; }
  // Whether any token but these may come next: what the mask says, found without making it.
  bool goes_on(int32_t state, const TokenTree& tree, int32_t tree_number, std::span<const int32_t> except);
  bool has_mask(int32_t state, const TokenTree& tree, int32_t tree_number);
  // The tokens that may come next, a bit each. A grammar is asked for those of few trees, which are told apart by number.
  const std::vector<int32_t>& mask(int32_t state, const TokenTree& tree, int32_t tree_number);

  // Forgets all states where they take more memory. States that were given out are then no longer valid.
  bool trim(int64_t bytes_max);
  int64_t bytes() const;

 private:
  struct Config {
    int32_t node, stack;
    friend bool operator==(const Config&, const Config&) = default;
    friend auto operator<=>(const Config&, const Config&) = default;
  };
  struct Frame {
    int32_t node, parent;
  };
  struct Edge {
    int32_t byte_class, target;
  };
  struct Call {
    int32_t start, returns_to;
  };
  struct State {
    std::vector<Config> configs;  // sorted; those alone that a byte leads on from
    bool accepts;
  };
  static constexpr int32_t unknown = -2;
  static constexpr int32_t many = -3;

  void parse(std::span<const int32_t> words);
  bool has_bytes(int32_t node) const { return first_edge_[size_t(node)] < first_edge_[size_t(node) + 1]; }
  int32_t alike_frame(int32_t frame);
  int32_t alike_state(int32_t state, const TokenTree& tree);
  template <class Visit>
  void walk(int32_t state, const TokenTree& tree, const Visit& visit);
  int32_t target(int32_t node, int32_t byte_class) const;
  int32_t push(int32_t node, int32_t stack);
  void reach(int32_t node, int32_t stack);
  int32_t close_and_intern();
  int32_t intern(std::vector<Config> configs, bool accepts);
  int32_t step_class(int32_t state, int32_t byte_class);
  int32_t forced_byte(int32_t state) const;
  void forget();

  int32_t classes_ = 0, nodes_ = 0, start_node_ = 0;
  std::vector<uint8_t> class_of_;
  std::vector<int32_t> only_byte_;  // of each class; many where it has several
  std::vector<uint8_t> is_final_;
  std::vector<int32_t> first_edge_, first_call_;  // (nodes + 1)
  std::vector<Edge> edges_;                       // a node's in order of their classes, one for each that may come
  std::vector<Call> calls_;
  int32_t alike_bytes_ = 0;
  std::vector<int32_t> alike_node_;  // tokens that are no longer than alike_bytes do not tell it from the node

  std::vector<Frame> frames_;  // frame 0 is none
  std::unordered_map<uint64_t, int32_t> frame_ids_;
  std::vector<int32_t> alike_frame_;  // of the frames so far
  std::vector<State> states_;
  std::vector<int32_t> alike_state_;  // whose masks are its own
  std::vector<int32_t> steps_;  // (states, classes)
  std::vector<uint32_t> walked_;  // (states, classes) the walk that last came by
  uint32_t walks_ = 0;
  std::vector<int32_t> path_;  // of a walk
  std::unordered_multimap<uint64_t, int32_t> state_ids_;
  std::unordered_map<uint64_t, std::vector<int32_t>> masks_;  // by state that others are like, and tree
  int32_t start_state_ = unknown;
  int64_t config_count_ = 0, mask_word_count_ = 0;
  bool overflows_ = false;

  // Of the closure being made.
  std::vector<Config> open_;
  std::unordered_map<uint64_t, bool> seen_;
  bool accepts_ = false;
};

}  // namespace ziya
