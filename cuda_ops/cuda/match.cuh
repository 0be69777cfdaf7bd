// What the two parts of match share: the workspace between them.
#pragma once

#include "block.cuh"

namespace longvid {

struct MatchWorkspace {
  float* best;       // (G, A) largest cosine of each A token
  int32_t* nearest;  // (G, A) the B token that has it
  int32_t* rank;     // (G, A) place in the order of falling score
  int32_t* target;   // (G, N) the token that each token ends in
  int32_t* row;      // (G, N) row of each surviving token
  int32_t* count;    // (G, N) length, then start, of each row's segment
  int32_t* moved;    // (G, A) position of each merged token, by rank
  int32_t* into;     // (G, A) position of its destination
  int64_t bytes;

  MatchWorkspace(void* base, int64_t groups, int64_t tokens, int64_t num_a) : bytes(0) {
    char* next = static_cast<char*>(base);
    const auto take = [&](int64_t count) {
      char* place = next ? next + bytes : nullptr;
      bytes += (count * 4 + 255) / 256 * 256;
      return place;
    };
    best = reinterpret_cast<float*>(take(groups * num_a));
    nearest = reinterpret_cast<int32_t*>(take(groups * num_a));
    rank = reinterpret_cast<int32_t*>(take(groups * num_a));
    target = reinterpret_cast<int32_t*>(take(groups * tokens));
    row = reinterpret_cast<int32_t*>(take(groups * tokens));
    count = reinterpret_cast<int32_t*>(take(groups * tokens));
    moved = reinterpret_cast<int32_t*>(take(groups * num_a));
    into = reinterpret_cast<int32_t*>(take(groups * num_a));
  }
};

struct PlanTask {
  const int64_t *a_index, *b_index;
  int64_t groups, tokens, num_a, num_b, merged, protected_tokens;
  bool position_order;
  int64_t *source, *destination;
  float* score;
  int64_t *segment, *offsets, *members;
};

// Turn best and nearest into the plan of every group.
cudaError_t make_plan(const PlanTask& task, const MatchWorkspace& space, void* stream);

}  // namespace longvid
