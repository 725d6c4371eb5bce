/* All kernels, one file for each family. float32.c includes this file for float, float64.c for double. */
#include "plans.h"
#include "vector.h"

#include "product.c" /* used by matrix.c, conv.c and winograd.c */
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
