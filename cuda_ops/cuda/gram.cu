// window_gram: Gram matrices of up to 16 very long rows. The rows are read once; each block sums a
// span of the channels, a second kernel adds the spans in order and normalises.
#include "block.cuh"
#include "longvid_cuda.h"

namespace longvid {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kSide = 16;
constexpr int64_t kSpan = 32768;  // channels of one block

// The product of 16 rows with themselves on the tensor cores. A lane loads 16 bytes of row
// lane / 4 and of row lane / 4 + 8: which channels meet in one instruction is the same for both
// sides, and that is all a dot product needs.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gram_tensor(const typename T::Type* x, int64_t frames, int64_t channels, int64_t frame_stride,
                int64_t window, int64_t spans, float* partial) {
  __shared__ float sums[kWarps][kSide * kSide];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t w = blockIdx.x / spans, first = blockIdx.x % spans * kSpan;
  const int64_t last = first + kSpan < channels ? first + kSpan : channels;
  const int64_t count = frames - w * window < window ? frames - w * window : window;
  const int low = lane / 4, high = low + 8;
  const typename T::Type* base = x + w * window * frame_stride;
  float sum[2][4] = {};
#pragma unroll 4
  for (int64_t c = first + warp * 32; c < last; c += kWarps * 32) {
    const int64_t channel = c + lane % 4 * 8;
    const uint4 none = make_uint4(0, 0, 0, 0);
    uint4 a = none, b = none;
    if (low < count && channel < last)
      a = __ldg(reinterpret_cast<const uint4*>(base + low * frame_stride + channel));
    if (high < count && channel < last)
      b = __ldg(reinterpret_cast<const uint4*>(base + high * frame_stride + channel));
    const uint32_t front[4] = {a.x, b.x, a.y, b.y}, back[4] = {a.z, b.z, a.w, b.w};
    multiply_add<T>(sum[0], front, a.x, a.y);
    multiply_add<T>(sum[1], front, b.x, b.y);
    multiply_add<T>(sum[0], back, a.z, a.w);
    multiply_add<T>(sum[1], back, b.z, b.w);
  }
  for (int j = 0; j < 2; ++j)
    for (int u = 0; u < 4; ++u)
      sums[warp][(u < 2 ? low : high) * kSide + 8 * j + 2 * (lane % 4) + u % 2] = sum[j][u];
  __syncthreads();
  float total = 0.0f;
  for (int v = 0; v < kWarps; ++v) total += sums[v][threadIdx.x];
  partial[blockIdx.x * int64_t(kSide * kSide) + threadIdx.x] = total;
}

// The same in float32 for any dtype, width and alignment: one thread a pair of rows.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gram_plain(const typename T::Type* x, int64_t frames, int64_t channels, int64_t frame_stride,
               int64_t window, int64_t spans, float* partial) {
  constexpr int kDepth = 128;
  __shared__ float tile[kSide][kDepth + 1];
  const int64_t w = blockIdx.x / spans, first = blockIdx.x % spans * kSpan;
  const int64_t last = first + kSpan < channels ? first + kSpan : channels;
  const int64_t count = frames - w * window < window ? frames - w * window : window;
  const int i = threadIdx.x / kSide, j = threadIdx.x % kSide;
  float total = 0.0f;
  for (int64_t c = first; c < last; c += kDepth) {
    __syncthreads();
    for (int e = threadIdx.x; e < kSide * kDepth; e += kThreads) {
      const int r = e / kDepth, k = e % kDepth;
      tile[r][k] = r < count && c + k < last
                       ? to_float<T>(x[(w * window + r) * frame_stride + c + k])
                       : 0.0f;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int k = 0; k < kDepth; ++k) sum = fmaf(tile[i][k], tile[j][k], sum);
    total += sum;
  }
  partial[blockIdx.x * int64_t(kSide * kSide) + threadIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads)
    finish_gram(const float* partial, int64_t window, int64_t spans, float* gram) {
  __shared__ float sums[kSide][kSide];
  const int i = threadIdx.x / kSide, j = threadIdx.x % kSide;
  // Both triangles add the upper one, so that the result is symmetric to the bit.
  const int upper = i < j ? i * kSide + j : j * kSide + i;
  float total = 0.0f;
  for (int64_t s = 0; s < spans; ++s)
    total += partial[(blockIdx.x * spans + s) * kSide * kSide + upper];
  sums[i][j] = total;
  __syncthreads();
  if (i >= window || j >= window) return;
  const int low = i < j ? i : j, high = i < j ? j : i;
  const float scale_low = inverse_norm(sums[low][low]), scale_high = inverse_norm(sums[high][high]);
  gram[(blockIdx.x * window + i) * window + j] = total * scale_low * scale_high;
}

template <class T>
cudaError_t run_gram(const void* data, int64_t frames, int64_t channels, int64_t frame_stride,
                     int64_t window, bool tensor, float* partial, void* stream) {
  const int64_t windows = ceil_div(frames, window), spans = ceil_div(channels, kSpan);
  const auto* x = static_cast<const typename T::Type*>(data);
  if constexpr (T::kVector == 8)
    if (tensor)
      return launch(gram_tensor<T>, dim3(windows * spans), kThreads, 0, stream, x, frames,
                    channels, frame_stride, window, spans, partial);
  return launch(gram_plain<T>, dim3(windows * spans), kThreads, 0, stream, x, frames, channels,
                frame_stride, window, spans, partial);
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int64_t longvid_cuda_window_gram_workspace(int64_t frames, int64_t channels, int64_t window) {
  return ceil_div(frames, window) * ceil_div(channels, kSpan) * kSide * kSide * 4;
}

int longvid_cuda_window_gram(int dtype, const void* x, int64_t frames, int64_t channels,
                             int64_t frame_stride, int64_t window, float* gram, void* workspace,
                             void* stream) {
  auto* partial = static_cast<float*>(workspace);
  const bool tensor = whole_pieces(dtype, x, channels, frame_stride);
  cudaError_t status = cudaSuccess;
  if (dtype == LONGVID_BF16)
    status = run_gram<Bf16>(x, frames, channels, frame_stride, window, tensor, partial, stream);
  else if (dtype == LONGVID_F16)
    status = run_gram<F16>(x, frames, channels, frame_stride, window, tensor, partial, stream);
  else
    status = run_gram<F32>(x, frames, channels, frame_stride, window, tensor, partial, stream);
  if (status != cudaSuccess) return status;
  return launch(finish_gram, dim3(ceil_div(frames, window)), kThreads, 0, stream, partial, window,
                ceil_div(channels, kSpan), gram);
}
