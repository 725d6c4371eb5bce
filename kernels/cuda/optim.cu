// One step of an optimiser over all parameters of a model, in place, in one launch.
//
// A model has many small parameters, and one launch for each would cost more than its arithmetic. So the tensors are cut
// into chunks of 4096 elements, and each block takes one chunk. Tables of addresses say where the tensors are, and a table
// of chunks says which block takes which part of which tensor. Memory alone limits the kernels: Adam reads p, g, m and v
// once, and writes p, m and v once.
//
// `step` and `lr` are passed by value or, if live_step and live_lr are not null, are read from the device when the kernel
// runs, because a captured CUDA graph would always repeat the values it was captured with. The arithmetic is the same.
#include "common.cuh"

constexpr int CHUNK = 4096;
constexpr int CHUNK_THREADS = 256;
constexpr int AT_ONCE = 4;  // elements that a thread loads before it stores the first

// The part of a tensor that a block works on: `length` elements of tensor number `tensor` from `begin` on.
struct Chunk {
  int tensor, length;
  long long begin;
};

// The chunk of this block. Tensor t has sizes[t] > 0 elements and chunks first_chunk[t] .. first_chunk[t + 1] - 1. All
// threads must call it.
__device__ __forceinline__ Chunk find_chunk(const long long* sizes, const long long* first_chunk, int count) {
  __shared__ Chunk chunk;
  if (threadIdx.x == 0) {
    int low = 0, high = count;  // first_chunk[low] <= blockIdx.x < first_chunk[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_chunk[middle] <= blockIdx.x) low = middle;
      else high = middle;
    }
    const long long begin = (blockIdx.x - first_chunk[low]) * CHUNK;
    chunk = {low, (int)min((long long)CHUNK, sizes[low] - begin), begin};
  }
  __syncthreads();
  return chunk;
}

// ---- SGD ----

struct SgdSettings {
  double lr, momentum, weight_decay;
  bool nesterov;
};

// g += weight_decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if nesterov else v)
// Without momentum v is g, and there is no table of velocities.
template <typename T>
__global__ void __launch_bounds__(CHUNK_THREADS)
    sgd(T* const* params, const T* const* grads, T* const* velocities, const long long* __restrict__ sizes,
        const long long* __restrict__ first_chunk, int count, const double* __restrict__ live_lr, SgdSettings s) {
  const Chunk chunk = find_chunk(sizes, first_chunk, count);
  const bool moving = s.momentum != 0;
  T* params_here = params[chunk.tensor] + chunk.begin;
  const T* grads_here = grads[chunk.tensor] + chunk.begin;
  T* velocities_here = moving ? velocities[chunk.tensor] + chunk.begin : nullptr;
  const T lr = live_lr == nullptr ? s.lr : *live_lr, momentum = s.momentum, weight_decay = s.weight_decay;

  for (int first = threadIdx.x; first < chunk.length; first += AT_ONCE * CHUNK_THREADS) {
    T p[AT_ONCE], g[AT_ONCE], v[AT_ONCE];
#pragma unroll
    for (int n = 0; n < AT_ONCE; n++) {
      const int i = first + n * CHUNK_THREADS;
      const bool there = i < chunk.length;
      p[n] = there ? params_here[i] : T(0);
      g[n] = there ? grads_here[i] : T(0);
      v[n] = there && moving ? velocities_here[i] : T(0);
    }
#pragma unroll
    for (int n = 0; n < AT_ONCE; n++) {
      const int i = first + n * CHUNK_THREADS;
      if (i >= chunk.length) break;
      g[n] += weight_decay * p[n];
      v[n] = momentum * v[n] + g[n];
      if (moving) velocities_here[i] = v[n];
      params_here[i] = p[n] - lr * (s.nesterov ? g[n] + momentum * v[n] : v[n]);
    }
  }
}

// ---- Adam ----

struct AdamSettings {
  long long step;
  double lr, b1, b2, eps, weight_decay;
  bool decoupled;
};

