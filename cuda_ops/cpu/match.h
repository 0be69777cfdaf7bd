// The two halves of matching, for one group of tokens: scores, and the plan made of them.
#pragma once

#include "longvid_index.h"
#include "workspace.h"

namespace longvid {

struct Sets {
  const int64_t* a_index;
  const int64_t* b_index;
  int64_t num_a, num_b, protected_tokens;

  int64_t a(int64_t group, int64_t i) const {
    return a_index ? a_index[group * num_a + i] : even_position(i, protected_tokens);
  }
  int64_t b(int64_t group, int64_t j) const {
    return b_index ? b_index[group * num_b + j] : odd_position(j, protected_tokens);
  }
};

inline Sets even_and_odd(int64_t tokens, int64_t protected_tokens) {
  return {nullptr, nullptr, even_count(tokens, protected_tokens),
          odd_count(tokens, protected_tokens), protected_tokens};
}

struct Metric {
  int dtype;
  const void* data;
  int64_t channels, group_stride, token_stride;

  const void* row(int64_t group, int64_t position) const {
    return at(data, dtype, group * group_stride + position * token_stride);
  }
};

struct Plan {
  int64_t tokens, merged;
  bool position_order;
  int64_t *source, *destination;
  float* score;
  int64_t *segment, *offsets, *members;
};

// A rows whose best columns are kept at a time.
constexpr int64_t kMaxRows = 1024;

// best and nearest for rows [first, last) of A, at most kMaxRows of them. The bytes [next, end)
// are asked for on the way. Both functions return a longvid_status and use the kTile workspace.
int score_rows(const Kernels& k, const Product& product, const Metric& metric, const Sets& sets,
               int64_t group, int64_t first, int64_t last, float* best, int64_t* nearest,
               const char* next = nullptr, const char* end = nullptr);

// Turn the best match of every A token of a group into the plan of the group. The end of the last
// offset is left to the caller.
int plan_group(const Sets& sets, const Plan& plan, int64_t group, const float* best,
               const int64_t* nearest);

}  // namespace longvid
