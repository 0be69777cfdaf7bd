// Eight floats: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace longvid {

struct Avx2Vector {
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 4;
  static constexpr int kTileVectors = 3;

  using Reg = __m256;

  static inline Reg zero() { return _mm256_setzero_ps(); }
  static inline Reg set(float a) { return _mm256_set1_ps(a); }
  static inline Reg iota() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
  static inline Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static inline Reg load_bf16(const uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static inline Reg load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static inline void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static inline __m128i to_bf16(Reg a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm256_castsi256_si128(
        _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0xd8));
  }
  static inline __m128i to_f16(Reg a) {
    return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static inline void store_bf16(uint16_t* p, Reg a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(a));
  }
  static inline void store_f16(uint16_t* p, Reg a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(a));
  }
  // Stores past the caches; the address is a multiple of what is stored.
  static inline void stream(float* p, Reg a) { _mm256_stream_ps(p, a); }
  static inline void stream_bf16(uint16_t* p, Reg a) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), to_bf16(a));
  }
  static inline void stream_f16(uint16_t* p, Reg a) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), to_f16(a));
  }
  static inline void fence() { _mm_sfence(); }
  static inline Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static inline Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static inline Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static inline Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static inline Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static inline Reg select_greater(Reg a, Reg b, Reg x, Reg y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
  }
  // 2^n * p(f) with a = (n + f) ln 2: a polynomial as in Cephes expf.
  static inline Reg exp(Reg a) {
    a = _mm256_max_ps(a, set(-87.0f));
    const Reg n = _mm256_round_ps(mul(a, set(1.44269504f)),
                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    Reg f = fma(n, set(-0.693359375f), a);
    f = fma(n, set(2.12194440e-4f), f);
    Reg p = set(1.9875691500e-4f);
    p = fma(p, f, set(1.3981999507e-3f));
    p = fma(p, f, set(8.3334519073e-3f));
    p = fma(p, f, set(4.1665795894e-2f));
    p = fma(p, f, set(1.6666665459e-1f));
    p = fma(p, f, set(5.0000001201e-1f));
    p = add(fma(p, mul(f, f), f), set(1.0f));
    const __m256i power = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return mul(p, _mm256_castsi256_ps(power));
  }
  // The largest value of all lanes, and the smallest number beside it where several are equal.
  static inline void best_lane(const float* values, const float* numbers, float* value,
                               float* number) {
    float top = values[0], at = numbers[0];
    for (int i = 1; i < kLanes; ++i)
      if (values[i] > top || (values[i] == top && numbers[i] < at)) {
        top = values[i];
        at = numbers[i];
      }
    *value = top;
    *number = at;
  }
  static inline float sum(Reg a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static inline void transpose(Reg* r) {
    Reg t[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    Reg u[8];
    for (int i = 0; i < 8; i += 4) {
      u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
  }
};

}  // namespace longvid
