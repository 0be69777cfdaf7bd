// The inner loops that exist once per instruction set, as tables of functions.
//
// `dtype` is longvid_dtype; rows are pointers to elements of it unless a type says otherwise.
#pragma once

#include <stdint.h>

#include "longvid_cpu.h"

namespace longvid {

// Memory that comes next, asked for in steps while something else is computed.
struct Ahead {
  const char* next = nullptr;
  const char* end = nullptr;
  int64_t step = 0;

  void ask() {
    const char* stop = end - next < step ? end : next + step;
    for (; next < stop; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

// The product of a list of rows with a matrix of columns packed into panels.
//
// Rows are float32, or bfloat16 where `pairs` is set. A panel holds `panel` columns, zero filled
// past the last one; it takes panel_floats(channels) floats. Row lists have padded_rows() entries,
// past the last one any row again.
struct Product {
  int panel;
  int tile_rows;
  int lanes;
  bool pairs;
  // Columns are rows[j], `channels` elements each; float32 ones are rounded where `pairs` is set.
  void (*pack_rows)(int dtype, const void* const* rows, int64_t count, int64_t channels,
                    float* panels);
  // Columns are those of a row-major (channels, count) matrix.
  void (*pack_matrix)(int dtype, const void* matrix, int64_t stride, int64_t count,
                      int64_t channels, float* panels);
  // For every row the largest product * inverse[j] + bias[j] and the lowest j that reaches it.
  // inverse and bias are padded to whole panels, bias with -inf. The panels hold columns `first`
  // on; first > 0 goes on from the scratch that earlier columns left. scratch: 2 * lanes floats
  // for each row of the padded list. `ahead` takes a step for every tile.
  void (*best_columns)(const void* const* rows, int64_t num_rows, int64_t channels,
                       const float* panels, int64_t first, int64_t count, const float* inverse,
                       const float* bias, float* best, int64_t* index, float* scratch,
                       Ahead& ahead);
  // out (num_rows, out_stride); out_stride is a multiple of `panel`.
  void (*multiply)(const void* const* rows, int64_t num_rows, int64_t channels,
                   const float* panels, int64_t count, float* out, int64_t out_stride);
};

inline int64_t panel_floats(const Product& product, int64_t channels) {
  return product.panel * (product.pairs ? channels / 2 : channels);
}

// A whole tile more than the rows need, to read ahead.
inline int64_t padded_rows(const Product& product, int64_t rows) {
  return ((rows + product.tile_rows - 1) / product.tile_rows + 1) * product.tile_rows;
}

struct Kernels {
  Product product;
  float (*square)(int dtype, const void* row, int64_t channels);
  // dot = <a, b>, square = <b, b>. The row at `next` is asked for on the way, so that reading and
  // arithmetic go side by side.
  void (*dot_square)(int dtype, const void* a, const void* b, const void* next, int64_t channels,
                     float* dot, float* square);
  void (*widen)(int dtype, const void* row, int64_t channels, float* out);
  // out[c] = mean over heads h of row[h * width + c].
  void (*head_mean)(int dtype, const void* row, int64_t heads, int64_t width, float* out);
  void (*narrow)(int dtype, const float* row, int64_t channels, void* out);
  // out[s] = sum of weights[m] * x[m] over the members m of segment s, times 1 / total, for
  // segments [first, last); weights may be null. A segment of one row is copied. `streamed` writes
  // past the caches and needs rows of whole cache lines.
  void (*mean_segments)(int dtype, const void* x, int64_t row_stride, int64_t channels,
                        const int64_t* offsets, const int64_t* members, const float* weights,
                        int64_t first, int64_t last, bool streamed, void* out);
  // Copy `bytes` bytes, or write zeros where `source` is null. What was streamed is seen by other
  // threads after `fence`.
  void (*copy)(const void* source, int64_t bytes, bool streamed, void* out);
  void (*fence)();
  // sum += weights[n] * row n.
  void (*add_rows)(int dtype, const void* rows, int64_t row_stride, int64_t count,
                   int64_t channels, const float* weights, float* sum);
  // products[i * count + j] += <rows i, rows j> for i <= j, over float32 rows.
  void (*gram)(const float* rows, int64_t row_stride, int64_t count, int64_t channels,
               float* products);
  // scores (tokens, stride) are overwritten. For each of `queries` columns a softmax over tokens
  // of scale * score; weights[n] = sum over queries of share * softmax. scratch: 2 * stride.
  void (*softmax_mean)(float* scores, int64_t tokens, int64_t queries, int64_t stride, float scale,
                       const float* share, float* weights, float* scratch);
};

// What products of bfloat16 pairs replace for bfloat16 data of even width.
struct PairKernels {
  Product product;
  float (*square)(const void* row, int64_t channels);
  void (*dot_square)(const void* a, const void* b, const void* next, int64_t channels, float* dot,
                     float* square);
};

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const PairKernels kAvx512Bf16Kernels;
#endif

}  // namespace longvid
