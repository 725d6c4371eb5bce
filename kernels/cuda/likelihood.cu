// Negative log-likelihoods in nats, and their gradients.
//
// Examples (N, ...) arrive as rows (N, size) of contiguous numbers. A likelihood is a sum over a row. One block adds up one
// row, in double, because small terms would be lost when they are added to a float of several hundred nats. A gradient is
// computed element by element, by as many blocks for each row as are useful; blockIdx.x is the row.
#include "common.cuh"

constexpr int SUM_THREADS = 512;  // large blocks, because a batch has fewer examples than a large GPU can run blocks
constexpr int MAP_THREADS = 256;

// The elements of a row that this thread visits: first, first + stride, ...
struct Places {
  long long first, stride;
};
__device__ __forceinline__ Places places_of_thread() {
  return {blockIdx.y * (long long)blockDim.x + threadIdx.x, gridDim.y * (long long)blockDim.x};
}

// ---- Bernoulli ----

// nll (N,) = (softplus(logits) - x * logits).sum(1), with softplus(l) = log(1 + exp(l)) = max(l, 0) + log(1 + exp(-|l|)),
// in which nothing overflows. If a large logit predicts its pixel well, max(l, 0) and x l cancel. They are subtracted
// first, so that the logarithm, which is then tiny, is not lost by rounding.
template <typename T>
__global__ void __launch_bounds__(SUM_THREADS)
    bernoulli_nll(const T* __restrict__ logits, const T* __restrict__ x, T* __restrict__ nll, long long size) {
  const long long row = blockIdx.x * size;
  double sum = 0;
#pragma unroll 4
  for (long long i = threadIdx.x; i < size; i += blockDim.x) {
    const T l = logits[row + i];
    const T linear = max(l, T(0)) - x[row + i] * l;
    sum += linear + log1p(exp(-abs(l)));
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) nll[blockIdx.x] = sum;
}

// dlogits (N, size) = dy[:, None] * (1 / (1 + np.exp(-logits)) - x). If the exponential overflows, 1 / (1 + inf) is 0, the
// correct limit.
template <typename T>
__global__ void __launch_bounds__(MAP_THREADS)
    bernoulli_nll_grad(const T* __restrict__ dy, const T* __restrict__ logits, const T* __restrict__ x,
                       T* __restrict__ dlogits, long long size) {
  const long long row = blockIdx.x * size;
  const T scale = dy[blockIdx.x];
  const Places at = places_of_thread();
#pragma unroll 1  // a row longer than the grid is rare
  for (long long i = at.first; i < size; i += at.stride)
    dlogits[row + i] = scale * (1 / (1 + exp(-logits[row + i])) - x[row + i]);
}

// ---- Gauss ----

// nll (N,) = (log(2 pi) + log_var + (x - mean)**2 * np.exp(-log_var)).sum(1) / 2. log_var has the shape of mean or, if
// `shared`, is a single number.
template <typename T>
__global__ void __launch_bounds__(SUM_THREADS)
    gaussian_nll(const T* __restrict__ mean, const T* __restrict__ log_var, const T* __restrict__ x,
                 T* __restrict__ nll, long long size, bool shared) {
  const double log_2pi = 1.8378770664093454836;
  const long long row = blockIdx.x * size;
  double sum = 0;
#pragma unroll 4
  for (long long i = threadIdx.x; i < size; i += blockDim.x) {
    const T v = log_var[shared ? 0 : row + i], difference = x[row + i] - mean[row + i];
    sum += v + difference * difference * exp(-v);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) nll[blockIdx.x] = 0.5 * (size * log_2pi + sum);
}

