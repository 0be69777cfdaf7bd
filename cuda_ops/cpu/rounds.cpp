// merge_rounds: all rounds of merging a group on its metric alone, in memory that stays in cache.
#include <algorithm>
#include <utility>

#include "longvid_cpu.h"
#include "match.h"

namespace longvid {
namespace {

struct Rounds {
  Metric metric;
  int64_t tokens;
  const float* size;
  const int64_t* merged;
  int64_t count;
  int64_t *offsets, *members, *segment;
  float* merged_size;
};

// Rows that are segments of tokens: row i holds members[offsets[i]:offsets[i + 1]].
struct Rows {
  int64_t *offsets, *members;
  float* size;
};

// All rounds of one group. Returns a longvid_status.
int merge_group(const Kernels& k, int level, const Rounds& all, int64_t group, int64_t kept) {
  const int64_t tokens = all.tokens, channels = all.metric.channels;
  const int64_t num_a = even_count(tokens, 0);
  const bool again = all.count > 1;
  const bool widened = again && all.metric.dtype != LONGVID_F32;
  Plan plan{};
  Rows now{}, next{};
  float *best = nullptr, *wide = nullptr, *means = nullptr;
  int64_t* nearest = nullptr;
  char* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Arrays arrays(memory);
    for (Rows* rows : {&now, &next})
      *rows = {arrays.array<int64_t>(tokens + 1), arrays.array<int64_t>(tokens),
               arrays.array<float>(tokens)};
    plan.source = arrays.array<int64_t>(num_a);
    plan.destination = arrays.array<int64_t>(num_a);
    plan.score = arrays.array<float>(num_a);
    plan.segment = arrays.array<int64_t>(tokens);
    plan.offsets = arrays.array<int64_t>(tokens + 1);
    plan.members = arrays.array<int64_t>(tokens);
    best = arrays.array<float>(num_a);
    nearest = arrays.array<int64_t>(num_a);
    wide = arrays.array<float>(again ? tokens * channels : 0);
    means = arrays.array<float>(again ? tokens * channels : 0);
    if (pass == 0 && !(memory = workspace(Purpose::kGroup).take(arrays.used())))
      return LONGVID_NO_MEMORY;
  }
  for (int64_t n = 0; n <= tokens; ++n) now.offsets[n] = n;
  for (int64_t n = 0; n < tokens; ++n) {
    now.members[n] = n;
    now.size[n] = all.size ? all.size[group * tokens + n] : 1.0f;
  }

  Metric metric = all.metric;
  metric.data = all.metric.row(group, 0);
  int64_t rows = tokens;
  for (int64_t round = 0; round < all.count; ++round) {
    const Sets sets = even_and_odd(rows, 0);
    const Product& product = product_for(level, metric.dtype, channels);
    for (int64_t first = 0; first < sets.num_a; first += kMaxRows) {
      const int status = score_rows(k, product, metric, sets, 0, first,
                                    std::min(first + kMaxRows, sets.num_a), best + first,
                                    nearest + first);
      if (status != LONGVID_OK) return status;
    }
    plan.tokens = rows;
    plan.merged = all.merged[round];
    const int status = plan_group(sets, plan, 0, best, nearest);
    if (status != LONGVID_OK) return status;
    const int64_t left = rows - plan.merged;
    plan.offsets[left] = rows;

    if (round + 1 < all.count) {
      const void* data = metric.data;
      int64_t stride = metric.token_stride;
      if (widened && round == 0) {
        for (int64_t n = 0; n < rows; ++n)
          k.widen(metric.dtype, metric.row(0, n), channels, wide + n * channels);
        data = wide;
        stride = channels;
      }
      float* out = data == means ? wide : means;
      k.mean_segments(LONGVID_F32, data, stride, channels, plan.offsets, plan.members, now.size, 0,
                      left, false, out);
      metric = {LONGVID_F32, out, channels, 0, channels};
    }

    int64_t place = 0;
    for (int64_t s = 0; s < left; ++s) {
      next.offsets[s] = place;
      next.size[s] = 0.0f;
      for (int64_t m = plan.offsets[s]; m < plan.offsets[s + 1]; ++m) {
        const int64_t row = plan.members[m];
        next.size[s] += now.size[row];
        for (int64_t i = now.offsets[row]; i < now.offsets[row + 1]; ++i)
          next.members[place++] = now.members[i];
      }
    }
    next.offsets[left] = place;
    std::swap(now, next);
    rows = left;
  }

  for (int64_t s = 0; s < kept; ++s) {
    all.offsets[group * kept + s] = group * tokens + now.offsets[s];
    all.merged_size[group * kept + s] = now.size[s];
    for (int64_t i = now.offsets[s]; i < now.offsets[s + 1]; ++i) {
      all.members[group * tokens + i] = group * tokens + now.members[i];
      all.segment[group * tokens + now.members[i]] = group * kept + s;
    }
  }
  workspace(Purpose::kGroup).trim();
  return LONGVID_OK;
}

}  // namespace
}  // namespace longvid

using namespace longvid;

int longvid_cpu_merge_rounds(int level, int threads, int dtype, const void* metric, int64_t groups,
                             int64_t tokens, int64_t channels, int64_t group_stride,
                             int64_t token_stride, const float* size, const int64_t* merged,
                             int64_t rounds, int64_t* offsets, int64_t* members, int64_t* segment,
                             float* merged_size) {
  const Rounds all{{dtype, metric, channels, group_stride, token_stride},
                   tokens, size, merged, rounds, offsets, members, segment, merged_size};
  const Kernels& k = kernels(level);
  int64_t kept = tokens;
  for (int64_t round = 0; round < rounds; ++round) kept -= merged[round];
  int status = LONGVID_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (groups > 1)
  for (int64_t group = 0; group < groups; ++group) {
    const int result = merge_group(k, level, all, group, kept);
    if (result != LONGVID_OK) {
#pragma omp atomic write
      status = result;
    }
  }
  offsets[groups * kept] = groups * tokens;
  return status;
}
