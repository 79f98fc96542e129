// The portable twin: the compiler's own vectors of eight floats, made of whatever every CPU of the platform has.
#include <string.h>

#include "bodies.h"

namespace ziya {
namespace {

constexpr int width = 8;
constexpr int rows_max = 4;
typedef float Floats __attribute__((vector_size(4 * width)));
typedef uint32_t Words __attribute__((vector_size(4 * width)));
typedef uint8_t Bytes __attribute__((vector_size(width)));
typedef uint16_t Halves __attribute__((vector_size(2 * width)));
typedef int32_t Integers __attribute__((vector_size(4 * width)));

inline Floats set1(float value) { return Floats{} + value; }
inline Floats load(const float* p) {
  Floats result;
  memcpy(&result, p, sizeof result);
  return result;
}
// Computes what half_to_float in half.h does.
inline Floats load(const uint16_t* p) {
  Halves halves;
  memcpy(&halves, p, sizeof halves);
  const Words bits = __builtin_convertvector(halves, Words);
  const Floats magnitude = (Floats)((bits & 0x7fffu) << 13) * 0x1p112f;
  return (Floats)((Words)magnitude | (bits & 0x8000u) << 16);
}
// The same of fp8_as_half.
inline Floats load(const uint8_t* p) {
  Bytes codes;
  memcpy(&codes, p, sizeof codes);
  const Words bits = __builtin_convertvector(codes, Words);
  const Floats magnitude = (Floats)((bits & 0x7fu) << 20) * 0x1p112f;
  return (Floats)((Words)magnitude | (bits & 0x80u) << 24);
}
inline void store(float* p, Floats a) { memcpy(p, &a, sizeof a); }
inline Floats add(Floats a, Floats b) { return a + b; }
inline Floats sub(Floats a, Floats b) { return a - b; }
inline Floats mul(Floats a, Floats b) { return a * b; }
inline Floats div(Floats a, Floats b) { return a / b; }
inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
// To the nearest whole number, of |a| < 2^22: beyond 1.5 * 2^23 a float has no fraction.
inline Floats round(Floats a) { return a + 0x1.8p23f - 0x1.8p23f; }
// 2^n for whole n in the range of normal floats
inline Floats pow2(Floats n) { return (Floats)((__builtin_convertvector(n, Integers) + 127) << 23); }
inline Floats zero_where_below(Floats test, float limit, Floats a) { return test < limit ? Floats{} : a; }
inline void prefetch(const void* p) { __builtin_prefetch(p); }

}  // namespace
}  // namespace ziya

#include "bodies.inc.h"

namespace ziya {
const Bodies& scalar_bodies() {
  static const Bodies bodies = make_bodies("scalar");
  return bodies;
}
}  // namespace ziya
