// match, first part: the best column of every row of A by a fused product that stores no scores.
#include "longvid_cuda.h"
#include "match.cuh"
#include "tile.cuh"

namespace longvid {
namespace {

struct Metric {
  const void* data;
  int64_t channels, group_stride, token_stride;
  const int64_t *a_index, *b_index;
  int64_t num_a, num_b, protected_tokens;

  template <class T>
  __device__ __forceinline__ RowSet rows(int64_t group, bool of_a) const {
    const auto* base = static_cast<const typename T::Type*>(data) + group * group_stride;
    const int64_t count = of_a ? num_a : num_b;
    const int64_t* index = of_a ? a_index : b_index;
    const int64_t first = of_a ? even_position(0, protected_tokens)
                               : odd_position(0, protected_tokens);
    return RowSet{base, token_stride, index ? index + group * count : nullptr, first, 2, count};
  }
};

__device__ __forceinline__ uint64_t best_of_lanes(uint64_t key, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    const uint64_t other = __shfl_xor_sync(kWholeWarp, (unsigned long long)key, step);
    key = other > key ? other : key;
  }
  return key;
}

// One block: kRows rows of A of one group against all of B.
template <class T, int kRowTiles, int kColumnTiles>
__global__ void __launch_bounds__(kTileThreads)
    best_match_tensor(Metric metric, int64_t row_blocks, float* best, int32_t* nearest) {
  using Shape = Tile<T, kRowTiles, kColumnTiles>;
  LONGVID_DYNAMIC_SHARED(shared);
  __shared__ float inverse[Shape::kAll];
  __shared__ uint64_t candidates[4][Shape::kRows];

  const int64_t group = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * Shape::kRows;
  const RowSet rows = metric.rows<T>(group, true), columns = metric.rows<T>(group, false);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t top = 0;

  for (int64_t first = 0; first < metric.num_b; first += Shape::kColumns) {
    float sum[kRowTiles][kColumnTiles][4];
    float squares[2];
    Shape::template multiply<true>(rows, first_row, columns, first, metric.channels, shared, sum,
                                   squares);
    for (int u = 0; u < 2; ++u) {
      const int r = threadIdx.x + kTileThreads * u;
      if (r < Shape::kAll) inverse[r] = inverse_norm(squares[u]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float score = -INFINITY;
        uint32_t index = 0;
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
          for (int u = 0; u < 2; ++u) {
            const int c = warp % 4 * 8 * kColumnTiles + 8 * j + 2 * (lane % 4) + u;
            const float value = sum[i][j][2 * half + u] * inverse[Shape::kRows + c];
            if (first + c < metric.num_b && value > score) {
              score = value;
              index = uint32_t(first + c);
            }
          }
        }
        const uint64_t key = best_of_lanes(best_key(score, index), 4);
        const int r = warp / 4 * 16 * kRowTiles + 16 * i + 8 * half + lane / 4;
        if (lane % 4 == 0) candidates[warp % 4][r] = key;
      }
    }
    __syncthreads();
    if (threadIdx.x < Shape::kRows)
      for (int w = 0; w < 4; ++w)
        top = candidates[w][threadIdx.x] > top ? candidates[w][threadIdx.x] : top;
  }
  const int64_t i = first_row + threadIdx.x;
  if (threadIdx.x < Shape::kRows && i < metric.num_a) {
    best[group * metric.num_a + i] = best_key_score(top) * inverse[threadIdx.x];
    nearest[group * metric.num_a + i] = int32_t(best_key_index(top));
  }
}

constexpr int kSide = 64;   // rows and columns of a plain tile
constexpr int kDepth = 16;  // channels at a time

// The same in float32 without tensor cores, for any width and alignment. 256 threads, 4 by 4 each.
template <class T>
__global__ void __launch_bounds__(256, 2)
    best_match_plain(Metric metric, int64_t row_blocks, float* best, int32_t* nearest) {
  __shared__ float left[kDepth][kSide + 4];
  __shared__ float right[kDepth][kSide + 4];
  __shared__ float inverse[2 * kSide];
  __shared__ uint64_t candidates[kSide][16];

  const int64_t group = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * kSide;
  const RowSet rows = metric.rows<T>(group, true), columns = metric.rows<T>(group, false);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  uint64_t top = 0;

  for (int64_t first = 0; first < metric.num_b; first += kSide) {
    float sum[4][4] = {};
    float square = 0.0f;
    for (int64_t c = 0; c < metric.channels; c += kDepth) {
      __syncthreads();
      for (int e = threadIdx.x; e < 2 * kSide * kDepth; e += 256) {
        const int k = e % kDepth, r = e / kDepth % kSide;
        const bool of_rows = e < kSide * kDepth;
        const RowSet set = choose(of_rows, rows, columns);
        const int64_t i = of_rows ? first_row + r : first + r;
        float value = 0.0f;
        if (i < set.count && c + k < metric.channels)
          value = to_float<T>(static_cast<const typename T::Type*>(
              set.data)[set.position(i) * set.stride + c + k]);
        (of_rows ? left : right)[k][r] = value;
      }
      __syncthreads();
#pragma unroll 4
      for (int k = 0; k < kDepth; ++k) {
        float a[4], b[4];
        for (int u = 0; u < 4; ++u) a[u] = left[k][4 * ty + u];
        for (int u = 0; u < 4; ++u) b[u] = right[k][4 * tx + u];
        for (int u = 0; u < 4; ++u)
          for (int v = 0; v < 4; ++v) sum[u][v] = fmaf(a[u], b[v], sum[u][v]);
      }
      if (threadIdx.x < 2 * kSide)
        for (int k = 0; k < kDepth; ++k) {
          const float value = threadIdx.x < kSide ? left[k][threadIdx.x]
                                                  : right[k][threadIdx.x - kSide];
          square = fmaf(value, value, square);
        }
    }
    if (threadIdx.x < 2 * kSide) inverse[threadIdx.x] = inverse_norm(square);
    __syncthreads();
    for (int u = 0; u < 4; ++u) {
      float score = -INFINITY;
      uint32_t index = 0;
      for (int v = 0; v < 4; ++v) {
        const int64_t j = first + 4 * tx + v;
        const float value = sum[u][v] * inverse[kSide + 4 * tx + v];
        if (j < metric.num_b && value > score) {
          score = value;
          index = uint32_t(j);
        }
      }
      candidates[4 * ty + u][tx] = best_key(score, index);
    }
    __syncthreads();
    if (threadIdx.x < kSide)
      for (int w = 0; w < 16; ++w)
        top = candidates[threadIdx.x][w] > top ? candidates[threadIdx.x][w] : top;
  }
  const int64_t i = first_row + threadIdx.x;
  if (threadIdx.x < kSide && i < metric.num_a) {
    best[group * metric.num_a + i] = best_key_score(top) * inverse[threadIdx.x];
    nearest[group * metric.num_a + i] = int32_t(best_key_index(top));
  }
}

