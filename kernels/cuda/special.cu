// Functions of one number, one thread each.

constexpr int THREADS = 256;

// y (count,) = erf(x): CUDA's own, within 2 units in the last place.
template <typename T>
__global__ void __launch_bounds__(THREADS) erf_of(const T* __restrict__ x, T* __restrict__ y, long long count) {
  const long long i = blockIdx.x * (long long)THREADS + threadIdx.x;
  if (i < count) y[i] = erf(x[i]);
}
