// The matrix product with its two endings: keep the best column of every row, or store it.
// Written once over a vector type V and a unit U of multiplication: one float32, or a pair of
// bfloat16. Every product is summed over the channels in rising order whatever the shape, so equal
// columns have equal products and the lowest one wins.
#pragma once

#include "loops.h"

namespace longvid {

template <class V>
struct WideUnit {
  using Reg = typename V::Reg;
  using L = Loops<V>;
  static constexpr bool kPairs = false;

  static inline int64_t steps(int64_t channels) { return channels; }
  static inline Reg broadcast(const void* row, int64_t step) {
    return V::set(static_cast<const float*>(row)[step]);
  }
  static inline Reg multiply_add(Reg a, Reg b, Reg sum) { return V::fma(a, b, sum); }
  // `count` units of a row as one register of 32-bit lanes.
  static inline Reg load(int dtype, const void* row, int64_t step, int64_t count) {
    if (dtype == LONGVID_F32) return load_as<typename L::F32>(row, step, count);
    if (dtype == LONGVID_BF16) return load_as<typename L::Bf16>(row, step, count);
    return load_as<typename L::F16>(row, step, count);
  }
  // `count` columns of a matrix at one step.
  static inline Reg load_columns(int dtype, const void* matrix, int64_t stride, int64_t step,
                                 int64_t column, int64_t count) {
    return load(dtype, matrix, step * stride + column, count);
  }
  template <class T>
  static inline Reg load_as(const void* row, int64_t step, int64_t count) {
    const auto* p = static_cast<const typename T::Type*>(row) + step;
    return count < V::kLanes ? L::template load_part<T>(p, count) : T::load(p);
  }
};

template <class V, class U>
struct ProductLoops {
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRows = V::kTileRows;
  static constexpr int kVectors = V::kTileVectors;
  static constexpr int kPanel = kVectors * kLanes;

  static void pack_rows(int dtype, const void* const* rows, int64_t count, int64_t channels,
                        float* panels) {
    const int64_t steps = U::steps(channels);
    for (int64_t j = 0; j < count; j += kLanes) {
      float* out = panels + j / kPanel * (kPanel * steps) + j % kPanel;
      const int64_t columns = count - j < kLanes ? count - j : kLanes;
      for (int64_t k = 0; k < steps; k += kLanes) {
        const int64_t part = steps - k < kLanes ? steps - k : kLanes;
        Reg block[kLanes];
        for (int64_t u = 0; u < kLanes; ++u)
          block[u] = u < columns ? U::load(dtype, rows[j + u], k, part) : V::zero();
        V::transpose(block);
        for (int64_t u = 0; u < part; ++u) V::store(out + (k + u) * kPanel, block[u]);
      }
    }
    clear_padding(count, steps, panels);
  }

  static void pack_matrix(int dtype, const void* matrix, int64_t stride, int64_t count,
                          int64_t channels, float* panels) {
    const int64_t steps = U::steps(channels);
    for (int64_t j = 0; j < count; j += kLanes) {
      float* out = panels + j / kPanel * (kPanel * steps) + j % kPanel;
      const int64_t columns = count - j < kLanes ? count - j : kLanes;
      for (int64_t k = 0; k < steps; ++k)
        V::store(out + k * kPanel, U::load_columns(dtype, matrix, stride, k, j, columns));
    }
    clear_padding(count, steps, panels);
  }

  // Zero the vectors of the last panel that hold no column at all.
  static void clear_padding(int64_t count, int64_t steps, float* panels) {
    const int64_t used = (count + kLanes - 1) / kLanes * kLanes;
    for (int64_t j = used; j % kPanel != 0; j += kLanes) {
      float* out = panels + j / kPanel * (kPanel * steps) + j % kPanel;
      for (int64_t k = 0; k < steps; ++k) V::store(out + k * kPanel, V::zero());
    }
  }

