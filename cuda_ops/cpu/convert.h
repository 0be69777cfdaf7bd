// Conversions of single 16-bit floats, rounding to nearest even.
//
// Static, so that no file shares a copy compiled for another instruction set.
#pragma once

#include <stdint.h>
#include <string.h>

namespace longvid {

static inline uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float bits_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float bf16_to_float(uint16_t value) { return bits_float(uint32_t(value) << 16); }

static inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40);  // quiet NaN
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

static inline float f16_to_float(uint16_t value) {
  const uint32_t sign = uint32_t(value & 0x8000u) << 16;
  const uint32_t rest = value & 0x7fffu;
  if (rest >= 0x7c00u) return bits_float(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  if (rest >= 0x0400u) return bits_float(sign | ((rest << 13) + 0x38000000u));
  const float small = float(rest) * 5.9604644775390625e-8f;  // subnormal: rest * 2^-24
  return sign ? -small : small;
}

static inline uint16_t float_to_f16(float value) {
  const uint32_t bits = float_bits(value);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  const uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (rest >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // rounds to infinity
  if (rest >= 0x38800000u) {
    const uint32_t rounded = rest + 0xfffu + ((rest >> 13) & 1);
    return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
  }
  // Adding 0.5 puts the last bit of a subnormal half at the last bit of a float.
  const float shifted = bits_float(rest) + 0.5f;
  return uint16_t(sign | uint16_t(float_bits(shifted) - 0x3f000000u));
}

}  // namespace longvid
