/* All kernels for float32; see vector.h. */
#define real float
#define REAL_IS_FLOAT 1
#define NAME(f) f##_f32
#include "families.h"
