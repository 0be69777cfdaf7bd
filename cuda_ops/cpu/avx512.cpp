// AVX-512 F, BW, DQ and VL.
#include "target.h"

#if defined(__x86_64__)

LONGVID_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "vector_avx512.h"

#include "product.h"

namespace longvid {

extern const Kernels kAvx512Kernels = kernels_of<Avx512VectorOf<0>>();

}  // namespace longvid

LONGVID_TARGET_END

#endif
