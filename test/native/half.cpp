// fp16 conversion and Philox: small enough to be checked completely, or against their papers' vectors.
#include "fp8.h"

#include <bit>
#include <cmath>

#include "kernels/cpu/philox.h"
#include "reference.h"

namespace ziya::test {
namespace {

double value_of_half(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

void every_half_converts(Random&) {
  for (uint32_t half = 0; half < 0x10000; half++) {
    if ((half & half_exponent_mask) == half_exponent_mask) continue;
    expect(half_to_float(uint16_t(half)) == value_of_half(uint16_t(half)), "half to float " + std::to_string(half));
    expect(float_to_half(half_to_float(uint16_t(half))) == half, "round trip " + std::to_string(half));
  }
}

void floats_round_to_even(Random& random) {
  for (int i = 0; i < 300000; i++) {
    const float value = std::ldexp(float(random.uniform() * 2 - 1), random.between(-26, 15));
    expect(value_of_half(float_to_half(value)) == rounded_to_half(value), "rounding " + std::to_string(value));
  }
  for (uint32_t half = 0; half < 0x7bff; half++) {
    const float between = float((value_of_half(uint16_t(half)) + value_of_half(uint16_t(half + 1))) / 2);
    expect(float_to_half(between) == half + (half & 1), "a tie goes to even, " + std::to_string(half));
  }
}

void saturation_keeps_the_cache_finite(Random&) {
  expect(float_to_half_saturated(1e9f) == 0x7bff && float_to_half_saturated(-1e9f) == 0xfbff, "large values");
  expect(float_to_half_saturated(INFINITY) == 0x7bff && float_to_half_saturated(-INFINITY) == 0xfbff, "infinities");
  expect((float_to_half_saturated(NAN) & half_exponent_mask) != half_exponent_mask, "NaN");
}

double value_of_fp8(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

void every_fp8_value_converts(Random&) {
  for (int code = 0; code < 0x100; code++) {
    if ((code & 0x7f) == 0x7f) continue;  // NaN
    expect(value_of_half(fp8_as_half(uint8_t(code))) * fp8_as_half_scale == value_of_fp8(code), "fp8 as a half " + std::to_string(code));
    expect(float_to_fp8(float(value_of_fp8(code))) == code, "round trip " + std::to_string(code));
  }
}

// The value that an fp8 cache keeps of a head's, whose largest magnitude is this.
double cached(float value, float largest) {
  const uint16_t scale = cached_scale(cached_magnitude(largest));
  return value_of_fp8(cached_code(value, scale)) * value_of_half(scale);
}

void cached_values_are_exact_in_fp16(Random& random) {
  for (int exponent = -30; exponent <= 16; exponent++)
    for (int code = 0; code < 0x7f; code++) {
      const float largest = float(std::ldexp(value_of_fp8(code), exponent));
      const uint16_t scale = cached_scale(cached_magnitude(largest));
      const double power = value_of_half(scale), kept = cached(largest, largest);
      expect((scale & 0x3ff) == 0 && power >= std::ldexp(1, -14) && power <= 256, "a scale " + std::to_string(power));
      expect(448 * power >= std::min(largest, 61440.0f), "the largest has a code");
      expect(power == std::ldexp(1, -14) || 448 * power / 2 < largest, "the smallest scale of those");
      expect(kept == rounded_to_half(kept), "exact in fp16: " + std::to_string(kept));
      if (largest <= 61440 && exponent >= -14) expect(kept == largest, "what the largest has, is kept");
      const float value = largest * float(random.uniform() * 2 - 1);
      const double other = cached(value, largest), clamped = std::clamp(value, -61440.0f, 61440.0f);
      expect(other == rounded_to_half(other) && other == rounded_to_fp8(clamped / power) * power, "another of its head");
    }
  for (const float value : {1e9f, INFINITY, NAN}) expect(cached(value, value) == 61440, "what fp16 has not is saturated");
  expect(cached(-INFINITY, INFINITY) == -61440 && cached(1, NAN) == 1, "beside what is broken, too");
}

void floats_round_to_fp8(Random& random) {
  for (int i = 0; i < 100000; i++) {
    const float value = std::ldexp(float(random.uniform() * 2 - 1), random.between(-14, 9));
    expect(value_of_fp8(float_to_fp8(value)) == rounded_to_fp8(value), "rounding " + std::to_string(value));
  }
  for (int code = 0; code < 0x7e; code++) {
    const float between = float((value_of_fp8(code) + value_of_fp8(code + 1)) / 2);
    expect(float_to_fp8(between) == code + (code & 1), "a tie goes to even, " + std::to_string(code));
  }
  expect(float_to_fp8(449) == 0x7e && float_to_fp8(500) == 0x7e && float_to_fp8(-1e9f) == 0xfe, "what is too large");
}

// In its own memory and elsewhere.
void a_row_becomes_codes_and_a_scale(Random& random) {
  for (const int count : {1, 5, 255, 256, 257, 1000}) {
    std::vector<uint16_t> halves;
    Doubles want;
    for (int i = 0; i < count; i++) halves.push_back(uint16_t(random.between(0, 0x3fff) | random.between(0, 1) << 15));
    if (random.between(0, 9) == 0) std::fill(halves.begin(), halves.end(), uint16_t(0));
    for (const uint16_t half : halves) want.push_back(value_of_half(half));
    round_row_to_fp8(want.data(), count);
    std::vector<uint8_t> codes(count);
    const float scale = row_scale(halves.data(), count);
    quantize(halves.data(), count, scale, codes.data());
    for (int i = 0; i < count; i++) expect(value_of_fp8(codes[i]) * double(scale) == want[i], "value " + std::to_string(i));
    quantize(halves.data(), count, scale, reinterpret_cast<uint8_t*>(halves.data()));
    expect(std::equal(codes.begin(), codes.end(), reinterpret_cast<uint8_t*>(halves.data())), "its codes in place");
  }
}

// From Random123's kat_vectors, philox4x32 with 10 rounds.
void philox_gives_the_published_numbers(Random&) {
  using Four = std::array<uint32_t, 4>;
  expect(philox({0, 0, 0, 0}, {0, 0}) == Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, "zeros");
  const uint32_t ones = 0xffffffff;
  expect(philox({ones, ones, ones, ones}, {ones, ones}) == Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
         "ones");
  expect(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
             Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
         "pi");
}

}  // namespace

std::vector<Test> half_tests() {
  return {{"every fp16 value converts to fp32 and back", every_half_converts},
          {"fp32 rounds to the nearest fp16, ties to even", floats_round_to_even},
          {"a value beyond fp16 is saturated in the cache", saturation_keeps_the_cache_finite},
          {"what an fp8 cache keeps is exact in fp16, and the nearest there is", cached_values_are_exact_in_fp16},
          {"every fp8 value converts to fp16 and back", every_fp8_value_converts},
          {"fp32 rounds to the nearest fp8, ties to even, and is saturated", floats_round_to_fp8},
          {"a row becomes fp8 codes and a scale", a_row_becomes_codes_and_a_scale},
          {"philox gives the published numbers", philox_gives_the_published_numbers}};
}

}  // namespace ziya::test
