// match, second part: rank the A tokens and lay out the plan, one block a group. Integers only, so
// the result does not depend on the order in which threads run.
#include "longvid_cuda.h"
#include "match.cuh"

namespace longvid {
namespace {

constexpr int kThreads = 256;

// rank[i] = number of A tokens with a larger score, or an equal one and a lower index.
__global__ void __launch_bounds__(kThreads)
    rank_scores(const float* best, int64_t num_a, int64_t blocks, int32_t* rank) {
  __shared__ uint64_t keys[kThreads];
  const int64_t group = blockIdx.x / blocks;
  const int64_t i = blockIdx.x % blocks * kThreads + threadIdx.x;
  const float* scores = best + group * num_a;
  const uint64_t own = i < num_a ? rank_key(scores[i], uint32_t(i)) : 0;
  int32_t before = 0;
  for (int64_t first = 0; first < num_a; first += kThreads) {
    const int64_t j = first + threadIdx.x;
    __syncthreads();
    keys[threadIdx.x] = j < num_a ? rank_key(scores[j], uint32_t(j)) : ~0ull;
    __syncthreads();
#pragma unroll 8
    for (int u = 0; u < kThreads; ++u) before += keys[u] < own;
  }
  if (i < num_a) rank[group * num_a + i] = before;
}

__global__ void __launch_bounds__(kThreads) lay_out(PlanTask task, MatchWorkspace space) {
  __shared__ uint64_t warps[kThreads / 32];
  const int64_t group = blockIdx.x;
  const int64_t kept = task.tokens - task.merged;
  const int64_t num_a = task.merged ? task.num_a : 0, num_b = task.merged ? task.num_b : 0;
  const auto a_position = [&](int64_t i) {
    return int32_t(task.a_index ? task.a_index[group * task.num_a + i]
                                : even_position(i, task.protected_tokens));
  };
  const auto b_position = [&](int64_t j) {
    return int32_t(task.b_index ? task.b_index[group * task.num_b + j]
                                : odd_position(j, task.protected_tokens));
  };
  int32_t* target = space.target + group * task.tokens;
  int32_t* row = space.row + group * task.tokens;
  int32_t* count = space.count + group * task.tokens;
  int32_t* moved = space.moved + group * task.num_a;
  int32_t* into = space.into + group * task.num_a;
  const int32_t* rank = space.rank + group * task.num_a;
  const SurvivorOrder order{task.position_order || task.merged == 0, task.protected_tokens > 0,
                            int32_t(task.tokens - num_a - num_b), int32_t(num_a - task.merged),
                            int32_t(task.merged)};

  for (int64_t n = threadIdx.x; n < task.tokens; n += kThreads) {
    target[n] = int32_t(n);
    row[n] = kFree;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < num_a; i += kThreads) {
    const int32_t from = a_position(i), place = rank[i];
    row[from] = kLeft;
    if (place >= task.merged) continue;
    const int32_t to = b_position(space.nearest[group * task.num_a + i]);
    row[from] = kSource;
    target[from] = to;
    moved[place] = from;
    into[place] = to;
    task.source[group * task.merged + place] = from;
    task.destination[group * task.merged + place] = to;
    task.score[group * task.merged + place] = space.best[group * task.num_a + i];
  }
  for (int64_t j = threadIdx.x; j < num_b; j += kThreads) row[b_position(j)] = kDestination;
  __syncthreads();

  uint64_t carry = 0, total = 0;
  for (int64_t first = 0; first < task.tokens; first += kThreads) {
    const int64_t n = first + threadIdx.x;
    const int32_t kind = n < task.tokens ? row[n] : int32_t(kSource);
    const uint64_t counts = n < task.tokens ? count_kind(kind) : 0;
    const uint64_t before = carry + block_exclusive_scan(counts, warps, total);
    if (n < task.tokens) row[n] = row_by_position(order, kind, before);
    carry += total;
  }
  __syncthreads();
  if (!order.by_position) {
    for (int64_t i = threadIdx.x; i < num_a; i += kThreads)
      if (rank[i] >= task.merged && !order.left_sorted)
        row[a_position(i)] = row_by_rank(order, rank[i]);
    for (int64_t j = threadIdx.x; j < num_b; j += kThreads)
      row[b_position(j)] = row_of_destination(order, j);
  }
  for (int64_t s = threadIdx.x; s < kept; s += kThreads) count[s] = 0;
  __syncthreads();
  for (int64_t n = threadIdx.x; n < task.tokens; n += kThreads) {
    const int32_t s = row[target[n]];
    task.segment[group * task.tokens + n] = group * kept + s;
    atomicAdd(count + s, 1);
  }
  __syncthreads();
  carry = 0;
  for (int64_t first = 0; first < kept; first += kThreads) {
    const int64_t s = first + threadIdx.x;
    const uint64_t length = s < kept ? uint64_t(count[s]) : 0;
    const uint64_t start = carry + block_exclusive_scan(length, warps, total);
    if (s < kept) {
      count[s] = int32_t(start);
      task.offsets[group * kept + s] = group * task.tokens + int64_t(start);
    }
    carry += total;
  }
  if (group == task.groups - 1 && threadIdx.x == 0)
    task.offsets[task.groups * kept] = task.groups * task.tokens;
  __syncthreads();
  int64_t* members = task.members + group * task.tokens;
  for (int64_t n = threadIdx.x; n < task.tokens; n += kThreads)
    if (target[n] == n) members[count[row[n]]] = group * task.tokens + n;
  for (int64_t i = threadIdx.x; i < task.merged; i += kThreads) {
    const int32_t earlier = earlier_sources(moved, into, int32_t(task.merged), moved[i], into[i]);
    members[count[row[into[i]]] + 1 + earlier] = group * task.tokens + moved[i];
  }
}

// Without groups there is still one offset.
__global__ void no_groups(int64_t* offsets) { offsets[0] = 0; }

}  // namespace

cudaError_t make_plan(const PlanTask& task, const MatchWorkspace& space, void* stream) {
  if (task.groups == 0) return launch(no_groups, dim3(1), 1, 0, stream, task.offsets);
  if (task.merged) {
    const int64_t blocks = ceil_div(task.num_a, kThreads);
    const cudaError_t status = launch(rank_scores, dim3(task.groups * blocks), kThreads, 0, stream,
                                      space.best, task.num_a, blocks, space.rank);
    if (status != cudaSuccess) return status;
  }
  return launch(lay_out, dim3(task.groups), kThreads, 0, stream, task, space);
}

}  // namespace longvid
