// Compile the rest of a file for another instruction set than the rest of the library: the
// library itself is built for the plain processor and picks a table at run time.
//
//   LONGVID_TARGET_BEGIN("avx2,fma,f16c") ... LONGVID_TARGET_END
//
// System headers come before, so that nothing of theirs is compiled for the target.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels.h"

#define LONGVID_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define LONGVID_TARGET_BEGIN(isa) \
  LONGVID_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define LONGVID_TARGET_END LONGVID_PRAGMA(clang attribute pop)
#else
#define LONGVID_TARGET_BEGIN(isa) LONGVID_PRAGMA(GCC push_options) LONGVID_PRAGMA(GCC target(isa))
#define LONGVID_TARGET_END LONGVID_PRAGMA(GCC pop_options)
#endif
