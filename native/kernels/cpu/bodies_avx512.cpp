// AVX-512F: 16 floats a vector, 32 registers, so a tile of 12 rows by 2 panels.
#include <immintrin.h>

#include "bodies.h"

namespace ziya {
namespace {

constexpr int width = 16;
constexpr int rows_max = 12;
using Floats = __m512;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline Floats load(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The halves of fp8_as_half: a code extended by its sign has that at bit 15 of its bits shifted by 7, and once more at bit 14.
inline Floats load(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(int16_t(0xbf80))));
}
inline void store(float* p, Floats a) { _mm512_storeu_ps(p, a); }
inline Floats set1(float value) { return _mm512_set1_ps(value); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats round(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n for whole n in the range of normal floats
inline Floats pow2(Floats n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
inline Floats zero_where_below(Floats test, float limit, Floats a) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(test, _mm512_set1_ps(limit), _CMP_NLT_UQ), a);
}
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace
}  // namespace ziya

#include "bodies.inc.h"

namespace ziya {
const Bodies& avx512_bodies() {
  static const Bodies bodies = make_bodies("avx512");
  return bodies;
}
}  // namespace ziya
