// The C interface of the CUDA kernels. No torch, no exceptions, no allocation, no host sync.
//
// Every pointer is device memory; strides are in elements and the last axis has stride 1. Outputs
// are contiguous and wholly written. `workspace` is scratch of at least the number of bytes that
// the function of the same name with `_workspace` tells. Launches go to `stream` (a cudaStream_t).
// The result is a cudaError_t, 0 for success; dtypes are longvid_dtype of longvid_cpu.h.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LONGVID_CUDA_EXPORT __attribute__((visibility("default")))

// Changes whenever a signature below changes; the loader refuses another number.
#define LONGVID_CUDA_ABI 2

LONGVID_CUDA_EXPORT int longvid_cuda_abi(void);

LONGVID_CUDA_EXPORT const char* longvid_cuda_error(int status);

// As longvid_cpu_match; tokens < 2^20. Index sets are not checked.
LONGVID_CUDA_EXPORT int64_t longvid_cuda_match_workspace(int64_t groups, int64_t tokens,
                                                         int64_t num_a);
LONGVID_CUDA_EXPORT int longvid_cuda_match(
    int dtype, const void* metric, int64_t groups, int64_t tokens, int64_t channels,
    int64_t group_stride, int64_t token_stride, const int64_t* a_index, int64_t num_a,
    const int64_t* b_index, int64_t num_b, int64_t merged, int64_t protected_tokens,
    int position_order, int64_t* source, int64_t* destination, float* score, int64_t* segment,
    int64_t* offsets, int64_t* members, void* workspace, void* stream);

// As longvid_cpu_segment_mean; offsets and members are not checked.
LONGVID_CUDA_EXPORT int longvid_cuda_segment_mean(
    int dtype, const void* x, int64_t rows, int64_t channels, int64_t row_stride,
    const int64_t* offsets, int64_t segments, const int64_t* members, int64_t num_members,
    const float* weights, void* out, void* stream);

LONGVID_CUDA_EXPORT int longvid_cuda_token_cosine(
    int dtype, const void* x, int64_t frames, int64_t tokens, int64_t channels,
    int64_t frame_stride, int64_t token_stride, int64_t window, float* similarity, void* stream);

LONGVID_CUDA_EXPORT int64_t longvid_cuda_compact_workspace(int64_t frames, int64_t tokens);
LONGVID_CUDA_EXPORT int longvid_cuda_compact(
    int dtype, const void* x, int64_t frames, int64_t tokens, int64_t channels,
    int64_t frame_stride, int64_t token_stride, const uint8_t* keep, int64_t rows,
    void* packed, int32_t* cu_seqlens, void* workspace, void* stream);

// window <= 16.
LONGVID_CUDA_EXPORT int64_t longvid_cuda_window_gram_workspace(int64_t frames, int64_t channels,
                                                               int64_t window);
LONGVID_CUDA_EXPORT int longvid_cuda_window_gram(
    int dtype, const void* x, int64_t frames, int64_t channels, int64_t frame_stride,
    int64_t window, float* gram, void* workspace, void* stream);

// folded (F or 1, M, C) contiguous: the queries times the key projection, in x's dtype;
// folded_frame_stride 0 when shared. share (F or 1, M) likewise. out (F, C).
LONGVID_CUDA_EXPORT int64_t longvid_cuda_attend_workspace(int64_t frames, int64_t queries,
                                                          int64_t tokens);
LONGVID_CUDA_EXPORT int longvid_cuda_attend(
    int dtype, const void* folded, int64_t folded_frame_stride, const void* x, int64_t frames,
    int64_t queries, int64_t tokens, int64_t channels, int64_t frame_stride, int64_t token_stride,
    float scale, const float* share, int64_t share_frame_stride, void* out, void* workspace,
    void* stream);

#ifdef __cplusplus
}
#endif
