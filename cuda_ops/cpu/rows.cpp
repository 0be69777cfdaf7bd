// segment_mean, token_cosine, compact, head_mean and frame_products: passes over rows of tokens.
#include <math.h>

#include <algorithm>

#include "large.h"
#include "longvid_cpu.h"

using namespace longvid;

namespace {

constexpr float kCosineEps = 1e-8f;  // as torch.cosine_similarity
constexpr int64_t kTokenBlock = 96;  // tokens whose anchor rows stay in cache
constexpr int64_t kFrameBlock = 32;  // frames per unit of work against the previous frame
constexpr int64_t kAhead = 4;        // tokens asked for before their turn

float cosine(float dot, float first_square, float second_square) {
  const float first = std::max(sqrtf(first_square), kCosineEps);
  const float second = std::max(sqrtf(second_square), kCosineEps);
  return dot / (first * second);
}

}  // namespace

int longvid_cpu_segment_mean(int level, int threads, int dtype, const void* x, int64_t rows,
                             int64_t channels, int64_t row_stride, const int64_t* offsets,
                             int64_t segments, const int64_t* members, int64_t num_members,
                             const float* weights, void* out) {
  if (offsets[0] != 0 || offsets[segments] != num_members) return LONGVID_BAD_INDEX;
  const Kernels& k = kernels(level);
  constexpr int64_t kBlock = 64;
  const int64_t blocks = ceil_div(segments, kBlock);
  const bool streamed = worth_streaming(out, segments, channels, dtype);
  ask_for_large_pages(out, segments, channels, dtype);
  int status = LONGVID_OK;
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (blocks > 1)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kBlock, last = std::min(segments, first + kBlock);
    bool valid = offsets[first] >= 0 && offsets[last] <= num_members;
    for (int64_t s = first; valid && s < last; ++s) valid = offsets[s] <= offsets[s + 1];
    for (int64_t m = offsets[first]; valid && m < offsets[last]; ++m)
      valid = members[m] >= 0 && members[m] < rows;
    if (valid) {
      k.mean_segments(dtype, x, row_stride, channels, offsets, members, weights, first, last,
                      streamed, out);
    } else {
#pragma omp atomic write
      status = LONGVID_BAD_INDEX;
    }
  }
  return status;
}

namespace {

// Calls result(f, n, cosine) for every token of a frame that is compared with an earlier one.
template <class Result>
int compare_frames(int level, int threads, int dtype, const void* x, int64_t frames,
                   int64_t tokens, int64_t channels, int64_t frame_stride, int64_t token_stride,
                   int64_t window, Result result) {
  const Kernels& k = kernels(level);
  const int64_t run = window ? window : kFrameBlock;
  const int64_t runs = ceil_div(frames, run), blocks = ceil_div(tokens, kTokenBlock);
  int status = LONGVID_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (runs * blocks > 1)
  for (int64_t unit = 0; unit < runs * blocks; ++unit) {
    const int64_t start = unit / blocks * run, stop = std::min(start + run, frames);
    const int64_t n0 = unit % blocks * kTokenBlock, n1 = std::min(n0 + kTokenBlock, tokens);
    const auto row = [&](int64_t f, int64_t n) {
      return at(x, dtype, f * frame_stride + n * token_stride);
    };
    // `squares` belong to the frame that the next one is compared with.
    int64_t anchor = window || start == 0 ? start : start - 1;
    float squares[kTokenBlock];
    bool finite = true;
    for (int64_t n = n0; n < n1; ++n) {
      squares[n - n0] = k.square(dtype, row(anchor, n), channels);
      finite = finite && squares[n - n0] < INFINITY;
    }
    for (int64_t f = anchor + 1; f < stop; ++f) {
      for (int64_t n = n0; n < n1; ++n) {
        // Hardware stops reading ahead at the end of a page.
        const int64_t later = n + kAhead, wrapped = later - (n1 - n0);
        const void* next = row(f, n);
        if (later < n1)
          next = row(f, later);
        else if (f + 1 < stop && wrapped < n1)
          next = row(f + 1, wrapped);
        float dot, square;
        k.dot_square(dtype, row(anchor, n), row(f, n), next, channels, &dot, &square);
        finite = finite && square < INFINITY;
        result(f, n, cosine(dot, squares[n - n0], square));
        if (!window) squares[n - n0] = square;
      }
      if (!window) anchor = f;
    }
    if (!finite) {
#pragma omp atomic write
      status = LONGVID_NOT_FINITE;
    }
  }
  return status;
}

bool compared_with_none(int64_t frame, int64_t window) {
  return window ? frame % window == 0 : frame == 0;
}

}  // namespace

int longvid_cpu_token_cosine(int level, int threads, int dtype, const void* x, int64_t frames,
                             int64_t tokens, int64_t channels, int64_t frame_stride,
                             int64_t token_stride, int64_t window, float* similarity) {
  for (int64_t f = 0; f < frames; ++f)
    if (compared_with_none(f, window)) std::fill_n(similarity + f * tokens, tokens, 1.0f);
  return compare_frames(
      level, threads, dtype, x, frames, tokens, channels, frame_stride, token_stride, window,
      [=](int64_t f, int64_t n, float value) { similarity[f * tokens + n] = value; });
}

