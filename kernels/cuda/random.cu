// Random numbers. Each thread makes four Philox words and the numbers that come from them. Random numbers are written to
// memory once, or never if they only serve to compute other numbers. `first` is the counter of the first thread.
#include "philox.cuh"

constexpr int THREADS = 256;

template <typename T, int N>
struct alignas(16) Run {
  T values[N];
};

// The number of this thread in the grid.
__device__ __forceinline__ long long thread_number() { return blockIdx.x * (long long)THREADS + threadIdx.x; }

// out[start : start + N] = values, in stores of 16 bytes. Nothing is written beyond the end of out (count,).
template <typename T, int N>
__device__ __forceinline__ void store(T* out, long long start, long long count, const T (&values)[N]) {
  if (start + N <= count) {
    Run<T, N> run;
#pragma unroll
    for (int k = 0; k < N; k++) run.values[k] = values[k];
    *reinterpret_cast<Run<T, N>*>(out + start) = run;
  } else {
#pragma unroll
    for (int k = 0; k < N; k++)
      if (start + k < count) out[start + k] = values[k];
  }
}

// bits (count,): the words themselves.
__global__ void __launch_bounds__(THREADS)
    random_bits(unsigned* __restrict__ ALIGNED(16) bits, long long count, unsigned long long seed,
                unsigned long long draw, const unsigned long long* __restrict__ offset, unsigned long long first) {
  const uint4 w = philox(seed, draw_number(draw, offset), first + thread_number());
  const unsigned words[4] = {w.x, w.y, w.z, w.w};
  store(bits, thread_number() * 4, count, words);
}

// u (count,), uniform in [0, 1).
template <typename T>
__global__ void __launch_bounds__(THREADS)
    uniform(T* __restrict__ ALIGNED(16) u, long long count, unsigned long long seed, unsigned long long draw,
            const unsigned long long* __restrict__ offset, unsigned long long first) {
  constexpr int EACH = 16 / sizeof(T);  // numbers from four words
  T values[EACH];
  uniforms(philox(seed, draw_number(draw, offset), first + thread_number()), values);
  store(u, thread_number() * EACH, count, values);
}

// z (count,), standard normal.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    normal(T* __restrict__ ALIGNED(16) z, long long count, unsigned long long seed, unsigned long long draw,
           const unsigned long long* __restrict__ offset, unsigned long long first) {
  T values[4];
  normals(philox(seed, draw_number(draw, offset), first + thread_number()), values);
  store(z, thread_number() * 4, count, values);
}

// z = mu + np.exp(log_var / 2) * normal. The noise exists only in registers.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    reparameterize(const T* __restrict__ mu, const T* __restrict__ log_var, T* __restrict__ ALIGNED(16) z,
                   long long count, unsigned long long seed, unsigned long long draw,
                   const unsigned long long* __restrict__ offset, unsigned long long first) {
  const long long start = thread_number() * 4;
  T values[4];
  normals(philox(seed, draw_number(draw, offset), first + thread_number()), values);
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (start + k < count) values[k] = mu[start + k] + exp(log_var[start + k] * T(0.5)) * values[k];
  store(z, start, count, values);
}

// dlog_var = dz * np.exp(log_var / 2) * normal / 2, with the same noise, drawn again.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    reparameterize_grad(const T* __restrict__ dz, const T* __restrict__ log_var, T* __restrict__ ALIGNED(16) dlog_var,
                        long long count, unsigned long long seed, unsigned long long draw,
                        const unsigned long long* __restrict__ offset, unsigned long long first) {
  const long long start = thread_number() * 4;
  T values[4];
  normals(philox(seed, draw_number(draw, offset), first + thread_number()), values);
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (start + k < count) values[k] *= dz[start + k] * exp(log_var[start + k] * T(0.5)) * T(0.5);
  store(dlog_var, start, count, values);
}
