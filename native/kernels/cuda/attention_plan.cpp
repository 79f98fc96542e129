#include "attention_plan.h"

#include <algorithm>

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int narrow_columns_max = 32;  // beyond these, one pass over keys and values for all of them is worth a wide tile

// A tile's tokens, that is the first of them and how many, in the step and in their sequence.
struct Tile {
  int32_t first_token, tokens, position;
  int splits() const { return splits_of(position + tokens - 1); }
};

template <class Visit>
void each_tile(const StepBatch& batch, const AttentionBounds& bounds, const Visit& visit) {
  int32_t first = 0;
  for (size_t s = 0; s < batch.starts.size(); s++) {
    const int32_t count = batch.token_counts[s];
    const bool is_narrow = count * heads_a_column_group(bounds.group) <= narrow_columns_max;
    const int columns = is_narrow ? narrow_tile_columns : wide_tile_columns;
    const int32_t tokens = columns / heads_a_column_group(bounds.group);
    for (int32_t i = 0; i < count; i += tokens)
      visit(Tile{first + i, std::min(tokens, count - i), batch.starts[s] + i}, is_narrow);
    first += count;
  }
}

class Planner {
 public:
  Planner(const AttentionBounds& bounds, AttentionPlan& plan) : bounds_(bounds), plan_(plan) {}

  void add(const Tile& tile, bool is_narrow, bool wants_parts) {
    std::vector<AttentionItem>& items = is_narrow ? plan_.narrow : plan_.wide;
    const bool has_parts = wants_parts && tile.splits() > 1 && take_parts(tile);
    if (!has_parts) items.push_back({tile.first_token, tile.tokens, 0, tile.splits()});
    for (int32_t split = 0; has_parts && split < tile.splits(); split++)
      items.push_back({tile.first_token, tile.tokens, split, 1});
  }

 private:
  bool take_parts(const Tile& tile) {
    int64_t needed = 0;
    for (int32_t i = 0; i < tile.tokens; i++) needed += splits_of(tile.position + i);
    if (parts_ + needed > bounds_.parts_max) return false;
    for (int32_t i = 0; i < tile.tokens; i++) {
      const int32_t token = tile.first_token + i, splits = splits_of(tile.position + i);
      plan_.parts[token] = {int32_t(parts_), splits};
      plan_.merged.push_back(token);
      parts_ += splits;
    }
    return true;
  }

  const AttentionBounds& bounds_;
  AttentionPlan& plan_;
  int64_t parts_ = 0;
};

}  // namespace

int64_t attention_parts_max(const ModelShape& shape, const StepLimits& limits) {
  return shape.has_attention() ? int64_t(limits.batch_tokens_max) * splits_of(shape.context_tokens - 1) : 0;
}

// Every item has a token of its own, or a part.
int64_t attention_plan_words_max(const StepLimits& limits, int64_t parts_max) {
  const int64_t items = limits.batch_tokens_max + parts_max;
  return items * int64_t(sizeof(AttentionItem) / sizeof(int32_t)) + limits.batch_tokens_max;
}

void plan_attention(const StepBatch& batch, const AttentionBounds& bounds, AttentionPlan& plan) {
  plan.narrow.clear();
  plan.wide.clear();
  plan.merged.clear();
  plan.parts.assign(batch.tokens.size(), {});
  if (bounds.kv_heads == 0) return;
  int wide_tiles = 0;
  each_tile(batch, bounds, [&](const Tile&, bool is_narrow) { wide_tiles += !is_narrow; });
  const bool few = wide_tiles * bounds.kv_heads * column_groups(bounds.group) < bounds.blocks_wanted;
  Planner planner(bounds, plan);
  for (const bool narrow_ones : {true, false})  // decoding needs the parts most
    each_tile(batch, bounds, [&](const Tile& tile, bool is_narrow) {
      if (is_narrow == narrow_ones) planner.add(tile, is_narrow, is_narrow || few);
    });
  // The longest first, so that none of them begins when the others end.
  std::stable_sort(plan.wide.begin(), plan.wide.end(),
                   [](const AttentionItem& a, const AttentionItem& b) { return a.splits > b.splits; });
}

}  // namespace ziya::ZIYA_DEVICE
