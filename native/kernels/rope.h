// The angle by which two values of a head turn from one position to the next: computed once, on the host, so that all devices turn by the same floats.
#pragma once

#include <cmath>
#include <numbers>

#include "shape.h"

namespace ziya {

// Of values `pair` and `pair` + head_size / 2, in fp32 as transformers computes it.
inline float rope_frequency(const ModelShape& shape, int pair) {
  const float exponent = float(2 * pair) / float(shape.head_size);
  const float plain = 1.0f / float(std::pow(float(shape.rope_theta), exponent));
  const float divided = plain / float(shape.rope_scaling_factor);
  if (shape.rope_original_tokens == 0) return divided;
  // Llama 3's: slow turns are divided, fast ones are not, and what lies between is a mixture.
  const float turns = float(shape.rope_original_tokens) / (2 * std::numbers::pi_v<float> / plain);
  const float low = float(shape.rope_low_turns), high = float(shape.rope_high_turns);
  if (turns < low) return divided;
  if (turns > high) return plain;
  const float share = (turns - low) / (high - low);
  return (1 - share) * divided + share * plain;
}

}  // namespace ziya
