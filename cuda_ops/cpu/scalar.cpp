// Any processor.
#include "vector_scalar.h"

#include "product.h"

namespace longvid {

const Kernels kScalarKernels = kernels_of<ScalarVector>();

}  // namespace longvid
