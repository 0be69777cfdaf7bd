// Sixteen floats: AVX-512 F, BW, DQ and VL.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace longvid {

// Files compiled for different targets give different numbers and so share no function.
template <int kFile>
struct Avx512VectorOf {
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 8;
  static constexpr int kTileVectors = 3;

  using Reg = __m512;

  static inline Reg zero() { return _mm512_setzero_ps(); }
  static inline Reg set(float a) { return _mm512_set1_ps(a); }
  static inline Reg iota() {
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
  static inline Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static inline Reg load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static inline Reg load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static inline void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static inline __m256i to_bf16(Reg a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    rounded = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), bits,
                                   _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  }
  static inline __m256i to_f16(Reg a) {
    return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static inline void store_bf16(uint16_t* p, Reg a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(a));
  }
  static inline void store_f16(uint16_t* p, Reg a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(a));
  }
  // Stores past the caches; the address is a multiple of what is stored.
  static inline void stream(float* p, Reg a) { _mm512_stream_ps(p, a); }
  static inline void stream_bf16(uint16_t* p, Reg a) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), to_bf16(a));
  }
  static inline void stream_f16(uint16_t* p, Reg a) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), to_f16(a));
  }
  static inline void fence() { _mm_sfence(); }
  static inline Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static inline Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static inline Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static inline Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static inline Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static inline Reg select_greater(Reg a, Reg b, Reg x, Reg y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
  }
  // 2^n * p(f) with a = (n + f) ln 2: a polynomial as in Cephes expf.
  static inline Reg exp(Reg a) {
    a = _mm512_max_ps(a, set(-87.0f));
    const Reg n = _mm512_roundscale_ps(mul(a, set(1.44269504f)),
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
    return _mm512_scalef_ps(p, n);
  }
  // The largest value of all lanes, and the smallest number beside it where several are equal.
  static inline void best_lane(const float* values, const float* numbers, float* value,
                               float* number) {
    const Reg all = load(values);
    *value = _mm512_reduce_max_ps(all);
    const __mmask16 reached = _mm512_cmp_ps_mask(all, set(*value), _CMP_EQ_OQ);
    *number = _mm512_mask_reduce_min_ps(reached, load(numbers));
  }
  static inline float sum(Reg a) {
    const __m256 high = _mm512_extractf32x8_ps(a, 1);
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static inline void transpose(Reg* r) {
    Reg t[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
      t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
      r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
  }
};

}  // namespace longvid
