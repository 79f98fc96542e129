// The portable twin: eight plain floats stand for a vector, and the compiler may use what the platform guarantees.
#include <math.h>
#include <string.h>

#include "bodies.h"
#include "../../half.h"

namespace ziya {
namespace {

constexpr int width = 8;
constexpr int rows_max = 4;
struct Floats {
  float lane[width];
};

#define ZIYA_LANES for (int i = 0; i < width; i++)
inline Floats load(const float* p) { Floats r; ZIYA_LANES r.lane[i] = p[i]; return r; }
inline Floats load(const uint16_t* p) { Floats r; ZIYA_LANES r.lane[i] = half_to_float(p[i]); return r; }
inline void store(float* p, Floats a) { ZIYA_LANES p[i] = a.lane[i]; }
inline Floats set1(float value) { Floats r; ZIYA_LANES r.lane[i] = value; return r; }
inline Floats add(Floats a, Floats b) { ZIYA_LANES a.lane[i] += b.lane[i]; return a; }
inline Floats sub(Floats a, Floats b) { ZIYA_LANES a.lane[i] -= b.lane[i]; return a; }
inline Floats mul(Floats a, Floats b) { ZIYA_LANES a.lane[i] *= b.lane[i]; return a; }
inline Floats div(Floats a, Floats b) { ZIYA_LANES a.lane[i] /= b.lane[i]; return a; }
inline Floats fma(Floats a, Floats b, Floats c) { ZIYA_LANES c.lane[i] += a.lane[i] * b.lane[i]; return c; }
inline Floats max(Floats a, Floats b) { ZIYA_LANES a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; return a; }
inline Floats round(Floats a) { ZIYA_LANES a.lane[i] = nearbyintf(a.lane[i]); return a; }
// 2^n for whole n in the range of normal floats
inline Floats pow2(Floats n) {
  ZIYA_LANES {
    const uint32_t bits = uint32_t(int32_t(n.lane[i]) + 127) << 23;
    memcpy(&n.lane[i], &bits, sizeof bits);
  }
  return n;
}
inline Floats zero_where_below(Floats test, float limit, Floats a) {
  ZIYA_LANES if (test.lane[i] < limit) a.lane[i] = 0;
  return a;
}
#undef ZIYA_LANES
inline void prefetch(const void*) {}

}  // namespace
}  // namespace ziya

#include "bodies.inc.h"

namespace ziya {
const Bodies& scalar_bodies() {
  static const Bodies bodies = make_bodies("scalar");
  return bodies;
}
}  // namespace ziya
