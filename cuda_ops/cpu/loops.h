// The inner loops, written once over a vector type. Include after the target pragma of the
// instruction set: everything here is a template over V, so no two files share a function.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace longvid {

template <class V>
struct Loops {
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kLanes;

  struct F32 {
    using Type = float;
    static inline Reg load(const Type* p) { return V::load(p); }
    static inline void store(Type* p, Reg a) { V::store(p, a); }
    static inline void stream(Type* p, Reg a) { V::stream(p, a); }
  };
  struct Bf16 {
    using Type = uint16_t;
    static inline Reg load(const Type* p) { return V::load_bf16(p); }
    static inline void store(Type* p, Reg a) { V::store_bf16(p, a); }
    static inline void stream(Type* p, Reg a) { V::stream_bf16(p, a); }
  };
  struct F16 {
    using Type = uint16_t;
    static inline Reg load(const Type* p) { return V::load_f16(p); }
    static inline void store(Type* p, Reg a) { V::store_f16(p, a); }
    static inline void stream(Type* p, Reg a) { V::stream_f16(p, a); }
  };

  // Load or store fewer elements than a vector holds; the others are zero, or left as they are.
  template <class T>
  static inline Reg load_part(const typename T::Type* p, int64_t count) {
    typename T::Type part[kLanes] = {};
    memcpy(part, p, size_t(count) * sizeof(part[0]));
    return T::load(part);
  }
  template <class T>
  static inline void store_part(typename T::Type* p, Reg a, int64_t count) {
    typename T::Type part[kLanes];
    T::store(part, a);
    memcpy(p, part, size_t(count) * sizeof(part[0]));
  }

  template <class T>
  static float square_of(const void* row, int64_t channels) {
    const auto* x = static_cast<const typename T::Type*>(row);
    Reg sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
    int64_t c = 0;
    for (; c + 4 * kLanes <= channels; c += 4 * kLanes)
      for (int u = 0; u < 4; ++u) {
        const Reg a = T::load(x + c + u * kLanes);
        sum[u] = V::fma(a, a, sum[u]);
      }
    for (; c + kLanes <= channels; c += kLanes) {
      const Reg a = T::load(x + c);
      sum[0] = V::fma(a, a, sum[0]);
    }
    if (c < channels) {
      const Reg a = load_part<T>(x + c, channels - c);
      sum[1] = V::fma(a, a, sum[1]);
    }
    return V::sum(V::add(V::add(sum[0], sum[1]), V::add(sum[2], sum[3])));
  }

  template <class T>
  static void dot_square_of(const void* first, const void* second, const void* next,
                            int64_t channels, float* dot, float* square) {
    const auto* x = static_cast<const typename T::Type*>(first);
    const auto* y = static_cast<const typename T::Type*>(second);
    const auto* later = static_cast<const typename T::Type*>(next);
    Reg dots[2] = {V::zero(), V::zero()};
    Reg squares[2] = {V::zero(), V::zero()};
    int64_t c = 0;
    for (; c + 2 * kLanes <= channels; c += 2 * kLanes)
      for (int u = 0; u < 2; ++u) {
        __builtin_prefetch(later + c + u * kLanes);
        const Reg a = T::load(x + c + u * kLanes);
        const Reg b = T::load(y + c + u * kLanes);
        dots[u] = V::fma(a, b, dots[u]);
        squares[u] = V::fma(b, b, squares[u]);
      }
    for (; c < channels; c += kLanes) {
      const int64_t left = channels - c;
      const Reg a = left < kLanes ? load_part<T>(x + c, left) : T::load(x + c);
      const Reg b = left < kLanes ? load_part<T>(y + c, left) : T::load(y + c);
      dots[0] = V::fma(a, b, dots[0]);
      squares[0] = V::fma(b, b, squares[0]);
    }
    *dot = V::sum(V::add(dots[0], dots[1]));
    *square = V::sum(V::add(squares[0], squares[1]));
  }

