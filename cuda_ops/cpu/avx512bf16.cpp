// AVX-512 with products of bfloat16 pairs, summed in float32.
#include "target.h"

#if defined(__x86_64__)

LONGVID_TARGET_BEGIN("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "vector_avx512.h"

#include "product.h"

namespace longvid {

namespace {

// A type of its own, so that no function is shared with the plain AVX-512 file.
using PairVector = Avx512VectorOf<1>;

struct PairUnit {
  using Reg = __m512;
  static constexpr bool kPairs = true;

  static inline int64_t steps(int64_t channels) { return channels / 2; }
  static inline Reg broadcast(const void* row, int64_t step) {
    int32_t pair;
    memcpy(&pair, static_cast<const uint16_t*>(row) + 2 * step, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
  }
  static inline Reg multiply_add(Reg a, Reg b, Reg sum) {
    return _mm512_dpbf16_ps(sum, __m512bh(_mm512_castps_si512(a)),
                            __m512bh(_mm512_castps_si512(b)));
  }
  static inline Reg load(int dtype, const void* row, int64_t step, int64_t count) {
    if (dtype == LONGVID_F32) return load_rounded(static_cast<const float*>(row) + 2 * step, count);
    const __mmask16 mask = __mmask16((1u << count) - 1);
    return _mm512_castsi512_ps(
        _mm512_maskz_loadu_epi32(mask, static_cast<const uint16_t*>(row) + 2 * step));
  }
  static inline Reg load_rounded(const float* values, int64_t count) {
    const __mmask32 mask = count < 16 ? (1u << (2 * count)) - 1 : ~0u;
    const __m512 low = _mm512_maskz_loadu_ps(__mmask16(mask), values);
    const __m512 high = _mm512_maskz_loadu_ps(__mmask16(mask >> 16), values + 16);
    return _mm512_castsi512_ps(__m512i(_mm512_cvtne2ps_pbh(high, low)));
  }
  static inline Reg load_columns(int, const void* matrix, int64_t stride, int64_t step,
                                 int64_t column, int64_t count) {
    const __mmask16 mask = __mmask16((1u << count) - 1);
    const auto* even = static_cast<const uint16_t*>(matrix) + 2 * step * stride + column;
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even + stride));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};

inline __m512bh load_32(const uint16_t* p) { return __m512bh(_mm512_loadu_si512(p)); }
inline __m512bh load_part(const uint16_t* p, int64_t count) {
  return __m512bh(_mm512_maskz_loadu_epi16((1u << count) - 1, p));
}

float square(const void* row, int64_t channels) {
  const auto* x = static_cast<const uint16_t*>(row);
  __m512 sum[4] = {};
  int64_t c = 0;
  for (; c + 128 <= channels; c += 128)
    for (int u = 0; u < 4; ++u) {
      const __m512bh a = load_32(x + c + 32 * u);
      sum[u] = _mm512_dpbf16_ps(sum[u], a, a);
    }
  for (; c < channels; c += 32) {
    const __m512bh a = channels - c < 32 ? load_part(x + c, channels - c) : load_32(x + c);
    sum[0] = _mm512_dpbf16_ps(sum[0], a, a);
  }
  return PairVector::sum(
      _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

void dot_square(const void* first, const void* second, const void* next, int64_t channels,
                float* dot, float* square) {
  const auto* x = static_cast<const uint16_t*>(first);
  const auto* y = static_cast<const uint16_t*>(second);
  const auto* later = static_cast<const uint16_t*>(next);
  __m512 dots[2] = {}, squares[2] = {};
  int64_t c = 0;
  for (; c + 64 <= channels; c += 64)
    for (int u = 0; u < 2; ++u) {
      __builtin_prefetch(later + c + 32 * u);
      const __m512bh a = load_32(x + c + 32 * u), b = load_32(y + c + 32 * u);
      dots[u] = _mm512_dpbf16_ps(dots[u], a, b);
      squares[u] = _mm512_dpbf16_ps(squares[u], b, b);
    }
  for (; c < channels; c += 32) {
    const bool part = channels - c < 32;
    const __m512bh a = part ? load_part(x + c, channels - c) : load_32(x + c);
    const __m512bh b = part ? load_part(y + c, channels - c) : load_32(y + c);
    dots[0] = _mm512_dpbf16_ps(dots[0], a, b);
    squares[0] = _mm512_dpbf16_ps(squares[0], b, b);
  }
  *dot = PairVector::sum(_mm512_add_ps(dots[0], dots[1]));
  *square = PairVector::sum(_mm512_add_ps(squares[0], squares[1]));
}

}  // namespace

extern const PairKernels kAvx512Bf16Kernels = {ProductLoops<PairVector, PairUnit>::table(),
                                               square, dot_square};

}  // namespace longvid

LONGVID_TARGET_END

#endif
