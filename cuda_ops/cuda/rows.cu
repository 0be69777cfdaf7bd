// segment_mean, token_cosine and compact: streams of rows, one warp a row.
#include "block.cuh"
#include "longvid_cuda.h"

namespace longvid {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kUnroll = 4;  // pieces of a row that a lane keeps in flight

__device__ __forceinline__ int64_t warp_of_grid() {
  return int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
}

template <class T, class Part>
__global__ void __launch_bounds__(kThreads)
    mean_of_segments(const typename T::Type* x, int64_t channels, int64_t row_stride,
                     const int64_t* offsets, int64_t segments, const int64_t* members,
                     const float* weights, typename T::Type* out) {
  constexpr int kWide = sizeof(Part) / sizeof(float);
  const int lane = threadIdx.x % 32;
  const int64_t s = warp_of_grid();
  if (s >= segments) return;
  const int64_t first = offsets[s], last = offsets[s + 1];
  float total = weights ? 0.0f : float(last - first);
  if (weights)
    for (int64_t m = first; m < last; ++m) total += weights[members[m]];
  const bool copied = last - first == 1;
  const bool empty = !copied && !(total > 0.0f);
  const float scale = copied || empty ? 1.0f : 1.0f / total;
  for (int64_t base = lane * kWide; base < channels; base += 32 * kWide * kUnroll) {
    Part sum[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
#pragma unroll
      for (int e = 0; e < kWide; ++e) sum[u].value[e] = 0.0f;
    for (int64_t m = first; m < last && !empty; ++m) {
      const typename T::Type* row = x + members[m] * row_stride;
      const float weight = copied || !weights ? 1.0f : weights[members[m]];
      Part part[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t c = base + u * 32 * kWide;
        if (c < channels) part[u].load(row + c);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t c = base + u * 32 * kWide;
        if (c >= channels) continue;
        // Multiplied, then added, each rounded: as the reference does. A copied -0 stays -0.
#pragma unroll
        for (int e = 0; e < kWide; ++e) {
          const float term = __fmul_rn(weight, part[u].value[e]);
          sum[u].value[e] = copied ? term : __fadd_rn(sum[u].value[e], term);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t c = base + u * 32 * kWide;
      if (c >= channels) continue;
#pragma unroll
      for (int e = 0; e < kWide; ++e) sum[u].value[e] = __fmul_rn(sum[u].value[e], scale);
      sum[u].store(out + s * channels + c);
    }
  }
}

constexpr float kCosineEps = 1e-8f;  // as torch.cosine_similarity

// One warp: one patch over a run of frames. The anchor row stays in the first cache.
template <class T, class Part>
__global__ void __launch_bounds__(kThreads)
    cosine_to_anchor(const typename T::Type* x, int64_t frames, int64_t tokens, int64_t channels,
                     int64_t frame_stride, int64_t token_stride, int64_t window, int64_t run,
                     int64_t runs, float* similarity) {
  constexpr int kWide = sizeof(Part) / sizeof(float);
  const int lane = threadIdx.x % 32;
  const int64_t unit = warp_of_grid();
  if (unit >= runs * tokens) return;
  const int64_t n = unit % tokens, start = unit / tokens * run;
  const int64_t stop = start + run < frames ? start + run : frames;
  int64_t anchor = window || start == 0 ? start : start - 1;

  float anchor_square = 0.0f;
  for (int64_t c = lane * kWide; c < channels; c += 32 * kWide) {
    Part a;
    a.load(x + anchor * frame_stride + n * token_stride + c);
#pragma unroll
    for (int e = 0; e < kWide; ++e) anchor_square = fmaf(a.value[e], a.value[e], anchor_square);
  }
  anchor_square = warp_sum(anchor_square);
  if (anchor == start && lane == 0) similarity[start * tokens + n] = 1.0f;
  for (int64_t f = anchor + 1; f < stop; ++f) {
    const typename T::Type* left = x + anchor * frame_stride + n * token_stride;
    const typename T::Type* right = x + f * frame_stride + n * token_stride;
    float dot = 0.0f, square = 0.0f;
#pragma unroll 4
    for (int64_t c = lane * kWide; c < channels; c += 32 * kWide) {
      Part a, b;
      a.load(left + c);
      b.load(right + c);
#pragma unroll
      for (int e = 0; e < kWide; ++e) {
        dot = fmaf(a.value[e], b.value[e], dot);
        square = fmaf(b.value[e], b.value[e], square);
      }
    }
    dot = warp_sum(dot);
    square = warp_sum(square);
    if (lane == 0) {
      const float first = fmaxf(sqrtf(anchor_square), kCosineEps);
      const float second = fmaxf(sqrtf(square), kCosineEps);
      similarity[f * tokens + n] = dot / (first * second);
    }
    if (!window) {
      anchor = f;
      anchor_square = square;
    }
  }
}

// Kept tokens of each block of kThreads tokens of a frame.
__global__ void __launch_bounds__(kThreads)
    count_kept(const uint8_t* keep, int64_t tokens, int64_t blocks, int32_t* counts) {
  const int64_t f = blockIdx.x / blocks, n = blockIdx.x % blocks * kThreads + threadIdx.x;
  const int kept = __syncthreads_count(n < tokens && keep[f * tokens + n]);
  if (threadIdx.x == 0) counts[blockIdx.x] = kept;
}

// starts of all blocks, and of all frames as far as there are rows.
__global__ void __launch_bounds__(kThreads)
    scan_counts(int32_t* counts, int64_t frames, int64_t blocks, int64_t rows,
                int32_t* cu_seqlens) {
  __shared__ uint64_t warps[kWarps];
  const uint64_t room = uint64_t(rows);
  uint64_t carry = 0, total = 0;
  for (int64_t first = 0; first < frames * blocks; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const uint64_t own = i < frames * blocks ? uint64_t(counts[i]) : 0;
    const uint64_t start = carry + block_exclusive_scan(own, warps, total);
    if (i < frames * blocks) {
      counts[i] = int32_t(start);
      if (i % blocks == 0) cu_seqlens[i / blocks] = int32_t(start < room ? start : room);
    }
    carry += total;
  }
  for (int64_t f = blocks ? frames : 0; f <= frames; f += 1)
    if (threadIdx.x == 0) cu_seqlens[f] = int32_t(carry < room ? carry : room);
}

template <class T, class Part>
__global__ void __launch_bounds__(kThreads)
    copy_kept(const typename T::Type* x, int64_t tokens, int64_t channels, int64_t frame_stride,
              int64_t token_stride, const uint8_t* keep, int64_t blocks, const int32_t* starts,
              int64_t rows, typename T::Type* packed) {
  constexpr int kWide = sizeof(Part) / sizeof(float);
  __shared__ int32_t listed[kThreads];
  __shared__ uint64_t warps[kWarps];
  const int lane = threadIdx.x % 32;
  const int64_t f = blockIdx.x / blocks, n = blockIdx.x % blocks * kThreads + threadIdx.x;
  const bool kept = n < tokens && keep[f * tokens + n];
  uint64_t total = 0;
  const uint64_t place = block_exclusive_scan(kept, warps, total);
  if (kept) listed[place] = int32_t(n);
  __syncthreads();
  const int64_t room = rows - starts[blockIdx.x];
  for (int i = threadIdx.x / 32; i < int(total) && i < room; i += kWarps) {
    const typename T::Type* row = x + f * frame_stride + listed[i] * token_stride;
    typename T::Type* out = packed + (int64_t(starts[blockIdx.x]) + i) * channels;
#pragma unroll 4
    for (int64_t c = lane * kWide; c < channels; c += 32 * kWide) {
      if constexpr (kWide > 1)
        *reinterpret_cast<uint4*>(out + c) = __ldg(reinterpret_cast<const uint4*>(row + c));
      else
        out[c] = row[c];
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    clear_rest(const int32_t* total, int64_t rows, int64_t channels, typename T::Type* packed) {
  const int64_t row = *total + warp_of_grid();
  if (row >= rows) return;
  for (int64_t c = threadIdx.x % 32; c < channels; c += 32) packed[row * channels + c] = 0;
}

template <class T, class Part>
cudaError_t run_mean(const void* x, int64_t channels, int64_t row_stride, const int64_t* offsets,
                     int64_t segments, const int64_t* members, const float* weights, void* out,
                     void* stream) {
  using Type = typename T::Type;
  return launch(mean_of_segments<T, Part>, dim3(ceil_div(segments, kWarps)), kThreads, 0, stream,
                static_cast<const Type*>(x), channels, row_stride, offsets, segments, members,
                weights, static_cast<Type*>(out));
}

template <class T, class Part>
cudaError_t run_cosine(const void* x, int64_t frames, int64_t tokens, int64_t channels,
                       int64_t frame_stride, int64_t token_stride, int64_t window,
                       float* similarity, void* stream) {
  constexpr int64_t kRun = 16;  // frames of a warp against the previous frame
  const int64_t run = window ? window : kRun, runs = ceil_div(frames, run);
  return launch(cosine_to_anchor<T, Part>, dim3(ceil_div(runs * tokens, kWarps)), kThreads, 0,
                stream, static_cast<const typename T::Type*>(x), frames, tokens, channels,
                frame_stride, token_stride, window, run, runs, similarity);
}

template <class T, class Part>
cudaError_t run_copy(const void* x, int64_t frames, int64_t tokens, int64_t channels,
                     int64_t frame_stride, int64_t token_stride, const uint8_t* keep,
                     int64_t rows, void* packed, const int32_t* cu_seqlens, const int32_t* starts,
                     void* stream) {
  using Type = typename T::Type;
  const int64_t blocks = ceil_div(tokens, kThreads);
  const cudaError_t status =
      launch(copy_kept<T, Part>, dim3(frames * blocks), kThreads, 0, stream,
             static_cast<const Type*>(x), tokens, channels, frame_stride, token_stride, keep,
             blocks, starts, rows, static_cast<Type*>(packed));
  if (status != cudaSuccess) return status;
  return launch(clear_rest<T>, dim3(ceil_div(rows, kWarps)), kThreads, 0, stream,
                cu_seqlens + frames, rows, channels, static_cast<Type*>(packed));
}

// Call `run` with the element type and with pieces of 16 bytes where the rows allow them.
#define LONGVID_DISPATCH(run, dtype, pieces, ...)                                   \
  (dtype == LONGVID_F32    ? pieces ? run<F32, Piece<F32>>(__VA_ARGS__)             \
                                    : run<F32, Single<F32>>(__VA_ARGS__)            \
   : dtype == LONGVID_BF16 ? pieces ? run<Bf16, Piece<Bf16>>(__VA_ARGS__)           \
                                    : run<Bf16, Single<Bf16>>(__VA_ARGS__)          \
                           : pieces ? run<F16, Piece<F16>>(__VA_ARGS__)             \
                                    : run<F16, Single<F16>>(__VA_ARGS__))

}  // namespace
}  // namespace longvid

using namespace longvid;

int longvid_cuda_segment_mean(int dtype, const void* x, int64_t /*rows*/, int64_t channels,
                              int64_t row_stride, const int64_t* offsets, int64_t segments,
                              const int64_t* members, int64_t /*num_members*/,
                              const float* weights, void* out, void* stream) {
  const bool pieces = whole_pieces(dtype, x, channels, row_stride);
  return LONGVID_DISPATCH(run_mean, dtype, pieces, x, channels, row_stride, offsets, segments,
                          members, weights, out, stream);
}

int longvid_cuda_token_cosine(int dtype, const void* x, int64_t frames, int64_t tokens,
                              int64_t channels, int64_t frame_stride, int64_t token_stride,
                              int64_t window, float* similarity, void* stream) {
  const bool pieces = whole_pieces(dtype, x, channels, token_stride, frame_stride);
  return LONGVID_DISPATCH(run_cosine, dtype, pieces, x, frames, tokens, channels, frame_stride,
                          token_stride, window, similarity, stream);
}

int64_t longvid_cuda_compact_workspace(int64_t frames, int64_t tokens) {
  return frames * ceil_div(tokens, kThreads) * 4;
}

int longvid_cuda_compact(int dtype, const void* x, int64_t frames, int64_t tokens,
                         int64_t channels, int64_t frame_stride, int64_t token_stride,
                         const uint8_t* keep, int64_t rows, void* packed, int32_t* cu_seqlens,
                         void* workspace, void* stream) {
  auto* starts = static_cast<int32_t*>(workspace);
  const int64_t blocks = ceil_div(tokens, kThreads);
  cudaError_t status =
      launch(count_kept, dim3(frames * blocks), kThreads, 0, stream, keep, tokens, blocks, starts);
  if (status != cudaSuccess) return status;
  status = launch(scan_counts, dim3(1), kThreads, 0, stream, starts, frames, blocks, rows,
                  cu_seqlens);
  if (status != cudaSuccess) return status;
  const bool pieces = whole_pieces(dtype, x, channels, token_stride, frame_stride);
  return LONGVID_DISPATCH(run_copy, dtype, pieces, x, frames, tokens, channels, frame_stride,
                          token_stride, keep, rows, packed, cu_seqlens, starts, stream);
}
