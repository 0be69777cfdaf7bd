// match: best column of every row of A by a fused product, then the plan of each group.
#include <math.h>

#include <algorithm>
#include <utility>

#include "large.h"
#include "longvid_cpu.h"
#include "match.h"

namespace longvid {
namespace {

// Panels of B packed at a time: small enough for a cache, large enough to amortise the packing.
constexpr int64_t kPackedBytes = int64_t(4) << 20;

}  // namespace

int score_rows(const Kernels& k, const Product& product, const Metric& metric, const Sets& sets,
               int64_t group, int64_t first, int64_t last, float* best, int64_t* nearest,
               const char* next, const char* end) {
  const int64_t num_rows = last - first;
  const int64_t padded = padded_rows(product, num_rows);
  const int64_t per_panel = panel_floats(product, metric.channels);
  const int64_t all_panels = ceil_div(sets.num_b, product.panel);
  const int64_t some = std::max<int64_t>(1, kPackedBytes / (std::max<int64_t>(1, per_panel) * 4));
  const int64_t num_panels = std::min(all_panels, some);
  const int64_t chunk = num_panels * product.panel;
  const bool widened = !product.pairs && metric.dtype != LONGVID_F32;

  const void** rows = nullptr;
  const void** columns = nullptr;
  float *panels = nullptr, *inverse = nullptr, *bias = nullptr, *scratch = nullptr, *wide = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    rows = arrays.array<const void*>(padded);
    columns = arrays.array<const void*>(chunk);
    panels = arrays.array<float>(num_panels * per_panel);
    inverse = arrays.array<float>(chunk);
    bias = arrays.array<float>(chunk);
    scratch = arrays.array<float>(padded * 2 * product.lanes);
    wide = arrays.array<float>(widened ? num_rows * metric.channels : 0);
    if (pass == 0 && !(memory = workspace(Purpose::kTile).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }

  int status = LONGVID_OK;
  for (int64_t i = 0; i < num_rows; ++i) {
    rows[i] = metric.row(group, sets.a(group, first + i));
    if (!widened) continue;
    float* row = wide + i * metric.channels;
    k.widen(metric.dtype, rows[i], metric.channels, row);
    rows[i] = row;
  }
  for (int64_t i = num_rows; i < padded; ++i) rows[i] = rows[num_rows - 1];

  const int64_t tiles = ceil_div(num_rows, product.tile_rows) * all_panels;
  Ahead ahead{next, end, round_up(ceil_div(end - next, std::max<int64_t>(1, tiles)), 64)};
  for (int64_t start = 0; start < sets.num_b; start += chunk) {
    const int64_t count = std::min(chunk, sets.num_b - start);
    for (int64_t j = 0; j < chunk; ++j) {
      bias[j] = j < count ? 0.0f : -INFINITY;
      inverse[j] = 0.0f;
      if (j >= count) continue;
      columns[j] = metric.row(group, sets.b(group, start + j));
      const float square = k.square(metric.dtype, columns[j], metric.channels);
      if (!(square < INFINITY)) status = LONGVID_NOT_FINITE;
      inverse[j] = inverse_norm(square);
    }
    product.pack_rows(metric.dtype, columns, count, metric.channels, panels);
    product.best_columns(rows, num_rows, metric.channels, panels, start, count, inverse, bias,
                         best, nearest, scratch, ahead);
  }
  for (int64_t i = 0; i < num_rows; ++i) {
    const int dtype = widened ? int(LONGVID_F32) : metric.dtype;
    const float square = k.square(dtype, rows[i], metric.channels);
    if (!(square < INFINITY)) status = LONGVID_NOT_FINITE;
    best[i] *= inverse_norm(square);
  }
  workspace(Purpose::kTile).trim();
  return status;
}

namespace {

// Sort keys that stand in the order of their indices: stable passes over the bytes of the score.
// Returns whichever of the two arrays holds the result.
uint64_t* sorted_by_score(uint64_t* keys, uint64_t* spare, int64_t count) {
  int32_t starts[4][256] = {};
  for (int64_t i = 0; i < count; ++i)
    for (int byte = 0; byte < 4; ++byte) ++starts[byte][keys[i] >> (32 + 8 * byte) & 255];
  for (int byte = 0; byte < 4; ++byte) {
    int32_t total = 0;
    for (int32_t& start : starts[byte]) {
      const int32_t own = start;
      start = total;
      total += own;
    }
    for (int64_t i = 0; i < count; ++i)
      spare[starts[byte][keys[i] >> (32 + 8 * byte) & 255]++] = keys[i];
    std::swap(keys, spare);
  }
  return keys;
}

}  // namespace

int plan_group(const Sets& sets, const Plan& plan, int64_t group, const float* best,
               const int64_t* nearest) {
  const int64_t num_a = plan.merged ? sets.num_a : 0;
  const int64_t kept = plan.tokens - plan.merged;
  uint64_t *keys = nullptr, *spare = nullptr;
  int64_t *target = nullptr, *rank = nullptr, *left = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    keys = arrays.array<uint64_t>(num_a);
    spare = arrays.array<uint64_t>(num_a);
    target = arrays.array<int64_t>(plan.tokens);
    rank = arrays.array<int64_t>(plan.tokens + 1);
    left = arrays.array<int64_t>(num_a + 1);
    if (pass == 0 && !(memory = workspace(Purpose::kTile).take(arrays.used() + 1)))
      return LONGVID_NO_MEMORY;
  }
  for (int64_t i = 0; i < num_a; ++i) keys[i] = rank_key(best[i], uint32_t(i));
  keys = sorted_by_score(keys, spare, num_a);

  for (int64_t n = 0; n < plan.tokens; ++n) target[n] = n;
  for (int64_t i = 0; i < plan.merged; ++i) {
    const int64_t a = rank_key_index(keys[i]);
    const int64_t from = sets.a(group, a), to = sets.b(group, nearest[a]);
    plan.source[group * plan.merged + i] = from;
    plan.destination[group * plan.merged + i] = to;
    plan.score[group * plan.merged + i] = rank_key_score(keys[i]);
    target[from] = to;
  }

  // The row of every token that survives. -1: not given yet.
  if (plan.position_order || !plan.merged) {
    int64_t row = 0;
    for (int64_t n = 0; n < plan.tokens; ++n) rank[n] = target[n] == n ? row++ : -1;
  } else {
    int64_t num_left = 0;
    for (int64_t i = plan.merged; i < num_a; ++i)
      left[num_left++] = sets.a(group, rank_key_index(keys[i]));
    if (sets.protected_tokens) std::sort(left, left + num_left);
    for (int64_t n = 0; n < plan.tokens; ++n) rank[n] = -1;
    for (int64_t i = 0; i < num_a; ++i) rank[sets.a(group, i)] = 0;
    for (int64_t j = 0; j < sets.num_b; ++j) rank[sets.b(group, j)] = 0;
    int64_t row = 0;
    for (int64_t n = 0; n < plan.tokens; ++n)
      if (rank[n] < 0) rank[n] = row++;
    for (int64_t i = 0; i < num_left; ++i) rank[left[i]] = row++;
    for (int64_t j = 0; j < sets.num_b; ++j) rank[sets.b(group, j)] = row++;
  }

  // Count into offsets, then place: the surviving token first, then its sources by position.
  int64_t* segment = plan.segment + group * plan.tokens;
  int64_t* offsets = plan.offsets + group * kept;
  int64_t* members = plan.members + group * plan.tokens;
  for (int64_t s = 0; s < kept; ++s) offsets[s] = 0;
  for (int64_t n = 0; n < plan.tokens; ++n) ++offsets[rank[target[n]]];
  int64_t total = 0;
  for (int64_t s = 0; s < kept; ++s) {
    const int64_t length = offsets[s];
    offsets[s] = group * plan.tokens + total;
    total += length;
  }
  for (int64_t n = 0; n < plan.tokens; ++n) segment[n] = group * kept + rank[target[n]];
  for (int64_t n = 0; n < plan.tokens; ++n) {
    if (target[n] != n) continue;
    int64_t place = offsets[rank[n]] - group * plan.tokens;
    members[place] = group * plan.tokens + n;
    rank[n] = place + 1;  // from here on the next free place of the segment
  }
  for (int64_t n = 0; n < plan.tokens; ++n)
    if (target[n] != n) members[rank[target[n]]++] = group * plan.tokens + n;
  return LONGVID_OK;
}

namespace {

bool disjoint(const Sets& sets, int64_t group, int64_t tokens, uint8_t* seen) {
  std::fill(seen, seen + tokens, uint8_t(0));
  const auto mark = [&](int64_t position) {
    if (position < 0 || position >= tokens || seen[position]) return false;
    seen[position] = 1;
    return true;
  };
  for (int64_t i = 0; i < sets.num_a; ++i)
    if (!mark(sets.a(group, i))) return false;
  for (int64_t j = 0; j < sets.num_b; ++j)
    if (!mark(sets.b(group, j))) return false;
  return true;
}

// What is merged along the plan of a group as soon as there is one; nothing where x is null.
struct Merge {
  int dtype;
  const void* x;
  int64_t channels, row_stride;
  const float* weights;
  void* out;
  bool streamed;
};

int merge_group(const Kernels& k, const Plan& plan, const Merge& merge, int64_t group) {
  const int64_t kept = plan.tokens - plan.merged;
  char* memory = workspace(Purpose::kTile).take(size_t(kept + 1) * sizeof(int64_t));
  if (!memory) return LONGVID_NO_MEMORY;
  // The place after the last offset belongs to the next group, which another thread may write.
  auto* offsets = reinterpret_cast<int64_t*>(memory);
  std::copy_n(plan.offsets + group * kept, kept, offsets);
  offsets[kept] = (group + 1) * plan.tokens;
  k.mean_segments(merge.dtype, merge.x, merge.row_stride, merge.channels, offsets, plan.members,
                  merge.weights, 0, kept, merge.streamed,
                  at(merge.out, merge.dtype, group * kept * merge.channels));
  return LONGVID_OK;
}

int match_groups(int level, int threads, const Metric& metric, int64_t groups, const Sets& sets,
                 const Plan& plan, const Merge& merge) {
  const Kernels& k = kernels(level);
  const Product& product = product_for(level, metric.dtype, metric.channels);
  const int64_t all = groups * sets.num_a;
  float* best = nullptr;
  int64_t* nearest = nullptr;
  uint8_t* seen = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    best = arrays.array<float>(plan.merged ? all : 0);
    nearest = arrays.array<int64_t>(plan.merged ? all : 0);
    seen = arrays.array<uint8_t>(plan.tokens + 1);
    if (pass == 0 && !(memory = workspace(Purpose::kShared).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }
  if (sets.a_index || sets.b_index)
    for (int64_t g = 0; g < groups; ++g)
      if (!disjoint(sets, g, plan.tokens, seen)) return LONGVID_BAD_INDEX;

  int status = LONGVID_OK;
  const auto note = [&status](int result) {
    if (result != LONGVID_OK) {
#pragma omp atomic write
      status = result;
    }
    return result == LONGVID_OK;
  };
  const auto planned = [&](int64_t group) {
    const int64_t place = plan.merged ? group * sets.num_a : 0;
    return note(plan_group(sets, plan, group, best + place, nearest + place));
  };
  const int64_t shares = ceil_div(threads, std::max<int64_t>(1, groups));
  const int64_t block = std::min(kMaxRows, std::max<int64_t>(64, ceil_div(sets.num_a, shares)));
  const int64_t blocks = plan.merged ? ceil_div(sets.num_a, block) : 1;
  // A group scored in one piece is finished at once, by the thread that has it in cache. While a
  // narrow metric is scored the memory has little to do, so what will be merged is asked for.
  const bool ahead = blocks == 1 && merge.x && merge.x != metric.data &&
                     merge.row_stride == merge.channels;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (groups * blocks > 1)
  for (int64_t unit = 0; unit < groups * blocks; ++unit) {
    const int64_t group = unit / blocks, first = unit % blocks * block;
    const int64_t last = std::min(first + block, sets.num_a), place = group * sets.num_a;
    const char *next = nullptr, *end = nullptr;
    if (ahead) {
      next = at(merge.x, merge.dtype, group * plan.tokens * merge.row_stride);
      end = at(merge.x, merge.dtype, (group + 1) * plan.tokens * merge.row_stride);
    }
    const bool scored =
        !plan.merged || note(score_rows(k, product, metric, sets, group, first, last,
                                        best + place + first, nearest + place + first, next, end));
    if (scored && blocks == 1 && planned(group) && merge.x)
      note(merge_group(k, plan, merge, group));
  }
  if (status != LONGVID_OK) return status;
#pragma omp parallel for schedule(static) num_threads(threads) if (groups * plan.tokens > 4096)
  for (int64_t group = 0; group < (blocks > 1 ? groups : 0); ++group) planned(group);
  const int64_t rows = groups * plan.tokens, segments = groups * (plan.tokens - plan.merged);
  plan.offsets[segments] = rows;
  workspace(Purpose::kShared).trim();
  if (status != LONGVID_OK || blocks == 1 || !merge.x) return status;
  return longvid_cpu_segment_mean(level, threads, merge.dtype, merge.x, rows, merge.channels,
                                  merge.row_stride, plan.offsets, segments, plan.members, rows,
                                  merge.weights, merge.out);
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int longvid_cpu_match(int level, int threads, int dtype, const void* data, int64_t groups,
                      int64_t tokens, int64_t channels, int64_t group_stride, int64_t token_stride,
                      const int64_t* a_index, int64_t num_a, const int64_t* b_index, int64_t num_b,
                      int64_t merged, int64_t protected_tokens, int position_order,
                      int64_t* source, int64_t* destination, float* score, int64_t* segment,
                      int64_t* offsets, int64_t* members) {
  const Sets sets = num_a < 0 ? even_and_odd(tokens, protected_tokens)
                              : Sets{a_index, b_index, num_a, num_b, protected_tokens};
  const Plan plan{tokens,      merged, position_order != 0, source,
                  destination, score,  segment,             offsets, members};
  return match_groups(level, threads, {dtype, data, channels, group_stride, token_stride}, groups,
                      sets, plan, {});
}

int longvid_cpu_match_and_merge(int level, int threads, int dtype, const void* data,
                                int64_t groups, int64_t tokens, int64_t channels,
                                int64_t group_stride, int64_t token_stride, int x_dtype,
                                const void* x, int64_t x_channels, int64_t x_row_stride,
                                const float* size, int64_t merged, int64_t protected_tokens,
                                void* out, int64_t* source, int64_t* destination, float* score,
                                int64_t* segment, int64_t* offsets, int64_t* members) {
  const Plan plan{tokens, merged, false, source, destination, score, segment, offsets, members};
  const int64_t rows = groups * (tokens - merged);
  ask_for_large_pages(out, rows, x_channels, x_dtype);
  const Merge merge{x_dtype, x,   x_channels, x_row_stride,
                    size,    out, worth_streaming(out, rows, x_channels, x_dtype)};
  return match_groups(level, threads, {dtype, data, channels, group_stride, token_stride}, groups,
                      even_and_odd(tokens, protected_tokens), plan, merge);
}
