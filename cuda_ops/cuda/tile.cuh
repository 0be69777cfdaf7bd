// Products of a tile of rows with a tile of columns on the tensor cores. Rows and columns are both
// rows of memory, 16-bit elements, summed in float32 in rising order of the channels.
#pragma once

#include "block.cuh"

namespace longvid {

// Rows of a matrix, chosen by a rule or by a list.
struct RowSet {
  const void* data;
  int64_t stride;        // of rows, in elements
  const int64_t* index;  // null: row i is at first + step * i
  int64_t first, step, count;

  __device__ __forceinline__ int64_t position(int64_t i) const {
    return index ? index[i] : first + step * i;
  }
};

// One of two sets, member by member: a choice between the structs would put them in memory.
__device__ __forceinline__ RowSet choose(bool left, const RowSet& a, const RowSet& b) {
  return RowSet{left ? a.data : b.data,   left ? a.stride : b.stride, left ? a.index : b.index,
                left ? a.first : b.first, left ? a.step : b.step,     left ? a.count : b.count};
}

constexpr int kTileThreads = 256;  // 8 warps: 2 over the rows, 4 over the columns
constexpr int kTileChannels = 64;  // 128 bytes of a row
constexpr int kStages = 3;

// kRowTiles and kColumnTiles: 16-row and 8-column matrices of one warp.
template <class T, int kRowTiles, int kColumnTiles>
struct Tile {
  static constexpr int kRows = 32 * kRowTiles;
  static constexpr int kColumns = 32 * kColumnTiles;
  static constexpr int kAll = kRows + kColumns;
  static constexpr int kStageBytes = kAll * 128;
  static constexpr int kSharedBytes = kStages * kStageBytes + kAll * 4;

  // Start copying channels [64 * step, ...) of all rows and columns into a stage.
  static __device__ __forceinline__ void fetch(const RowSet& rows, const RowSet& columns,
                                               const int32_t* positions, int64_t channels,
                                               int64_t step, unsigned char* stages) {
    unsigned char* stage = stages + step % kStages * kStageBytes;
    const int chunk = threadIdx.x % 8;
    const int64_t channel = step * kTileChannels + chunk * 8;
#pragma unroll
    for (int i = 0; i < kRowTiles + kColumnTiles; ++i) {
      const int r = threadIdx.x / 8 + 32 * i;
      const RowSet set = choose(i < kRowTiles, rows, columns);
      const int32_t position = positions[r];
      const bool valid = position >= 0 && channel < channels;
      const auto* from = static_cast<const uint16_t*>(set.data) +
                         (valid ? position * set.stride + channel : 0);
      copy_async(stage + swizzle(r, chunk), from, valid);
    }
    copy_commit();
  }

  // sum[i][j] = the warp's matrices; squares[k] = sum of squares of row threadIdx.x + 256 k.
  template <bool kSquares>
  static __device__ __forceinline__ void multiply(
      const RowSet& rows, int64_t first_row, const RowSet& columns, int64_t first_column,
      int64_t channels, unsigned char* shared, float (&sum)[kRowTiles][kColumnTiles][4],
      float (&squares)[2]) {
    auto* positions = reinterpret_cast<int32_t*>(shared + kStages * kStageBytes);
    __syncthreads();  // an earlier product may still read what is overwritten here
    for (int r = threadIdx.x; r < kAll; r += kTileThreads) {
      const bool of_rows = r < kRows;
      const int64_t i = of_rows ? first_row + r : first_column + r - kRows;
      const RowSet set = choose(of_rows, rows, columns);
      positions[r] = i < set.count ? int32_t(set.position(i)) : -1;
    }
    __syncthreads();

    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row_base = warp / 4 * 16 * kRowTiles;
    const int column_base = kRows + warp % 4 * 8 * kColumnTiles;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int u = 0; u < 4; ++u) sum[i][j][u] = 0.0f;
    squares[0] = squares[1] = 0.0f;

    const int64_t steps = (channels + kTileChannels - 1) / kTileChannels;
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps)
        fetch(rows, columns, positions, channels, s, shared);
      else
        copy_commit();
    }
    for (int64_t step = 0; step < steps; ++step) {
      copy_wait<kStages - 2>();
      __syncthreads();
      if (step + kStages - 1 < steps)
        fetch(rows, columns, positions, channels, step + kStages - 1, shared);
      else
        copy_commit();
      const unsigned char* stage = shared + step % kStages * kStageBytes;
#pragma unroll
      for (int k = 0; k < kTileChannels / 16; ++k) {
        uint32_t a[kRowTiles][4];
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          const int r = row_base + 16 * i + lane % 16;
          load_matrices(a[i], stage + swizzle(r, 2 * k + lane / 16));
        }
#pragma unroll
        for (int j = 0; j < kColumnTiles; j += 2) {
          // Two 8-column matrices; of an odd number the last is loaded twice.
          const int second = j + 1 < kColumnTiles ? 8 : 0;
          const int r = column_base + 8 * j + lane % 8 + lane / 16 * second;
          uint32_t b[4];
          load_matrices(b, stage + swizzle(r, 2 * k + lane / 8 % 2));
#pragma unroll
          for (int i = 0; i < kRowTiles; ++i) {
            multiply_add<T>(sum[i][j], a[i], b[0], b[1]);
            if (j + 1 < kColumnTiles) multiply_add<T>(sum[i][j + 1], a[i], b[2], b[3]);
          }
        }
      }
      if constexpr (kSquares) {
#pragma unroll
        for (int u = 0; u < 2; ++u) {
          const int r = threadIdx.x + kTileThreads * u;
          if (r >= kAll) break;
          for (int chunk = 0; chunk < 8; ++chunk) {
            const uint4 bits = *reinterpret_cast<const uint4*>(stage + swizzle(r, chunk));
            const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
            Piece<T> piece;
            piece.unpack(words);
#pragma unroll
            for (int e = 0; e < 8; ++e) squares[u] = fmaf(piece.value[e], piece.value[e], squares[u]);
          }
        }
      }
    }
    copy_wait<0>();
    __syncthreads();
  }
};

}  // namespace longvid
