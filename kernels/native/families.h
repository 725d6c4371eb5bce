/* The kernels, a file a family; included once for float and once for double, by float32.c and float64.c. */
#include "plans.h"
#include "vector.h"

#include "product.c" /* what matrix.c and conv.c are made of */
#include "matrix.c"
#include "padding.c"
#include "depthwise.c"
#include "conv.c"
#include "winograd.c"

#include "activation.c"
#include "likelihood.c"
#include "norm.c"
#include "optim.c"
#include "quantize.c"
#include "random.c"
#include "resample.c"
