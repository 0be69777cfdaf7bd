// Which instruction set this processor has, and the table of functions for it.
#include "longvid_cpu.h"
#include "workspace.h"

namespace longvid {

#if defined(__x86_64__)
namespace {

float square(int dtype, const void* row, int64_t channels) {
  return dtype == LONGVID_BF16 ? kAvx512Bf16Kernels.square(row, channels)
                               : kAvx512Kernels.square(dtype, row, channels);
}

void dot_square(int dtype, const void* a, const void* b, const void* next, int64_t channels,
                float* dot, float* square) {
  if (dtype == LONGVID_BF16)
    kAvx512Bf16Kernels.dot_square(a, b, next, channels, dot, square);
  else
    kAvx512Kernels.dot_square(dtype, a, b, next, channels, dot, square);
}

Kernels with_pairs() {
  Kernels kernels = kAvx512Kernels;
  kernels.square = square;
  kernels.dot_square = dot_square;
  return kernels;
}

}  // namespace
#endif

const Kernels& kernels(int level) {
#if defined(__x86_64__)
  static const Kernels pairs = with_pairs();
  if (level >= LONGVID_AVX512BF16) return pairs;
  if (level == LONGVID_AVX512) return kAvx512Kernels;
  if (level == LONGVID_AVX2) return kAvx2Kernels;
#endif
  (void)level;
  return kScalarKernels;
}

const Product& product_for(int level, int dtype, int64_t channels) {
#if defined(__x86_64__)
  if (level >= LONGVID_AVX512BF16 && dtype == LONGVID_BF16 && channels % 2 == 0)
    return kAvx512Bf16Kernels.product;
#endif
  (void)dtype;
  (void)channels;
  return kernels(level).product;
}

}  // namespace longvid

int longvid_cpu_abi(void) { return LONGVID_CPU_ABI; }

int longvid_cpu_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c"))
    return LONGVID_SCALAR;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return LONGVID_AVX2;
  return __builtin_cpu_supports("avx512bf16") ? LONGVID_AVX512BF16 : LONGVID_AVX512;
#else
  return LONGVID_SCALAR;
#endif
}
