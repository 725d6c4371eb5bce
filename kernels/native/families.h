/* The kernels, a file a family; included once for float and once for double, by float32.c and float64.c. */
#include "vector.h"

#include "matrix.c"