// The factors that all threads of a block use. They are computed once, in float64, because 1 - b2^step would have few
// correct digits in float32. With c1 = 1 - b1^step and c2 = 1 - b2^step,
// p -= lr sqrt(c2) / c1 * m / (sqrt(v) + eps sqrt(c2)) (Kingma & Ba 2014, section 2). Decoupled weight decay first scales p
// by `kept`.
template <typename T>
struct AdamFactors {
  T step_size, eps, kept;
};

template <typename T>
__device__ __forceinline__ AdamFactors<T> adam_factors(const AdamSettings& s, const long long* live_step,
                                                       const double* live_lr) {
  __shared__ AdamFactors<T> factors;
  if (threadIdx.x == 0) {
    const double step = live_step == nullptr ? s.step : *live_step, lr = live_lr == nullptr ? s.lr : *live_lr;
    const double root = sqrt(1 - pow(s.b2, step));
    factors = {T(lr * root / (1 - pow(s.b1, step))), T(s.eps * root), T(s.decoupled ? 1 - lr * s.weight_decay : 1)};
  }
  __syncthreads();
  return factors;
}

// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = kept * p - step_size * m / (sqrt(v) + eps)
template <typename T>
__global__ void __launch_bounds__(CHUNK_THREADS)
    adam(T* const* params, const T* const* grads, T* const* all_m, T* const* all_v,
         const long long* __restrict__ sizes, const long long* __restrict__ first_chunk, int count,
         const long long* __restrict__ live_step, const double* __restrict__ live_lr, AdamSettings s) {
  const Chunk chunk = find_chunk(sizes, first_chunk, count);
  const AdamFactors<T> factors = adam_factors<T>(s, live_step, live_lr);
  T* params_here = params[chunk.tensor] + chunk.begin;
  const T* grads_here = grads[chunk.tensor] + chunk.begin;
  T* m_here = all_m[chunk.tensor] + chunk.begin;
  T* v_here = all_v[chunk.tensor] + chunk.begin;
  const T b1 = s.b1, b2 = s.b2, new1 = 1 - s.b1, new2 = 1 - s.b2;
  const T added_decay = s.decoupled ? 0 : s.weight_decay;

  for (int from = threadIdx.x; from < chunk.length; from += AT_ONCE * CHUNK_THREADS) {
    T p[AT_ONCE], g[AT_ONCE], m[AT_ONCE], v[AT_ONCE];
#pragma unroll
    for (int n = 0; n < AT_ONCE; n++) {
      const int i = from + n * CHUNK_THREADS;
      const bool there = i < chunk.length;
      p[n] = there ? params_here[i] : T(0);
      g[n] = there ? grads_here[i] : T(0);
      m[n] = there ? m_here[i] : T(0);
      v[n] = there ? v_here[i] : T(0);
    }
#pragma unroll
    for (int n = 0; n < AT_ONCE; n++) {
      const int i = from + n * CHUNK_THREADS;
      if (i >= chunk.length) break;
      g[n] += added_decay * p[n];
      m[n] = b1 * m[n] + new1 * g[n];
      v[n] = b2 * v[n] + new2 * (g[n] * g[n]);
      m_here[i] = m[n];
      v_here[i] = v[n];
      params_here[i] = factors.kept * p[n] - factors.step_size * m[n] / (sqrt(v[n]) + factors.eps);
    }
  }
}

// ---- the norm of all gradients ----

// sums (chunks,): the sum of the squares of each chunk, in float64. A second pass adds them up.
template <typename T>
__global__ void __launch_bounds__(CHUNK_THREADS)
    sum_squares(const T* const* arrays, const long long* __restrict__ sizes, const long long* __restrict__ first_chunk,
                int count, double* __restrict__ sums) {
  const Chunk chunk = find_chunk(sizes, first_chunk, count);
  const T* here = arrays[chunk.tensor] + chunk.begin;
  double sum = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < chunk.length; i += CHUNK_THREADS) {
    const double x = here[i];
    sum += x * x;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
