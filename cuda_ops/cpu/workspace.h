// Memory that a thread keeps between calls, so that a call in a loop faults in no new pages.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "kernels.h"

namespace longvid {

// Kept per thread; larger requests are freed when the call ends.
constexpr size_t kKeptBytes = size_t(16) << 20;

class Workspace {
 public:
  ~Workspace() { free(memory_); }

  // Returns `bytes` aligned to 64, or null. What an earlier call returned is gone.
  char* take(size_t bytes) {
    if (bytes > capacity_) {
      free(memory_);
      capacity_ = (bytes + 4095) / 4096 * 4096;
      memory_ = static_cast<char*>(aligned_alloc(4096, capacity_));
      if (!memory_) capacity_ = 0;
    }
    return memory_;
  }

  void trim() {
    if (capacity_ <= kKeptBytes) return;
    free(memory_);
    memory_ = nullptr;
    capacity_ = 0;
  }

 private:
  char* memory_ = nullptr;
  size_t capacity_ = 0;
};

// The workspace of this thread for one purpose.
enum class Purpose { kTile, kGroup, kShared, kCount };

inline Workspace& workspace(Purpose purpose) {
  static thread_local Workspace spaces[int(Purpose::kCount)];
  return spaces[int(purpose)];
}

// Cut one block of memory into arrays: call array() with a null base to measure, then to place.
class Arrays {
 public:
  explicit Arrays(char* base) : base_(base) {}
  template <class T>
  T* array(int64_t count) {
    T* place = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return place;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
inline int64_t ceil_div(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

inline const char* at(const void* data, int dtype, int64_t element) {
  return static_cast<const char*>(data) + element * (dtype == LONGVID_F32 ? 4 : 2);
}
inline char* at(void* data, int dtype, int64_t element) {
  return static_cast<char*>(data) + element * (dtype == LONGVID_F32 ? 4 : 2);
}
inline size_t element_bytes(int dtype) { return dtype == LONGVID_F32 ? 4 : 2; }

const Kernels& kernels(int level);
// The product for data of this dtype and width: pairs where the level and the data allow it.
const Product& product_for(int level, int dtype, int64_t channels);

}  // namespace longvid