// dmean = dy[:, None] * (mean - x) * np.exp(-log_var)
// dlog_var = dy[:, None] * (1 - (x - mean)**2 * np.exp(-log_var)) / 2; both are (N, size).
template <typename T>
__global__ void __launch_bounds__(MAP_THREADS)
    gaussian_nll_grad(const T* __restrict__ dy, const T* __restrict__ mean, const T* __restrict__ log_var,
                      const T* __restrict__ x, T* __restrict__ dmean, T* __restrict__ dlog_var, long long size,
                      bool shared) {
  const long long row = blockIdx.x * size;
  const T scale = dy[blockIdx.x];
  const Places at = places_of_thread();
#pragma unroll 1  // a row longer than the grid is rare
  for (long long i = at.first; i < size; i += at.stride) {
    const T difference = mean[row + i] - x[row + i];
    const T weighted = difference * exp(-log_var[shared ? 0 : row + i]);
    dmean[row + i] = scale * weighted;
    dlog_var[row + i] = scale * (1 - weighted * difference) * T(0.5);
  }
}

// ---- mixture of discretised logistic distributions: parameters (N, C, 3, K, D), x (N, C, D) ----
//
// One thread takes a pixel and walks over its K components, twice where it needs the gradient. Neighbouring threads take
// neighbouring pixels, so that each load of a warp is of neighbouring numbers. kernels/reference has the mathematics.

constexpr double HALF_LEVEL = 1.0 / 255, LEAST_SCALE = 9.118819655545162e-4;  // exp(-7)

// log P of a pixel under one component, and its derivatives.
template <typename T>
struct Bin {
  T log_p, by_mean, by_raw;
};

template <typename T>
__device__ __forceinline__ T softplus_of(T x) {
  return max(x, T(0)) + log1p(exp(-abs(x)));
}

template <typename T>
__device__ __forceinline__ Bin<T> log_bin(T x, T mean, T raw) {
  const bool above = x > T(HALF_LEVEL / 2), below = x < T(1 - HALF_LEVEL / 2), inside = above && below;
  const T exp_raw = exp(raw), inverse = 1 / (exp_raw + T(LEAST_SCALE)), centre = 2 * x - 1 - mean;
  const T a = (centre - T(HALF_LEVEL)) * inverse, b = (centre + T(HALF_LEVEL)) * inverse;
  const T width = T(2 * HALF_LEVEL) * inverse, filled = -expm1(-width);
  const T of_a = above ? 1 / (1 + exp(-a)) : T(0), of_b = below ? 1 / (1 + exp(b)) : T(0);
  Bin<T> bin;
  bin.log_p = (inside ? log(filled) : T(0)) - (above ? softplus_of(a) : T(0)) - (below ? softplus_of(-b) : T(0));
  bin.by_mean = (of_a - of_b) * inverse;
  bin.by_raw = (above ? of_a * a : T(0)) - (below ? of_b * b : T(0)) - (inside ? width / filled - width : T(0));
  bin.by_raw *= exp_raw * inverse;
  return bin;
}

// The logarithm of a sum of exponentials, top + log(sum).
template <typename T>
struct LogSum {
  T top, sum;
  __device__ __forceinline__ void add(T x) {
    const T larger = max(top, x);
    sum = sum * exp(top - larger) + exp(x - larger);
    top = larger;
  }
  __device__ __forceinline__ T value() const { return top + log(sum); }
};

// logsumexp(logits) and logsumexp(logits + log P) of a pixel; `p` is its first parameter, the others are D apart.
template <typename T>
__device__ __forceinline__ void log_sums(const T* p, T x, int K, long long D, T& prior, T& joint) {
  LogSum<T> of_prior = {p[0], T(1)}, of_joint = {p[0] + log_bin(x, p[K * D], p[2 * K * D]).log_p, T(1)};
#pragma unroll 1  // a step is long as it is
  for (int k = 1; k < K; k++) {
    const T* at = p + k * D;
    of_prior.add(at[0]);
    of_joint.add(at[0] + log_bin(x, at[K * D], at[2 * K * D]).log_p);
  }
  prior = of_prior.value();
  joint = of_joint.value();
}

// nll (N,) = (logsumexp(logits) - logsumexp(logits + log_p)).sum((1, 2)), the sums over K inside, those over C and D outside
template <typename T>
__global__ void __launch_bounds__(SUM_THREADS)
    logistic_mixture_nll(const T* __restrict__ parameters, const T* __restrict__ x, T* __restrict__ nll, int C, int K,
                         long long D) {
  const long long size = C * D, row = blockIdx.x * size;
  double sum = 0;
  for (long long i = threadIdx.x; i < size; i += blockDim.x) {
    T prior, joint;
    log_sums(parameters + row * 3 * K + i / D * 3 * K * D + i % D, x[row + i], K, D, prior, joint);
    sum += prior - joint;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) nll[blockIdx.x] = sum;
}

