// context_attention after the queries are folded: scores, softmax over tokens and mean over
// queries, then one weighted sum of tokens. The tokens are read twice, never projected.
#include "longvid_cuda.h"
#include "tile.cuh"

namespace longvid {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

struct Attend {
  const void* folded;
  int64_t folded_frame_stride;
  const void* x;
  int64_t frames, queries, tokens, channels, frame_stride, token_stride;
  float scale;
  const float* share;
  int64_t share_frame_stride;
  float* scores;   // (F, N, M)
  float* weights;  // (F, N)
};

// scores of kRows tokens with 32 queries at a time, on the tensor cores.
template <class T>
__global__ void __launch_bounds__(kTileThreads) score_tensor(Attend a, int64_t row_blocks) {
  using Shape = Tile<T, 4, 1>;
  LONGVID_DYNAMIC_SHARED(shared);
  const int64_t frame = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * Shape::kRows;
  using Type = typename T::Type;
  const RowSet rows{static_cast<const Type*>(a.x) + frame * a.frame_stride, a.token_stride,
                    nullptr, 0, 1, a.tokens};
  const RowSet columns{static_cast<const Type*>(a.folded) + frame * a.folded_frame_stride,
                       a.channels, nullptr, 0, 1, a.queries};
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t first = 0; first < a.queries; first += Shape::kColumns) {
    float sum[4][1][4];
    float squares[2];
    Shape::template multiply<false>(rows, first_row, columns, first, a.channels, shared, sum,
                                    squares);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        const int64_t n = first_row + warp / 4 * 64 + 16 * i + u / 2 * 8 + lane / 4;
        const int64_t m = first + warp % 4 * 8 + 2 * (lane % 4) + u % 2;
        if (n < a.tokens && m < a.queries)
          a.scores[(frame * a.tokens + n) * a.queries + m] = sum[i][0][u];
      }
  }
}

// The same in float32 for any dtype, width and alignment: one warp a token.
template <class T>
__global__ void __launch_bounds__(kThreads) score_plain(Attend a) {
  const int lane = threadIdx.x % 32;
  const int64_t unit = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (unit >= a.frames * a.tokens) return;
  const int64_t frame = unit / a.tokens, n = unit % a.tokens;
  using Type = typename T::Type;
  const Type* row = static_cast<const Type*>(a.x) + frame * a.frame_stride + n * a.token_stride;
  for (int64_t m = 0; m < a.queries; ++m) {
    const Type* query =
        static_cast<const Type*>(a.folded) + frame * a.folded_frame_stride + m * a.channels;
    float dot = 0.0f;
    for (int64_t c = lane; c < a.channels; c += 32)
      dot = fmaf(to_float<T>(row[c]), to_float<T>(query[c]), dot);
    dot = warp_sum(dot);
    if (lane == 0) a.scores[unit * a.queries + m] = dot;
  }
}

// One block a frame; a lane keeps one of 32 queries, a warp every eighth token.
__global__ void __launch_bounds__(kThreads) softmax_mean(Attend a) {
  __shared__ float parts[kWarps][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t frame = blockIdx.x;
  const float* scores = a.scores + frame * a.tokens * a.queries;
  float* weights = a.weights + frame * a.tokens;
  for (int64_t first = 0; first < a.queries; first += 32) {
    const int64_t m = first + lane;
    const bool valid = m < a.queries;
    float top = -INFINITY;
    for (int64_t n = warp; n < a.tokens; n += kWarps)
      if (valid) top = fmaxf(top, a.scale * scores[n * a.queries + m]);
    __syncthreads();
    parts[warp][lane] = top;
    __syncthreads();
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, parts[w][lane]);
    float sum = 0.0f;
    for (int64_t n = warp; n < a.tokens; n += kWarps)
      if (valid) sum += expf(a.scale * scores[n * a.queries + m] - top);
    __syncthreads();
    parts[warp][lane] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += parts[w][lane];
    const float share = valid ? a.share[frame * a.share_frame_stride + m] / sum : 0.0f;
    for (int64_t n = warp; n < a.tokens; n += kWarps) {
      const float e = valid ? share * expf(a.scale * scores[n * a.queries + m] - top) : 0.0f;
      const float weight = warp_sum(e);
      if (lane == 0) weights[n] = first ? weights[n] + weight : weight;
    }
  }
}

