// Four floats in plain C++: the path for processors without AVX2, and the readable twin of the
// other vector headers.
#pragma once

#include <math.h>

#include "convert.h"

namespace longvid {

struct ScalarVector {
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 2;     // rows and vectors of a register tile
  static constexpr int kTileVectors = 2;

  struct Reg {
    float v[4];
  };

  template <class F>
  static inline Reg each(F f) {
    return Reg{{f(0), f(1), f(2), f(3)}};
  }
  static inline Reg zero() { return Reg{{0, 0, 0, 0}}; }
  static inline Reg set(float a) { return Reg{{a, a, a, a}}; }
  static inline Reg iota() { return Reg{{0, 1, 2, 3}}; }
  static inline Reg load(const float* p) { return Reg{{p[0], p[1], p[2], p[3]}}; }
  static inline Reg load_bf16(const uint16_t* p) {
    return each([&](int i) { return bf16_to_float(p[i]); });
  }
  static inline Reg load_f16(const uint16_t* p) {
    return each([&](int i) { return f16_to_float(p[i]); });
  }
  static inline void store(float* p, Reg a) {
    for (int i = 0; i < 4; ++i) p[i] = a.v[i];
  }
  static inline void store_bf16(uint16_t* p, Reg a) {
    for (int i = 0; i < 4; ++i) p[i] = float_to_bf16(a.v[i]);
  }
  static inline void store_f16(uint16_t* p, Reg a) {
    for (int i = 0; i < 4; ++i) p[i] = float_to_f16(a.v[i]);
  }
  static inline void stream(float* p, Reg a) { store(p, a); }
  static inline void stream_bf16(uint16_t* p, Reg a) { store_bf16(p, a); }
  static inline void stream_f16(uint16_t* p, Reg a) { store_f16(p, a); }
  static inline void fence() {}
  static inline Reg add(Reg a, Reg b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
  }
  static inline Reg sub(Reg a, Reg b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
  }
  static inline Reg mul(Reg a, Reg b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
  }
  static inline Reg fma(Reg a, Reg b, Reg c) {
    return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  static inline Reg max(Reg a, Reg b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  // a > b ? x : y
  static inline Reg select_greater(Reg a, Reg b, Reg x, Reg y) {
    return each([&](int i) { return a.v[i] > b.v[i] ? x.v[i] : y.v[i]; });
  }
  static inline Reg exp(Reg a) {
    return each([&](int i) { return expf(a.v[i]); });
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
  static inline float sum(Reg a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
  static inline void transpose(Reg* r) {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < i; ++j) {
        const float t = r[i].v[j];
        r[i].v[j] = r[j].v[i];
        r[j].v[i] = t;
      }
  }
};

}  // namespace longvid
