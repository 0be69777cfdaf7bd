// The C interface of the CPU kernels. No torch, no exceptions, no global state.
//
// Tensors are pointers with strides in elements; the last axis has stride 1. Outputs are
// contiguous and wholly written. `level` picks the instruction set and must not exceed
// longvid_cpu_level(); `threads` is the number of OpenMP threads. Results do not depend on
// `threads`.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LONGVID_EXPORT __attribute__((visibility("default")))

// Changes whenever a signature below changes; the loader refuses another number.
#define LONGVID_CPU_ABI 3

enum longvid_dtype { LONGVID_F32 = 0, LONGVID_BF16 = 1, LONGVID_F16 = 2 };

enum longvid_level {
  LONGVID_SCALAR = 0,
  LONGVID_AVX2 = 1,
  LONGVID_AVX512 = 2,
  LONGVID_AVX512BF16 = 3,
};

enum longvid_status {
  LONGVID_OK = 0,
  LONGVID_NOT_FINITE = 1,
  LONGVID_BAD_INDEX = 2,
  LONGVID_NO_MEMORY = 3,
};

LONGVID_EXPORT int longvid_cpu_abi(void);

// The highest level that this processor and operating system can run.
LONGVID_EXPORT int longvid_cpu_level(void);

// metric (G, N, C). a_index (G, A) and b_index (G, B) contiguous, or num_a = num_b = -1 for the
// even/odd split without the first `protected_tokens` positions. `merged` is r after clamping.
// source, destination, score (G, merged); segment (G, N); offsets (G * (N - merged) + 1);
// members (G * N).
LONGVID_EXPORT int longvid_cpu_match(
    int level, int threads, int dtype, const void* metric, int64_t groups, int64_t tokens,
    int64_t channels, int64_t group_stride, int64_t token_stride, const int64_t* a_index,
    int64_t num_a, const int64_t* b_index, int64_t num_b, int64_t merged,
    int64_t protected_tokens, int position_order, int64_t* source, int64_t* destination,
    float* score, int64_t* segment, int64_t* offsets, int64_t* members);

// `match` of the even/odd split and `segment_mean` of its plan in one: metric (G, N, C), x
// (G * N, X) of its own dtype, size (G * N) or null, out (G * (N - merged), X).
LONGVID_EXPORT int longvid_cpu_match_and_merge(
    int level, int threads, int dtype, const void* metric, int64_t groups, int64_t tokens,
    int64_t channels, int64_t group_stride, int64_t token_stride, int x_dtype, const void* x,
    int64_t x_channels, int64_t x_row_stride, const float* size, int64_t merged,
    int64_t protected_tokens, void* out, int64_t* source, int64_t* destination, float* score,
    int64_t* segment, int64_t* offsets, int64_t* members);

// x (M, C), offsets (S + 1), members (K), weights (M) or null, out (S, C).
LONGVID_EXPORT int longvid_cpu_segment_mean(
    int level, int threads, int dtype, const void* x, int64_t rows, int64_t channels,
    int64_t row_stride, const int64_t* offsets, int64_t segments, const int64_t* members,
    int64_t num_members, const float* weights, void* out);

// x (F, N, C), similarity (F, N).
LONGVID_EXPORT int longvid_cpu_token_cosine(
    int level, int threads, int dtype, const void* x, int64_t frames, int64_t tokens,
    int64_t channels, int64_t frame_stride, int64_t token_stride, int64_t window,
    float* similarity);

// keep (F, N) one byte each: 1 where token_cosine is below the threshold and in frames that are
// compared with none, else 0. count is the sum of keep.
LONGVID_EXPORT int longvid_cpu_find_new(
    int level, int threads, int dtype, const void* x, int64_t frames, int64_t tokens,
    int64_t channels, int64_t frame_stride, int64_t token_stride, int64_t window, float threshold,
    uint8_t* keep, int64_t* count);

// x (F, N, C), keep (F, N) one byte each, packed (rows, C), cu_seqlens (F + 1). What does not fit
// into `rows` rows is left out, the rows left over are zero.
LONGVID_EXPORT int longvid_cpu_compact(
    int level, int threads, int dtype, const void* x, int64_t frames, int64_t tokens,
    int64_t channels, int64_t frame_stride, int64_t token_stride, const uint8_t* keep,
    int64_t rows, void* packed, int32_t* cu_seqlens);

// x (rows, heads * width), out (rows, width).
LONGVID_EXPORT int longvid_cpu_head_mean(
    int level, int threads, int dtype, const void* x, int64_t rows, int64_t row_stride,
    int64_t heads, int64_t width, float* out);

// x (F, N, C), mean (F, C) of each frame's tokens, dot (F, N) of each token with its frame's mean,
// square (F, N) of each token with itself. A frame is read from memory once.
LONGVID_EXPORT int longvid_cpu_frame_products(
    int level, int threads, int dtype, const void* x, int64_t frames, int64_t tokens,
    int64_t channels, int64_t frame_stride, int64_t token_stride, float* mean, float* dot,
    float* square);

// metric (G, N, C), size (G, N) or null, merged (rounds) how many tokens each round merges, at
// most half of what is left. S = N less all of these. offsets (G * S + 1), members (G * N),
// segment (G, N), merged_size (G, S). With one round the metric is read once; with more, means of
// it are kept in float32.
LONGVID_EXPORT int longvid_cpu_merge_rounds(
    int level, int threads, int dtype, const void* metric, int64_t groups, int64_t tokens,
    int64_t channels, int64_t group_stride, int64_t token_stride, const float* size,
    const int64_t* merged, int64_t rounds, int64_t* offsets, int64_t* members, int64_t* segment,
    float* merged_size);

// x (T, D), gram (ceil(T / window), window, window).
LONGVID_EXPORT int longvid_cpu_window_gram(
    int level, int threads, int dtype, const void* x, int64_t frames, int64_t channels,
    int64_t frame_stride, int64_t window, float* gram);

// query (F or 1, M, E) with query_frame_stride 0 when shared, key_weight (E, C) contiguous,
// x (F, N, C), share (F or 1, M) weight of each query in the mean with share_frame_stride 0 when
// shared, out (F, C).
LONGVID_EXPORT int longvid_cpu_context_attention(
    int level, int threads, int dtype, const void* query, int64_t query_frame_stride,
    int64_t query_stride, const void* key_weight, const void* x, int64_t frames, int64_t queries,
    int64_t query_width, int64_t tokens, int64_t channels, int64_t frame_stride,
    int64_t token_stride, float scale, const float* share, int64_t share_frame_stride,
    void* out);

#ifdef __cplusplus
}
#endif
