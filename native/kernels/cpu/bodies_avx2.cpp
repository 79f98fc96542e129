// AVX2 + FMA + F16C: 8 floats a vector, 16 registers, so a tile of 6 rows by 2 panels.
#include <immintrin.h>

#include "bodies.h"

namespace ziya {
namespace {

constexpr int width = 8;
constexpr int rows_max = 6;
using Floats = __m256;

inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline Floats load(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
// The halves of fp8_as_half: a code extended by its sign has that at bit 15 of its bits shifted by 7, and once more at bit 14.
inline Floats load(const uint8_t* p) {
  const __m128i codes = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16(int16_t(0xbf80))));
}
inline void store(float* p, Floats a) { _mm256_storeu_ps(p, a); }
inline Floats set1(float value) { return _mm256_set1_ps(value); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats round(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n for whole n in the range of normal floats
inline Floats pow2(Floats n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
inline Floats zero_where_below(Floats test, float limit, Floats a) {
  return _mm256_andnot_ps(_mm256_cmp_ps(test, _mm256_set1_ps(limit), _CMP_LT_OQ), a);
}
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace
}  // namespace ziya

#include "bodies.inc.h"

namespace ziya {
const Bodies& avx2_bodies() {
  static const Bodies bodies = make_bodies("avx2");
  return bodies;
}
}  // namespace ziya
