// window_gram and context_attention: products that end in something small.
#include <math.h>

#include <algorithm>

#include "longvid_cpu.h"
#include "longvid_index.h"
#include "workspace.h"

namespace longvid {
namespace {

constexpr int64_t kGramColumns = 512;    // columns of a window kept in the first cache
constexpr int64_t kGramSpan = 1 << 16;   // columns per unit of work
constexpr int64_t kRowBlock = 64;        // rows widened at a time
constexpr int64_t kFoldedBytes = int64_t(8) << 20;

// Add up the products of columns [first, last) of `count` rows into products (count, count).
int gram_span(const Kernels& k, int dtype, const void* x, int64_t stride, int64_t count,
              int64_t first, int64_t last, float* products) {
  float* wide =
      reinterpret_cast<float*>(workspace(Purpose::kTile).take(size_t(count * kGramColumns) * 4));
  if (!wide) return LONGVID_NO_MEMORY;
  std::fill(products, products + count * count, 0.0f);
  for (int64_t c = first; c < last; c += kGramColumns) {
    const int64_t columns = std::min(kGramColumns, last - c);
    for (int64_t i = 0; i < count; ++i) {
      float* row = wide + i * kGramColumns;
      k.widen(dtype, at(x, dtype, i * stride + c), columns, row);
      std::fill(row + columns, row + kGramColumns, 0.0f);
    }
    k.gram(wide, kGramColumns, count, round_up(columns, k.product.lanes), products);
  }
  return LONGVID_OK;
}

struct Attention {
  int dtype;
  const void* query;
  int64_t query_frame_stride, query_stride;
  const void* key_weight;
  const void* x;
  int64_t frames, queries, query_width, tokens, channels, frame_stride, token_stride;
  float scale;
  const float* share;
  int64_t share_frame_stride;
  void* out;
};

// folded (rows, stride) = query rows times the packed key projection. Row i is query i % M of
// frame first + i / M.
int fold_rows(const Kernels& k, const Product& product, const Attention& a, int64_t first_frame,
              int64_t first, int64_t last, const float* panels, float* folded, int64_t stride) {
  const int64_t padded = padded_rows(product, last - first);
  const bool widened = !product.pairs && a.dtype != LONGVID_F32;
  const void** rows = nullptr;
  float* wide = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    rows = arrays.array<const void*>(padded);
    wide = arrays.array<float>(widened ? (last - first) * a.query_width : 0);
    if (pass == 0 && !(memory = workspace(Purpose::kTile).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }
  for (int64_t i = first; i < last; ++i) {
    const int64_t frame = first_frame + i / a.queries;
    const void* row = at(a.query, a.dtype,
                         frame * a.query_frame_stride + i % a.queries * a.query_stride);
    rows[i - first] = row;
    if (!widened) continue;
    rows[i - first] = wide + (i - first) * a.query_width;
    k.widen(a.dtype, row, a.query_width, wide + (i - first) * a.query_width);
  }
  for (int64_t i = last - first; i < padded; ++i) rows[i] = rows[0];
  product.multiply(rows, last - first, a.query_width, panels, a.channels, folded + first * stride,
                   stride);
  for (int64_t i = first; i < last; ++i)
    if (!(k.square(LONGVID_F32, folded + i * stride, a.channels) < INFINITY))
      return LONGVID_NOT_FINITE;
  return LONGVID_OK;
}

// The context of one frame from its folded queries (M, stride).
int attend(const Kernels& k, const Product& product, const Attention& a, int64_t frame,
           const float* folded, int64_t stride) {
  const int64_t score_stride = round_up(a.queries, product.panel);
  const bool widened = !product.pairs && a.dtype != LONGVID_F32;
  const int64_t row_block = widened ? kRowBlock : a.tokens;
  const void** columns = nullptr;
  const void** rows = nullptr;
  float *panels = nullptr, *wide = nullptr, *scores = nullptr, *weights = nullptr;
  float *scratch = nullptr, *sum = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    columns = arrays.array<const void*>(a.queries);
    rows = arrays.array<const void*>(padded_rows(product, row_block));
    panels = arrays.array<float>(score_stride * a.channels);
    wide = arrays.array<float>(widened ? row_block * a.channels : 0);
    scores = arrays.array<float>(a.tokens * score_stride);
    weights = arrays.array<float>(a.tokens);
    scratch = arrays.array<float>(2 * score_stride);
    sum = arrays.array<float>(a.channels);
    if (pass == 0 && !(memory = workspace(Purpose::kTile).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }
  for (int64_t m = 0; m < a.queries; ++m) columns[m] = folded + m * stride;
  product.pack_rows(LONGVID_F32, columns, a.queries, a.channels, panels);
  for (int64_t n = 0; n < a.tokens; n += row_block) {
    const int64_t count = std::min(row_block, a.tokens - n);
    for (int64_t i = 0; i < count; ++i) {
      const void* row = at(a.x, a.dtype, frame * a.frame_stride + (n + i) * a.token_stride);
      rows[i] = row;
      if (!widened) continue;
      rows[i] = wide + i * a.channels;
      k.widen(a.dtype, row, a.channels, wide + i * a.channels);
    }
    for (int64_t i = count; i < padded_rows(product, count); ++i) rows[i] = rows[0];
    product.multiply(rows, count, a.channels, panels, a.queries, scores + n * score_stride,
                     score_stride);
  }
  k.softmax_mean(scores, a.tokens, a.queries, score_stride, a.scale,
                 a.share + frame * a.share_frame_stride, weights, scratch);
  std::fill(sum, sum + a.channels, 0.0f);
  constexpr int64_t kRows = 16;
  for (int64_t n = 0; n < a.tokens; n += kRows)
    k.add_rows(a.dtype, at(a.x, a.dtype, frame * a.frame_stride + n * a.token_stride),
               a.token_stride, std::min(kRows, a.tokens - n), a.channels, weights + n, sum);
  k.narrow(a.dtype, sum, a.channels,
           at(a.out, a.dtype, frame * a.channels));
  for (int64_t c = 0; c < a.channels; ++c)
    if (!(fabsf(sum[c]) < INFINITY)) return LONGVID_NOT_FINITE;
  return LONGVID_OK;
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int longvid_cpu_window_gram(int level, int threads, int dtype, const void* x, int64_t frames,
                            int64_t channels, int64_t frame_stride, int64_t window, float* gram) {
  const Kernels& k = kernels(level);
  const int64_t windows = ceil_div(frames, window), spans = ceil_div(channels, kGramSpan);
  const int64_t area = window * window;
  auto* partial = reinterpret_cast<float*>(
      workspace(Purpose::kShared).take(size_t(windows * spans * area) * 4 + 4));
  if (!partial) return LONGVID_NO_MEMORY;
  int status = LONGVID_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (windows * spans > 1)
  for (int64_t unit = 0; unit < windows * spans; ++unit) {
    const int64_t w = unit / spans, first = unit % spans * kGramSpan;
    const int64_t count = std::min(window, frames - w * window);
    const int result =
        gram_span(k, dtype, at(x, dtype, w * window * frame_stride), frame_stride, count, first,
                  std::min(first + kGramSpan, channels), partial + unit * area);
    if (result != LONGVID_OK) {
#pragma omp atomic write
      status = result;
    }
  }
  if (status != LONGVID_OK) return status;
  // Spans are added in their order, so the sum does not depend on the number of threads.
  for (int64_t w = 0; w < windows; ++w) {
    const int64_t count = std::min(window, frames - w * window);
    float* out = gram + w * area;
    std::fill(out, out + area, 0.0f);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = i; j < count; ++j) {
        double sum = 0.0;
        for (int64_t s = 0; s < spans; ++s)
          sum += double(partial[(w * spans + s) * area + i * count + j]);
        out[i * window + j] = float(sum);
      }
    for (int64_t i = 0; i < count; ++i) {
      const float square = out[i * window + i];
      if (!(square < INFINITY)) status = LONGVID_NOT_FINITE;
      for (int64_t j = i + 1; j < count; ++j) {
        const float scaled = out[i * window + j] * inverse_norm(square) *
                             inverse_norm(out[j * window + j]);
        out[i * window + j] = scaled;
        out[j * window + i] = scaled;
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const float inverse = inverse_norm(out[i * window + i]);
      out[i * window + i] *= inverse * inverse;
    }
  }
  workspace(Purpose::kShared).trim();
  return status;
}

int longvid_cpu_context_attention(int level, int threads, int dtype, const void* query,
                                  int64_t query_frame_stride, int64_t query_stride,
                                  const void* key_weight, const void* x, int64_t frames,
                                  int64_t queries, int64_t query_width, int64_t tokens,
                                  int64_t channels, int64_t frame_stride, int64_t token_stride,
                                  float scale, const float* share, int64_t share_frame_stride,
                                  void* out) {
  const Attention a{dtype,    query,      query_frame_stride, query_stride, key_weight,
                    x,        frames,     queries,            query_width,  tokens,
                    channels, frame_stride, token_stride,     scale,        share,
                    share_frame_stride,   out};
  const Kernels& k = kernels(level);
  const Product& fold = product_for(level, dtype, query_width);
  const Product& score = product_for(level, dtype, channels);
  const bool shared = query_frame_stride == 0;
  const int64_t stride = round_up(channels, fold.panel);
  const int64_t num_panels = stride / fold.panel;
  const int64_t some = std::max<int64_t>(1, kFoldedBytes / std::max<int64_t>(1, queries * stride * 4));
  const int64_t frames_at_once = shared ? 1 : std::min(frames, some);

  float *panels = nullptr, *folded = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    panels = arrays.array<float>(num_panels * panel_floats(fold, query_width));
    folded = arrays.array<float>(frames_at_once * queries * stride);
    if (pass == 0 && !(memory = workspace(Purpose::kShared).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }
  int status = LONGVID_OK;
#pragma omp parallel for schedule(static) num_threads(threads) if (num_panels > 1)
  for (int64_t p = 0; p < num_panels; ++p)
    fold.pack_matrix(dtype, at(key_weight, dtype, p * fold.panel), channels,
                     std::min<int64_t>(fold.panel, channels - p * fold.panel), query_width,
                     panels + p * panel_floats(fold, query_width));

  const int64_t step = shared ? frames : frames_at_once;
  for (int64_t first = 0; first < frames && status == LONGVID_OK; first += step) {
    const int64_t count = std::min(step, frames - first);
    const int64_t num_rows = shared ? queries : count * queries;
    const int64_t block_rows = std::min<int64_t>(64, round_up(ceil_div(num_rows, threads), 8));
    const int64_t blocks = ceil_div(num_rows, block_rows);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (blocks > 1)
    for (int64_t block = 0; block < blocks; ++block) {
      const int result =
          fold_rows(k, fold, a, first, block * block_rows,
                    std::min(num_rows, (block + 1) * block_rows), panels, folded, stride);
      if (result != LONGVID_OK) {
#pragma omp atomic write
        status = result;
      }
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > 1)
    for (int64_t f = 0; f < count; ++f) {
      const float* mine = folded + (shared ? 0 : f * queries * stride);
      const int result = attend(k, score, a, first + f, mine, stride);
      if (result != LONGVID_OK) {
#pragma omp atomic write
        status = result;
      }
    }
  }
  workspace(Purpose::kShared).trim();
  return status;
}
