// What is different about a result that no cache holds.
#pragma once

#include <stdint.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "workspace.h"

namespace longvid {

constexpr size_t kLargeResult = size_t(4) << 20;  // more than a second cache holds

// Written past the caches, where rows are whole cache lines.
inline bool worth_streaming(const void* out, int64_t rows, int64_t channels, int dtype) {
  const size_t row_bytes = size_t(channels) * element_bytes(dtype);
  return row_bytes % 64 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0 &&
         row_bytes * size_t(rows) >= kLargeResult;
}

// The first write to fresh memory is a page fault for each 4 KiB, which takes longer than writing
// them; Linux gives pages of 2 MiB to a large result where it is asked to. Only advice.
inline void ask_for_large_pages(void* out, int64_t rows, int64_t channels, int dtype) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096;
  const size_t bytes = size_t(rows) * size_t(channels) * element_bytes(dtype);
  if (bytes < kLargeResult) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(out);
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const uintptr_t last = (begin + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)out, (void)rows, (void)channels, (void)dtype;
#endif
}

}  // namespace longvid
