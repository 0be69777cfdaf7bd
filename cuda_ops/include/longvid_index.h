// Index arithmetic shared by the C++ and the CUDA kernels: which position is in which set, sort
// keys, and where a token goes in the plan. Compiled for the host by the C++ tests.
#pragma once

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define LONGVID_HD __host__ __device__ __forceinline__
#else
#define LONGVID_HD static inline
#endif

namespace longvid {

// The even/odd split without the first p positions.
LONGVID_HD int64_t even_count(int64_t tokens, int64_t p) { return (tokens + 1) / 2 - (p + 1) / 2; }
LONGVID_HD int64_t odd_count(int64_t tokens, int64_t p) { return tokens / 2 - p / 2; }
LONGVID_HD int64_t even_position(int64_t i, int64_t p) { return 2 * (i + (p + 1) / 2); }
LONGVID_HD int64_t odd_position(int64_t i, int64_t p) { return 2 * (i + p / 2) + 1; }

// Bits that order as the floats do, -inf first. -0 and 0 get one key.
LONGVID_HD uint32_t float_bits_ascending(float value) {
  value += 0.0f;
  uint32_t bits;
#ifdef __CUDA_ARCH__
  bits = __float_as_uint(value);
#else
  memcpy(&bits, &value, sizeof bits);
#endif
  return (bits & 0x80000000u) ? ~bits : (bits | 0x80000000u);
}

LONGVID_HD float float_from_ascending(uint32_t key) {
  const uint32_t bits = (key & 0x80000000u) ? (key & 0x7fffffffu) : ~key;
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

// Ascending order of these keys is: score falling, then index rising.
LONGVID_HD uint64_t rank_key(float score, uint32_t index) {
  return (uint64_t(~float_bits_ascending(score)) << 32) | index;
}
LONGVID_HD uint32_t rank_key_index(uint64_t key) { return uint32_t(key); }
LONGVID_HD float rank_key_score(uint64_t key) {
  return float_from_ascending(~uint32_t(key >> 32));
}

// The larger of these keys is the larger score, at equal scores the lower index: an argmax that
// may be reduced in any order.
LONGVID_HD uint64_t best_key(float score, uint32_t index) {
  return (uint64_t(float_bits_ascending(score)) << 32) | uint32_t(~index);
}
LONGVID_HD uint32_t best_key_index(uint64_t key) { return ~uint32_t(key); }
LONGVID_HD float best_key_score(uint64_t key) { return float_from_ascending(uint32_t(key >> 32)); }

// 1 / norm from a sum of squares; a row of zeros has similarity 0 to everything.
LONGVID_HD float inverse_norm(float sum_of_squares) {
#ifdef __CUDA_ARCH__
  return sum_of_squares > 0.0f ? 1.0f / sqrtf(sum_of_squares) : 0.0f;
#else
  return sum_of_squares > 0.0f ? 1.0f / __builtin_sqrtf(sum_of_squares) : 0.0f;
#endif
}

// What becomes of a token in a plan, kept where its row will be written.
enum TokenKind : int32_t { kFree = -1, kSource = -2, kLeft = -3, kDestination = -4 };

// The order of the surviving tokens of a group.
struct SurvivorOrder {
  bool by_position;  // simply by position
  bool left_sorted;  // unmerged A tokens by position, not by falling score
  int32_t num_free, num_left, merged;
};

// Survivors, free tokens and unmerged A tokens before a position, in one number for one scan.
// Each count stays below 2^20.
LONGVID_HD uint64_t count_kind(int32_t kind) {
  return (kind != kSource ? 1ull : 0ull) | (kind == kFree ? 1ull << 21 : 0ull) |
         (kind == kLeft ? 1ull << 42 : 0ull);
}
LONGVID_HD int32_t survivors_in(uint64_t counts) { return int32_t(counts & 0x1fffff); }
LONGVID_HD int32_t free_in(uint64_t counts) { return int32_t((counts >> 21) & 0x1fffff); }
LONGVID_HD int32_t left_in(uint64_t counts) { return int32_t((counts >> 42) & 0x1fffff); }

// The row of a token that the counts before its position decide; -1 where they do not.
LONGVID_HD int32_t row_by_position(const SurvivorOrder& order, int32_t kind, uint64_t before) {
  if (kind == kSource) return kSource;
  if (order.by_position) return survivors_in(before);
  if (kind == kFree) return free_in(before);
  if (kind == kLeft && order.left_sorted) return order.num_free + left_in(before);
  return -1;
}
// The row of an unmerged A token of this rank, and of the j-th B token, otherwise.
LONGVID_HD int32_t row_by_rank(const SurvivorOrder& order, int32_t rank) {
  return order.num_free + rank - order.merged;
}
LONGVID_HD int32_t row_of_destination(const SurvivorOrder& order, int64_t j) {
  return order.num_free + order.num_left + int32_t(j);
}

// Merged tokens that stand before this one in the segment they share.
LONGVID_HD int32_t earlier_sources(const int32_t* moved, const int32_t* into, int32_t count,
                                   int32_t position, int32_t destination) {
  int32_t earlier = 0;
  for (int32_t i = 0; i < count; ++i)
    earlier += (into[i] == destination) & (moved[i] < position);
  return earlier;
}

// Byte offset of a 16-byte chunk in a shared tile of rows of 8 chunks: neighbouring rows put one
// chunk into different banks.
LONGVID_HD int32_t swizzle(int32_t row, int32_t chunk) {
  return row * 128 + ((chunk ^ (row & 7)) << 4);
}

// The tile height (rows of A) that wastes least of `rows`; ties to the taller.
LONGVID_HD int64_t padded_rows(int64_t rows, int64_t tile) {
  return (rows + tile - 1) / tile * tile;
}

}  // namespace longvid
