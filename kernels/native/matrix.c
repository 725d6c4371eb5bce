/* Matrices. */
EXPORT void NAME(scale)(int64_t n, real factor, const real x[n], real y[n]) {
    for (int64_t i = 0; i < n; i++) y[i] = factor * x[i];
}
