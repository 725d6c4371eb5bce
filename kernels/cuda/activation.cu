// Activation functions and their derivatives, a thread for each number. All of them wait for memory alone.

constexpr int THREADS = 256;

// y = max(x + b, 0); b is null or has a number for each channel, the channel of number i being i / inner % channels
// (inner = 1 for channels-last images and for rows). In NumPy: np.maximum(x + b, 0).
//
// I counts the numbers. It is unsigned where that suffices: with divisions of 64 bits there are more instructions than
// the time that it takes to move a number has room for.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS)
    bias_relu(const T* __restrict__ x, const T* __restrict__ b, T* __restrict__ y, I count, I channels, I inner) {
  const I i = (I)blockIdx.x * THREADS + threadIdx.x;
  if (i >= count) return;
  const T value = b == nullptr ? x[i] : x[i] + b[(inner == 1 ? i : i / inner) % channels];
  y[i] = value > 0 || value != value ? value : T(0);  // NaN stays NaN
}

// dx = dy * (y > 0), with y = relu(x).
template <typename T>
__global__ void __launch_bounds__(THREADS)
    relu_grad(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long count) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) dx[i] = dy[i] * T(y[i] > 0);
}

// The functions by number, as activation.py counts them.
constexpr int SIGMOID = 0, TANH = 1, SOFTPLUS = 2, SILU = 3, GELU = 4, ERF = 5;

template <typename T>
__device__ __forceinline__ T logistic(T x) {
  return 1 / (1 + exp(-x));  // 0 where exp(-x) overflows to infinity
}

// The distribution function of the standard normal.
template <typename T>
__device__ __forceinline__ T normal_cdf(T x) {
  return (1 + erf(x * T(0.70710678118654752))) / 2;
}

template <int F, typename T>
__device__ __forceinline__ T value_of(T x) {
  if (F == SIGMOID) return logistic(x);
  if (F == TANH) return tanh(x);
  if (F == SOFTPLUS) return max(x, T(0)) + log1p(exp(-abs(x)));
  if (F == SILU) return x * logistic(x);
  if (F == GELU) return x * normal_cdf(x);
  return erf(x);
}

// The derivative, in terms of the result y for sigmoid and tanh, of the input x for the others.
template <int F, typename T>
__device__ __forceinline__ T derivative_of(T seen) {
  if (F == SIGMOID) return seen * (1 - seen);
  if (F == TANH) return 1 - seen * seen;
  if (F == GELU) return normal_cdf(seen) + seen * exp(-seen * seen / 2) * T(0.39894228040143268);  // 1 / sqrt(2 pi)
  const T s = logistic(seen);
  return F == SOFTPLUS ? s : s + seen * s * (1 - s);
}

// y = f(x)
template <int F, typename T>
__global__ void __launch_bounds__(THREADS) apply(const T* __restrict__ x, T* __restrict__ y, long long count) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) y[i] = value_of<F>(x[i]);
}

// dx = dy * f'
template <int F, typename T>
__global__ void __launch_bounds__(THREADS)
    apply_grad(const T* __restrict__ dy, const T* __restrict__ seen, T* __restrict__ dx, long long count) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) dx[i] = dy[i] * derivative_of<F>(seen[i]);
}
