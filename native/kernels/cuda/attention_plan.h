// Which blocks compute a step's attention: tiles of one sequence's neighbouring tokens, whole or by splits of the context.
// Pure arithmetic on the host. Whatever it chooses, a token's result is the same bytes: see tiled_attention.cu.
#pragma once

#include "../step.h"
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {

struct TokenParts {
  int32_t first, count;  // of the partial results; none when the token's tile is computed whole
};

struct AttentionPlan {
  std::vector<AttentionItem> narrow, wide;
  std::vector<TokenParts> parts;  // (tokens)
  std::vector<int32_t> merged;    // tokens with parts
};

// How many partial results a step can have, and what bounds the plan.
int64_t attention_parts_max(const ModelShape& shape, const StepLimits& limits);
int64_t attention_plan_words_max(const StepLimits& limits, int64_t parts_max);

struct AttentionBounds {
  int group, kv_heads;
  int64_t parts_max;
  int blocks_wanted;  // that keep the device busy
};
void plan_attention(const StepBatch& batch, const AttentionBounds& bounds, AttentionPlan& plan);

}  // namespace ziya::ZIYA_DEVICE