  // `ahead` asks the memory for the next tile's rows, which no hardware guesses across rows.
  template <int kWidth>
  static inline __attribute__((always_inline)) void tile(const void* const* rows, int64_t steps,
                                                         const float* panel, bool ahead,
                                                         Reg (&sum)[kRows][kVectors]) {
    constexpr int64_t kLine = 16;  // steps in a cache line of a row
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < kWidth; ++v) sum[i][v] = V::zero();
    for (int64_t line = 0; line < steps; line += kLine) {
      if (ahead)
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i)
          __builtin_prefetch(static_cast<const float*>(rows[kRows + i]) + line);
      const int64_t stop = line + kLine < steps ? line + kLine : steps;
      for (int64_t k = line; k < stop; ++k) {
        Reg b[kWidth];
#pragma GCC unroll 16
        for (int v = 0; v < kWidth; ++v) b[v] = V::load(panel + k * kPanel + v * kLanes);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const Reg a = U::broadcast(rows[i], k);
#pragma GCC unroll 16
          for (int v = 0; v < kWidth; ++v) sum[i][v] = U::multiply_add(a, b[v], sum[i][v]);
        }
      }
    }
  }

  // scratch: (num_rows padded, 2, lanes): the best value of each lane and its column.
  static void best_columns(const void* const* rows, int64_t num_rows, int64_t channels,
                           const float* panels, int64_t first, int64_t count,
                           const float* inverse, const float* bias, float* best, int64_t* index,
                           float* scratch, Ahead& ahead) {
    const int64_t steps = U::steps(channels);
    for (int64_t p = 0; p * kPanel < count; ++p) {
      const float* panel = panels + p * kPanel * steps;
      Reg factor[kVectors], offset[kVectors], column[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const int64_t j = p * kPanel + v * kLanes;
        factor[v] = V::load(inverse + j);
        offset[v] = V::load(bias + j);
        column[v] = V::add(V::set(float(first + j)), V::iota());
      }
      for (int64_t i = 0; i < num_rows; i += kRows) {
        Reg sum[kRows][kVectors];
        ahead.ask();
        tile<kVectors>(rows + i, steps, panel, first + p == 0, sum);
        for (int u = 0; u < kRows; ++u) {
          float* lane = scratch + (i + u) * 2 * kLanes;
          Reg top = first + p ? V::load(lane) : V::set(-INFINITY);
          Reg at = first + p ? V::load(lane + kLanes) : V::zero();
          for (int v = 0; v < kVectors; ++v) {
            const Reg score = V::fma(sum[u][v], factor[v], offset[v]);
            at = V::select_greater(score, top, column[v], at);
            top = V::select_greater(score, top, score, top);
          }
          V::store(lane, top);
          V::store(lane + kLanes, at);
        }
      }
    }
    for (int64_t i = 0; i < num_rows; ++i) {
      const float* lane = scratch + i * 2 * kLanes;
      float at;
      V::best_lane(lane, lane + kLanes, best + i, &at);
      index[i] = int64_t(at);
    }
  }

  static void multiply(const void* const* rows, int64_t num_rows, int64_t channels,
                       const float* panels, int64_t count, float* out, int64_t out_stride) {
    const int64_t steps = U::steps(channels);
    for (int64_t p = 0; p * kPanel < count; ++p) {
      const float* panel = panels + p * kPanel * steps;
      const int64_t vectors = (count - p * kPanel + kLanes - 1) / kLanes;
      for (int64_t i = 0; i < num_rows; i += kRows) {
        float* corner = out + i * out_stride + p * kPanel;
        const int64_t height = num_rows - i < kRows ? num_rows - i : kRows;
        if (vectors >= kVectors)
          store_tile<kVectors>(rows + i, steps, panel, p == 0, corner, out_stride, height);
        else if (vectors == 2)
          store_tile<2>(rows + i, steps, panel, p == 0, corner, out_stride, height);
        else
          store_tile<1>(rows + i, steps, panel, p == 0, corner, out_stride, height);
      }
    }
  }

  template <int kWidth>
  static void store_tile(const void* const* rows, int64_t steps, const float* panel, bool ahead,
                         float* out, int64_t out_stride, int64_t height) {
    Reg sum[kRows][kVectors];
    tile<kWidth>(rows, steps, panel, ahead, sum);
    for (int64_t u = 0; u < height; ++u)
      for (int v = 0; v < kWidth; ++v) V::store(out + u * out_stride + v * kLanes, sum[u][v]);
  }

  static constexpr Product table() {
    return Product{kPanel,    kRows,       kLanes,       U::kPairs,
                   pack_rows, pack_matrix, best_columns, multiply};
  }
};

template <class V>
constexpr Kernels kernels_of() {
  using L = Loops<V>;
  return Kernels{ProductLoops<V, WideUnit<V>>::table(),
                 L::square,
                 L::dot_square,
                 L::widen,
                 L::head_mean,
                 L::narrow,
                 L::mean_segments,
                 L::copy,
                 L::fence,
                 L::add_rows,
                 L::gram,
                 L::softmax_mean};
}

}  // namespace longvid