template <class T, int kRowTiles, int kColumnTiles>
cudaError_t run_tensor(const Metric& metric, int64_t groups, float* best, int32_t* nearest,
                       void* stream) {
  using Shape = Tile<T, kRowTiles, kColumnTiles>;
  const int64_t row_blocks = ceil_div(metric.num_a, Shape::kRows);
  return launch(best_match_tensor<T, kRowTiles, kColumnTiles>, dim3(groups * row_blocks),
                kTileThreads, Shape::kSharedBytes, stream, metric, row_blocks, best, nearest);
}

// Few columns take a narrow tile; the height is the one that wastes fewer rows.
template <class T, int kRowTiles>
cudaError_t run_columns(const Metric& metric, int64_t groups, float* best, int32_t* nearest,
                        void* stream) {
  if (padded_rows(metric.num_b, 288) <= padded_rows(metric.num_b, 96))
    return run_tensor<T, kRowTiles, 9>(metric, groups, best, nearest, stream);
  return run_tensor<T, kRowTiles, 3>(metric, groups, best, nearest, stream);
}

template <class T>
cudaError_t run_dtype(const Metric& metric, int64_t groups, bool tensor, float* best,
                      int32_t* nearest, void* stream) {
  if constexpr (T::kVector == 8) {
    if (tensor && padded_rows(metric.num_a, 96) <= padded_rows(metric.num_a, 64))
      return run_columns<T, 3>(metric, groups, best, nearest, stream);
    if (tensor) return run_columns<T, 2>(metric, groups, best, nearest, stream);
  }
  const int64_t row_blocks = ceil_div(metric.num_a, kSide);
  return launch(best_match_plain<T>, dim3(groups * row_blocks), 256, 0, stream, metric,
                row_blocks, best, nearest);
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int64_t longvid_cuda_match_workspace(int64_t groups, int64_t tokens, int64_t num_a) {
  return MatchWorkspace(nullptr, groups, tokens, num_a).bytes;
}

int longvid_cuda_match(int dtype, const void* data, int64_t groups, int64_t tokens,
                       int64_t channels, int64_t group_stride, int64_t token_stride,
                       const int64_t* a_index, int64_t num_a, const int64_t* b_index,
                       int64_t num_b, int64_t merged, int64_t protected_tokens,
                       int position_order, int64_t* source, int64_t* destination, float* score,
                       int64_t* segment, int64_t* offsets, int64_t* members, void* workspace,
                       void* stream) {
  if (num_a < 0) {
    num_a = even_count(tokens, protected_tokens);
    num_b = odd_count(tokens, protected_tokens);
  }
  const Metric metric{data,    channels, group_stride, token_stride,    a_index,
                      b_index, num_a,    num_b,        protected_tokens};
  const MatchWorkspace space(workspace, groups, tokens, num_a);
  if (merged) {
    const bool tensor = whole_pieces(dtype, data, channels, token_stride, group_stride);
    cudaError_t status = cudaSuccess;
    if (dtype == LONGVID_BF16)
      status = run_dtype<Bf16>(metric, groups, tensor, space.best, space.nearest, stream);
    else if (dtype == LONGVID_F16)
      status = run_dtype<F16>(metric, groups, tensor, space.best, space.nearest, stream);
    else
      status = run_dtype<F32>(metric, groups, tensor, space.best, space.nearest, stream);
    if (status != cudaSuccess) return status;
  }
  const PlanTask task{a_index,          b_index,             groups,    tokens,  num_a,
                      num_b,            merged,              protected_tokens,   position_order != 0,
                      source,           destination,         score,     segment, offsets,
                      members};
  return make_plan(task, space, stream);
}