// dparameters (N, C, 3, K, D) = dy times softmax(logits) - q, -q * by_mean and -q * by_raw, with q = softmax(logits + log_p)
template <typename T>
__global__ void __launch_bounds__(MAP_THREADS, 2)  // lets float64 have 68 registers; with the usual 64 it spills
    logistic_mixture_nll_grad(const T* __restrict__ dy, const T* __restrict__ parameters, const T* __restrict__ x,
                              T* __restrict__ slopes, int C, int K, long long D) {
  const long long size = C * D, row = blockIdx.x * size;
  const T scale = dy[blockIdx.x];
  const Places at = places_of_thread();
#pragma unroll 1  // a row longer than the grid is rare
  for (long long i = at.first; i < size; i += at.stride) {
    const long long first = row * 3 * K + i / D * 3 * K * D + i % D;
    T prior, joint;
    log_sums(parameters + first, x[row + i], K, D, prior, joint);
    const T pixel = x[row + i];
    const long long part = K * D;
#pragma unroll 1
    for (long long at = first; at < first + part; at += D) {
      const T logits = parameters[at];
      const Bin<T> bin = log_bin(pixel, parameters[at + part], parameters[at + 2 * part]);
      const T share = scale * exp(logits + bin.log_p - joint);
      slopes[at] = scale * exp(logits - prior) - share;
      slopes[at + part] = -share * bin.by_mean;
      slopes[at + 2 * part] = -share * bin.by_raw;
    }
  }
}

// ---- categories ----
//
// Rows are short, ten classes or a few hundred codes. So each warp takes one row, and a block several.

constexpr int ROW_WARPS = 4;

// The largest number of a row (K,) and the sum of exp(row - largest), in every lane. The largest term of the sum is 1, so
// it can neither overflow nor become 0.
template <typename T>
__device__ __forceinline__ void largest_and_sum(const T* row, int K, T& largest, double& sum) {
  const int lane = threadIdx.x % 32;
  largest = row[0];
  for (int k = lane; k < K; k += 32) largest = max(largest, row[k]);
  largest = warp_max(largest);
  sum = 0;
  for (int k = lane; k < K; k += 32) sum += exp(row[k] - largest);
  sum = warp_sum(sum);
}

// nll (M,) = np.log(np.exp(logits).sum(1)) - logits[np.arange(M), target]
template <typename T>
__global__ void __launch_bounds__(ROW_WARPS * 32)
    softmax_cross_entropy(const T* __restrict__ logits, const long long* __restrict__ target, T* __restrict__ nll,
                          long long M, int K) {
  const long long m = blockIdx.x * (long long)ROW_WARPS + threadIdx.x / 32;
  if (m >= M) return;  // the whole warp
  const T* row = logits + m * K;
  T largest;
  double sum;
  largest_and_sum(row, K, largest, sum);
  if (threadIdx.x % 32 == 0) nll[m] = log(sum) - (row[target[m]] - largest);
}

// dlogits (M, K) = dy[:, None] * (softmax(logits) - one_hot(target))
template <typename T>
__global__ void __launch_bounds__(ROW_WARPS * 32)
    softmax_cross_entropy_grad(const T* __restrict__ dy, const T* __restrict__ logits,
                               const long long* __restrict__ target, T* __restrict__ dlogits, long long M, int K) {
  const long long m = blockIdx.x * (long long)ROW_WARPS + threadIdx.x / 32;
  if (m >= M) return;
  const T* row = logits + m * K;
  T largest;
  double sum;
  largest_and_sum(row, K, largest, sum);
  const T scale = dy[m];
  for (int k = threadIdx.x % 32; k < K; k += 32)
    dlogits[m * K + k] = scale * (exp(row[k] - largest) / T(sum) - T(k == target[m]));
}
