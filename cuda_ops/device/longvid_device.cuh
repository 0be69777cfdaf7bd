// What the kernels need of the device: 16-bit floats, asynchronous copies, matrix instructions,
// and the launch. The emulator (../emulator) replaces this file and nothing else.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#define LONGVID_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace longvid {

struct F32 {
  using Type = float;
  static constexpr int kVector = 4;  // elements in 16 bytes
};
struct Bf16 {
  using Type = uint16_t;
  static constexpr int kVector = 8;
};
struct F16 {
  using Type = uint16_t;
  static constexpr int kVector = 8;
};

template <class T>
__device__ __forceinline__ float to_float(typename T::Type bits);
template <>
__device__ __forceinline__ float to_float<F32>(float value) {
  return value;
}
template <>
__device__ __forceinline__ float to_float<Bf16>(uint16_t bits) {
  return __uint_as_float(uint32_t(bits) << 16);
}
template <>
__device__ __forceinline__ float to_float<F16>(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}

template <class T>
__device__ __forceinline__ typename T::Type from_float(float value);
template <>
__device__ __forceinline__ float from_float<F32>(float value) {
  return value;
}
template <>
__device__ __forceinline__ uint16_t from_float<Bf16>(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}
template <>
__device__ __forceinline__ uint16_t from_float<F16>(float value) {
  return __half_as_ushort(__float2half_rn(value));
}

// Copy 16 bytes to shared memory without waiting; zeros where not `valid`.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid) {
  const uint32_t address = uint32_t(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global),
               "r"(bytes));
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;\n" ::); }
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending));
}

// Load four 8x8 matrices of 16-bit elements, whose rows the 32 lanes point to.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* shared) {
  const uint32_t address = uint32_t(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// c (16, 8) += a (16, 16) times b (16, 8), summed in float32.
template <class T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4],
                                             const uint32_t b0, const uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<Bf16>(float (&c)[4], const uint32_t (&a)[4],
                                                   const uint32_t b0, const uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_add<F16>(float (&c)[4], const uint32_t (&a)[4],
                                                  const uint32_t b0, const uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
                   void* stream, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0) return cudaSuccess;
  if (shared_bytes > 48 * 1024) {
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (status != cudaSuccess) return status;
  }
  kernel<<<grid, threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(
      static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

}  // namespace longvid
