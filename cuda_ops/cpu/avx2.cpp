// AVX2, FMA and F16C.
#include "target.h"

#if defined(__x86_64__)

LONGVID_TARGET_BEGIN("avx2,fma,f16c")

#include "vector_avx2.h"

#include "product.h"

namespace longvid {

extern const Kernels kAvx2Kernels = kernels_of<Avx2Vector>();

}  // namespace longvid

LONGVID_TARGET_END

#endif