  template <class T>
  static void widen_of(const void* row, int64_t channels, float* out) {
    const auto* x = static_cast<const typename T::Type*>(row);
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) V::store(out + c, T::load(x + c));
    if (c < channels) store_part<F32>(out + c, load_part<T>(x + c, channels - c), channels - c);
  }

  template <class T>
  static void head_mean_of(const void* row, int64_t heads, int64_t width, float* out) {
    const auto* x = static_cast<const typename T::Type*>(row);
    const Reg share = V::set(1.0f / float(heads));
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t left = width - c < kLanes ? width - c : kLanes;
      Reg sum = V::zero();
      for (int64_t h = 0; h < heads; ++h) {
        const auto* p = x + h * width + c;
        sum = V::add(sum, left < kLanes ? load_part<T>(p, left) : T::load(p));
      }
      store_part<F32>(out + c, V::mul(sum, share), left);
    }
  }

  template <class T>
  static void narrow_of(const float* row, int64_t channels, void* out) {
    auto* y = static_cast<typename T::Type*>(out);
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) T::store(y + c, V::load(row + c));
    if (c < channels) store_part<T>(y + c, load_part<F32>(row + c, channels - c), channels - c);
  }

  template <class T, bool kStreamed>
  static void mean_rows_of(const typename T::Type* x, int64_t row_stride, int64_t channels,
                           const int64_t* members, int64_t count, const float* weights,
                           const typename T::Type* next, typename T::Type* y) {
    constexpr int64_t kLine = 64 / int64_t(sizeof(*x));
    float total = weights ? 0.0f : float(count);
    if (weights)
      for (int64_t m = 0; m < count; ++m) total += weights[members[m]];
    const bool empty = !(total > 0.0f);
    const Reg scale = V::set(empty ? 0.0f : 1.0f / total);
    const int64_t summed = empty ? 0 : count;
    int64_t c = 0;
    for (; c + 4 * kLanes <= channels; c += 4 * kLanes) {
      for (int64_t u = 0; u < 4 * kLanes; u += kLine) __builtin_prefetch(next + c + u);
      Reg sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
      for (int64_t m = 0; m < summed; ++m) {
        const auto* row = x + members[m] * row_stride + c;
        const Reg weight = V::set(weights ? weights[members[m]] : 1.0f);
        for (int u = 0; u < 4; ++u)
          sum[u] = V::add(sum[u], V::mul(weight, T::load(row + u * kLanes)));
      }
      for (int u = 0; u < 4; ++u) {
        const Reg mean = V::mul(sum[u], scale);
        if (kStreamed)
          T::stream(y + c + u * kLanes, mean);
        else
          T::store(y + c + u * kLanes, mean);
      }
    }
    for (; c < channels; c += kLanes) {
      const int64_t left = channels - c < kLanes ? channels - c : kLanes;
      Reg sum = V::zero();
      for (int64_t m = 0; m < summed; ++m) {
        const auto* row = x + members[m] * row_stride + c;
        const Reg weight = V::set(weights ? weights[members[m]] : 1.0f);
        sum = V::add(sum, V::mul(weight, load_part<T>(row, left)));
      }
      store_part<T>(y + c, V::mul(sum, scale), left);
    }
  }

  template <class T>
  static void mean_segments_of(const void* data, int64_t row_stride, int64_t channels,
                               const int64_t* offsets, const int64_t* members,
                               const float* weights, int64_t first, int64_t last, bool streamed,
                               void* out) {
    const auto* x = static_cast<const typename T::Type*>(data);
    const int64_t row_bytes = channels * int64_t(sizeof(*x));
    // Members are scattered: rows are asked for before their turn, the first of a segment while
    // another one is worked on.
    constexpr int64_t kAhead = 2;
    for (int64_t s = first; s < last; ++s) {
      const int64_t* own = members + offsets[s];
      const int64_t count = offsets[s + 1] - offsets[s];
      const auto* next = x + (count ? own[0] * row_stride : 0);
      if (s + kAhead < last) {
        int64_t m = offsets[s + kAhead];
        if (m < offsets[s + kAhead + 1]) next = x + members[m] * row_stride;
        while (++m < offsets[s + kAhead + 1]) {
          const auto* row = reinterpret_cast<const char*>(x + members[m] * row_stride);
          for (int64_t i = 0; i < row_bytes; i += 64) __builtin_prefetch(row + i);
        }
      }
      auto* y = static_cast<typename T::Type*>(out) + s * channels;
      // Rows that are streamed touch a new page every few of them: have it translated by then.
      if (streamed && s + 2 * kAhead < last) __builtin_prefetch(y + 2 * kAhead * channels);
      if (count == 1)
        copy_bytes(x + own[0] * row_stride, row_bytes, streamed, y, next);
      else if (count == 0)
        copy_bytes(nullptr, row_bytes, streamed, y);
      else if (streamed)
        mean_rows_of<T, true>(x, row_stride, channels, own, count, weights, next, y);
      else
        mean_rows_of<T, false>(x, row_stride, channels, own, count, weights, next, y);
    }
    if (streamed) V::fence();
  }

  // Asks for as many bytes at `next` on the way, if it is given.
  static inline void copy_bytes(const void* source, int64_t bytes, bool streamed, void* out,
                                const void* next = nullptr) {
    const auto* later = static_cast<const char*>(next);
    if (!streamed && later)
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(later + i);
    if (!streamed && source) {
      memcpy(out, source, size_t(bytes));
    } else if (!streamed) {
      memset(out, 0, size_t(bytes));
    } else {
      constexpr int64_t kStep = kLanes * int64_t(sizeof(float));
      for (int64_t i = 0; i < bytes; i += kStep) {
        if (later) __builtin_prefetch(later + i);
        const auto* from = reinterpret_cast<const float*>(static_cast<const char*>(source) + i);
        V::stream(reinterpret_cast<float*>(static_cast<char*>(out) + i),
                  source ? V::load(from) : V::zero());
      }
    }
  }
  static void copy(const void* source, int64_t bytes, bool streamed, void* out) {
    copy_bytes(source, bytes, streamed, out);
  }
  static void fence() { V::fence(); }

  template <class T>
  static void add_rows_of(const void* data, int64_t row_stride, int64_t count, int64_t channels,
                          const float* weights, float* sum) {
    const auto* x = static_cast<const typename T::Type*>(data);
    int64_t c = 0;
    for (; c + 4 * kLanes <= channels; c += 4 * kLanes) {
      Reg total[4];
      for (int u = 0; u < 4; ++u) total[u] = V::load(sum + c + u * kLanes);
      for (int64_t n = 0; n < count; ++n) {
        const auto* p = x + n * row_stride + c;
        const Reg weight = V::set(weights[n]);
        for (int u = 0; u < 4; ++u) total[u] = V::fma(weight, T::load(p + u * kLanes), total[u]);
      }
      for (int u = 0; u < 4; ++u) V::store(sum + c + u * kLanes, total[u]);
    }
    for (; c < channels; c += kLanes) {
      const int64_t left = channels - c < kLanes ? channels - c : kLanes;
      Reg total = left < kLanes ? load_part<F32>(sum + c, left) : V::load(sum + c);
      for (int64_t n = 0; n < count; ++n) {
        const auto* p = x + n * row_stride + c;
        const Reg a = left < kLanes ? load_part<T>(p, left) : T::load(p);
        total = V::fma(V::set(weights[n]), a, total);
      }
      store_part<F32>(sum + c, total, left);
    }
  }

  // One function per dtype, chosen at run time.
  static float square(int dtype, const void* row, int64_t channels) {
    if (dtype == LONGVID_F32) return square_of<F32>(row, channels);
    if (dtype == LONGVID_BF16) return square_of<Bf16>(row, channels);
    return square_of<F16>(row, channels);
  }
  static void dot_square(int dtype, const void* a, const void* b, const void* next,
                         int64_t channels, float* dot, float* square) {
    if (dtype == LONGVID_F32) return dot_square_of<F32>(a, b, next, channels, dot, square);
    if (dtype == LONGVID_BF16) return dot_square_of<Bf16>(a, b, next, channels, dot, square);
    return dot_square_of<F16>(a, b, next, channels, dot, square);
  }
  static void widen(int dtype, const void* row, int64_t channels, float* out) {
    if (dtype == LONGVID_F32) return widen_of<F32>(row, channels, out);
    if (dtype == LONGVID_BF16) return widen_of<Bf16>(row, channels, out);
    return widen_of<F16>(row, channels, out);
  }
  static void head_mean(int dtype, const void* row, int64_t heads, int64_t width, float* out) {
    if (dtype == LONGVID_F32) return head_mean_of<F32>(row, heads, width, out);
    if (dtype == LONGVID_BF16) return head_mean_of<Bf16>(row, heads, width, out);
    return head_mean_of<F16>(row, heads, width, out);
  }
  static void narrow(int dtype, const float* row, int64_t channels, void* out) {
    if (dtype == LONGVID_F32) return narrow_of<F32>(row, channels, out);
    if (dtype == LONGVID_BF16) return narrow_of<Bf16>(row, channels, out);
    return narrow_of<F16>(row, channels, out);
  }
  static void mean_segments(int dtype, const void* x, int64_t row_stride, int64_t channels,
                            const int64_t* offsets, const int64_t* members, const float* weights,
                            int64_t first, int64_t last, bool streamed, void* out) {
    const auto of = dtype == LONGVID_F32    ? mean_segments_of<F32>
                    : dtype == LONGVID_BF16 ? mean_segments_of<Bf16>
                                            : mean_segments_of<F16>;
    of(x, row_stride, channels, offsets, members, weights, first, last, streamed, out);
  }
  static void add_rows(int dtype, const void* rows, int64_t row_stride, int64_t count,
                       int64_t channels, const float* weights, float* sum) {
    if (dtype == LONGVID_F32)
      return add_rows_of<F32>(rows, row_stride, count, channels, weights, sum);
    if (dtype == LONGVID_BF16)
      return add_rows_of<Bf16>(rows, row_stride, count, channels, weights, sum);
    return add_rows_of<F16>(rows, row_stride, count, channels, weights, sum);
  }

  static void gram(const float* rows, int64_t row_stride, int64_t count, int64_t channels,
                   float* products) {
    constexpr int kRows = 2, kColumns = 4;
    for (int64_t i = 0; i < count; i += kRows)
      for (int64_t j = i / kColumns * kColumns; j < count; j += kColumns) {
        const float* left[kRows];
        const float* right[kColumns];
        for (int u = 0; u < kRows; ++u)
          left[u] = rows + (i + u < count ? i + u : count - 1) * row_stride;
        for (int v = 0; v < kColumns; ++v)
          right[v] = rows + (j + v < count ? j + v : count - 1) * row_stride;
        Reg sum[kRows][kColumns];
        for (int u = 0; u < kRows; ++u)
          for (int v = 0; v < kColumns; ++v) sum[u][v] = V::zero();
        for (int64_t c = 0; c < channels; c += kLanes) {
          Reg b[kColumns];
          for (int v = 0; v < kColumns; ++v) b[v] = V::load(right[v] + c);
          for (int u = 0; u < kRows; ++u) {
            const Reg a = V::load(left[u] + c);
            for (int v = 0; v < kColumns; ++v) sum[u][v] = V::fma(a, b[v], sum[u][v]);
          }
        }
        for (int u = 0; u < kRows; ++u)
          for (int v = 0; v < kColumns; ++v)
            if (i + u < count && j + v < count && i + u <= j + v)
              products[(i + u) * count + j + v] += V::sum(sum[u][v]);
      }
  }

  static void softmax_mean(float* scores, int64_t tokens, int64_t queries, int64_t stride,
                           float scale, const float* share, float* weights, float* scratch) {
    const Reg factor = V::set(scale);
    const int64_t padded = (queries + kLanes - 1) / kLanes * kLanes;
    float* top = scratch;
    float* part = scratch + stride;
    for (int64_t m = 0; m < padded; ++m) top[m] = -INFINITY;
    for (int64_t n = 0; n < tokens; ++n)
      for (int64_t m = 0; m < padded; m += kLanes) {
        float* p = scores + n * stride + m;
        const Reg scaled = V::mul(V::load(p), factor);
        V::store(p, scaled);
        V::store(top + m, V::max(scaled, V::load(top + m)));
      }
    for (int64_t m = 0; m < padded; ++m) part[m] = 0.0f;
    for (int64_t n = 0; n < tokens; ++n)
      for (int64_t m = 0; m < padded; m += kLanes) {
        float* p = scores + n * stride + m;
        const Reg e = V::exp(V::sub(V::load(p), V::load(top + m)));
        V::store(p, e);
        V::store(part + m, V::add(e, V::load(part + m)));
      }
    for (int64_t m = 0; m < padded; ++m) part[m] = m < queries ? share[m] / part[m] : 0.0f;
    for (int64_t n = 0; n < tokens; ++n) {
      Reg sum = V::zero();
      for (int64_t m = 0; m < padded; m += kLanes)
        sum = V::fma(V::load(scores + n * stride + m), V::load(part + m), sum);
      weights[n] = V::sum(sum);
    }
  }
};

}  // namespace longvid