int longvid_cpu_find_new(int level, int threads, int dtype, const void* x, int64_t frames,
                         int64_t tokens, int64_t channels, int64_t frame_stride,
                         int64_t token_stride, int64_t window, float threshold, uint8_t* keep,
                         int64_t* count) {
  for (int64_t f = 0; f < frames; ++f)
    if (compared_with_none(f, window)) std::fill_n(keep + f * tokens, tokens, uint8_t(1));
  const int status = compare_frames(
      level, threads, dtype, x, frames, tokens, channels, frame_stride, token_stride, window,
      [=](int64_t f, int64_t n, float value) { keep[f * tokens + n] = value < threshold; });
  *count = std::count(keep, keep + frames * tokens, uint8_t(1));
  return status;
}

int longvid_cpu_compact(int level, int threads, int dtype, const void* x, int64_t frames,
                        int64_t tokens, int64_t channels, int64_t frame_stride, int64_t token_stride,
                        const uint8_t* keep, int64_t rows, void* packed, int32_t* cu_seqlens) {
  cu_seqlens[0] = 0;
  for (int64_t f = 0; f < frames; ++f) {
    int64_t count = cu_seqlens[f];
    for (int64_t n = 0; n < tokens; ++n) count += keep[f * tokens + n] != 0;
    cu_seqlens[f + 1] = int32_t(std::min(count, rows));
  }
  const int64_t row_bytes = channels * int64_t(element_bytes(dtype));
  const bool dense = token_stride == channels;
  const bool streamed = worth_streaming(packed, rows, channels, dtype);
  ask_for_large_pages(packed, rows, channels, dtype);
  const Kernels& k = kernels(level);
#pragma omp parallel num_threads(threads) if (rows * channels > 16384)
  {
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t f = 0; f < frames; ++f) {
      char* out = at(packed, dtype, int64_t(cu_seqlens[f]) * channels);
      int64_t left = cu_seqlens[f + 1] - cu_seqlens[f];
      for (int64_t n = 0; n < tokens && left > 0;) {
        if (!keep[f * tokens + n]) {
          ++n;
          continue;
        }
        int64_t end = n + 1;  // neighbours that are kept travel as one block
        while (dense && end < tokens && end - n < left && keep[f * tokens + end]) ++end;
        const int64_t bytes = (end - n) * row_bytes;
        k.copy(at(x, dtype, f * frame_stride + n * token_stride), bytes, streamed, out);
        out += bytes;
        left -= end - n;
        n = end;
      }
      if (streamed) k.fence();
    }
    constexpr int64_t kRows = 256;
    const int64_t first = cu_seqlens[frames];
#pragma omp for schedule(dynamic, 1)
    for (int64_t block = 0; block < ceil_div(rows - first, kRows); ++block) {
      const int64_t start = first + block * kRows, stop = std::min(start + kRows, rows);
      k.copy(nullptr, (stop - start) * row_bytes, streamed, at(packed, dtype, start * channels));
      if (streamed) k.fence();
    }
  }
  return LONGVID_OK;
}

int longvid_cpu_head_mean(int level, int threads, int dtype, const void* x, int64_t rows,
                          int64_t row_stride, int64_t heads, int64_t width, float* out) {
  const Kernels& k = kernels(level);
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * heads * width > 65536)
  for (int64_t row = 0; row < rows; ++row)
    k.head_mean(dtype, at(x, dtype, row * row_stride), heads, width, out + row * width);
  return LONGVID_OK;
}

int longvid_cpu_frame_products(int level, int threads, int dtype, const void* x, int64_t frames,
                               int64_t tokens, int64_t channels, int64_t frame_stride,
                               int64_t token_stride, float* mean, float* dot, float* square) {
  constexpr int64_t kRows = 4;        // rows that are summed at once: as many streams from memory
  constexpr int64_t kChannels = 512;  // of all tokens of a frame, these stay in the second cache
  const Kernels& k = kernels(level);
  const float share = tokens ? 1.0f / float(tokens) : 0.0f;
  const float shares[kRows] = {share, share, share, share};
  int status = LONGVID_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (frames > 1)
  for (int64_t f = 0; f < frames; ++f) {
    float* const products = dot + f * tokens;
    float* const squares = square + f * tokens;
    std::fill_n(mean + f * channels, channels, 0.0f);
    std::fill_n(products, tokens, 0.0f);
    std::fill_n(squares, tokens, 0.0f);
    for (int64_t c = 0; c < channels; c += kChannels) {
      const int64_t count = std::min(kChannels, channels - c);
      float* const centre = mean + f * channels + c;
      const auto row = [&](int64_t n) {
        return at(x, dtype, f * frame_stride + n * token_stride + c);
      };
      for (int64_t n = 0; n < tokens; n += kRows)
        k.add_rows(dtype, row(n), token_stride, std::min(kRows, tokens - n), count, shares, centre);
      for (int64_t n = 0; n < tokens; ++n) {
        float wide[kChannels], product, own;
        const void* values = row(n);
        if (dtype != LONGVID_F32) {
          k.widen(dtype, values, count, wide);
          values = wide;
        }
        k.dot_square(LONGVID_F32, centre, values, values, count, &product, &own);
        products[n] += product;
        squares[n] += own;
      }
    }
    bool finite = true;
    for (int64_t n = 0; n < tokens; ++n) finite = finite && squares[n] < INFINITY;
    if (!finite) {
#pragma omp atomic write
      status = LONGVID_NOT_FINITE;
    }
  }
  return status;
}
