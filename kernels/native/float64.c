/* All kernels for float64; see vector.h. */
#define real double
#define REAL_IS_FLOAT 0
#define NAME(f) f##_f64
#include "families.h"
