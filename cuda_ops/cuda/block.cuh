// Sums and scans over a warp and over a block, in a fixed order, and rows in 16-byte pieces.
#pragma once

#include <longvid_device.cuh>

#include "longvid_cpu.h"
#include "longvid_index.h"

namespace longvid {

constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

__device__ __forceinline__ uint64_t warp_inclusive_scan(uint64_t value, int lane) {
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t before = __shfl_up_sync(kWholeWarp, (unsigned long long)value, step);
    if (lane >= step) value += before;
  }
  return value;
}

// Exclusive sum of `value` over the threads of the block; `total` gets the sum of all. `warps` is
// shared memory for one number a warp, and may be reused once every thread has returned.
__device__ __forceinline__ uint64_t block_exclusive_scan(uint64_t value, uint64_t* warps,
                                                         uint64_t& total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, num_warps = blockDim.x / 32;
  const uint64_t inclusive = warp_inclusive_scan(value, lane);
  __syncthreads();
  if (lane == 31) warps[warp] = inclusive;
  __syncthreads();
  uint64_t before = 0;
  total = 0;
  for (int w = 0; w < num_warps; ++w) {
    if (w < warp) before += warps[w];
    total += warps[w];
  }
  return before + inclusive - value;
}

// Sixteen bytes of a row as floats.
template <class T>
struct Piece {
  float value[T::kVector];

  __device__ __forceinline__ void load(const typename T::Type* p) {
    const uint4 bits = __ldg(reinterpret_cast<const uint4*>(p));
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    unpack(words);
  }
  __device__ __forceinline__ void unpack(const uint32_t (&words)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (T::kVector == 4) {
        value[i] = __uint_as_float(words[i]);
      } else {
        value[2 * i] = to_float<T>(typename T::Type(words[i] & 0xffffu));
        value[2 * i + 1] = to_float<T>(typename T::Type(words[i] >> 16));
      }
    }
  }
  __device__ __forceinline__ void store(typename T::Type* p) const {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (T::kVector == 4)
        words[i] = __float_as_uint(value[i]);
      else
        words[i] = uint32_t(from_float<T>(value[2 * i])) |
                   (uint32_t(from_float<T>(value[2 * i + 1])) << 16);
    }
    *reinterpret_cast<uint4*>(p) = make_uint4(words[0], words[1], words[2], words[3]);
  }
};

// One element, for rows that are not whole pieces or not aligned.
template <class T>
struct Single {
  float value[1];
  __device__ __forceinline__ void load(const typename T::Type* p) { value[0] = to_float<T>(*p); }
  __device__ __forceinline__ void store(typename T::Type* p) const {
    *p = from_float<T>(value[0]);
  }
};

// Whether rows can be walked 16 bytes at a time.
inline bool whole_pieces(int dtype, const void* data, int64_t channels, int64_t stride,
                         int64_t outer_stride = 0) {
  const int64_t unit = dtype == LONGVID_F32 ? 4 : 8;
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && channels % unit == 0 &&
         stride % unit == 0 && outer_stride % unit == 0;
}

inline int64_t ceil_div(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

}  // namespace longvid