// One block: 32 pieces of the channels of one frame; the warps share the tokens.
template <class T, class Part>
__global__ void __launch_bounds__(kThreads)
    weighted_sum(Attend a, int64_t channel_blocks, typename T::Type* out) {
  constexpr int kWide = sizeof(Part) / sizeof(float);
  __shared__ float parts[kWarps][32 * kWide];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t frame = blockIdx.x / channel_blocks;
  const int64_t c = (blockIdx.x % channel_blocks * 32 + lane) * kWide;
  using Type = typename T::Type;
  const Type* x = static_cast<const Type*>(a.x) + frame * a.frame_stride;
  const float* weights = a.weights + frame * a.tokens;
  float sum[kWide] = {};
  if (c < a.channels) {
#pragma unroll 4
    for (int64_t n = warp; n < a.tokens; n += kWarps) {
      Part part;
      part.load(x + n * a.token_stride + c);
      const float weight = weights[n];
#pragma unroll
      for (int e = 0; e < kWide; ++e) sum[e] = fmaf(weight, part.value[e], sum[e]);
    }
  }
#pragma unroll
  for (int e = 0; e < kWide; ++e) parts[warp][lane * kWide + e] = sum[e];
  __syncthreads();
  for (int e = threadIdx.x; e < 32 * kWide; e += kThreads) {
    const int64_t channel = blockIdx.x % channel_blocks * 32 * kWide + e;
    if (channel >= a.channels) continue;
    float total = 0.0f;
    for (int w = 0; w < kWarps; ++w) total += parts[w][e];
    out[frame * a.channels + channel] = from_float<T>(total);
  }
}

template <class T>
cudaError_t run_scores(const Attend& a, bool tensor, void* stream) {
  if constexpr (T::kVector == 8) {
    using Shape = Tile<T, 4, 1>;
    const int64_t row_blocks = ceil_div(a.tokens, Shape::kRows);
    if (tensor)
      return launch(score_tensor<T>, dim3(a.frames * row_blocks), kTileThreads,
                    Shape::kSharedBytes, stream, a, row_blocks);
  }
  return launch(score_plain<T>, dim3(ceil_div(a.frames * a.tokens, kWarps)), kThreads, 0, stream,
                a);
}

template <class T, class Part>
cudaError_t run_sum(const Attend& a, void* out, void* stream) {
  constexpr int kWide = sizeof(Part) / sizeof(float);
  const int64_t channel_blocks = ceil_div(a.channels, 32 * kWide);
  return launch(weighted_sum<T, Part>, dim3(a.frames * channel_blocks), kThreads, 0, stream, a,
                channel_blocks, static_cast<typename T::Type*>(out));
}

template <class T>
cudaError_t run(const Attend& a, bool pieces, bool tensor, void* out, void* stream) {
  cudaError_t status = run_scores<T>(a, tensor, stream);
  if (status != cudaSuccess) return status;
  status = launch(softmax_mean, dim3(a.frames), kThreads, 0, stream, a);
  if (status != cudaSuccess) return status;
  return pieces ? run_sum<T, Piece<T>>(a, out, stream) : run_sum<T, Single<T>>(a, out, stream);
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int longvid_cuda_abi(void) { return LONGVID_CUDA_ABI; }

const char* longvid_cuda_error(int status) { return cudaGetErrorString(cudaError_t(status)); }

int64_t longvid_cuda_attend_workspace(int64_t frames, int64_t queries, int64_t tokens) {
  return frames * tokens * (queries + 1) * 4;
}

int longvid_cuda_attend(int dtype, const void* folded, int64_t folded_frame_stride, const void* x,
                        int64_t frames, int64_t queries, int64_t tokens, int64_t channels,
                        int64_t frame_stride, int64_t token_stride, float scale,
                        const float* share, int64_t share_frame_stride, void* out,
                        void* workspace, void* stream) {
  auto* scores = static_cast<float*>(workspace);
  const Attend a{folded,       folded_frame_stride, x,     frames, queries,
                 tokens,       channels,            frame_stride,  token_stride,
                 scale,        share,               share_frame_stride,
                 scores,       scores + frames * tokens * queries};
  const bool pieces = whole_pieces(dtype, x, channels, token_stride, frame_stride);
  const bool tensor = pieces && whole_pieces(dtype, folded, channels, channels,
                                             folded_frame_stride);
  if (dtype == LONGVID_BF16) return run<Bf16>(a, pieces, tensor, out, stream);
  if (dtype == LONGVID_F16) return run<F16>(a, pieces, tensor, out, stream);
  return run<F32>(a, pieces, tensor, out, stream);
}
