// Activation functions and their gradients, one thread for each number. All of them are limited by memory alone.

constexpr int THREADS = 256;

// y = max(x + b, 0); b is null or has one number for each channel. Number i belongs to channel i / inner % channels
// (inner = 1 for channels-last images and for rows). In NumPy: np.maximum(x + b, 0).
//
// I is the type of the counters, unsigned where 32 bits suffice: divisions of 64 bits take so many instructions that the
// kernel would wait for them and no longer for memory.
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
  return 1 / (1 + exp(-x));  // 0, the limit, where exp(-x) overflows to infinity
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

// The derivative, computed from the result y for sigmoid and tanh, and from the input x for the others.
template <int F, typename T>
__device__ __forceinline__ T derivative_of(T x_or_y) {
  const T x = x_or_y, y = x_or_y;
  if (F == SIGMOID) return y * (1 - y);
  if (F == TANH) return 1 - y * y;
  if (F == GELU) return normal_cdf(x) + x * exp(-x * x / 2) * T(0.39894228040143268);  // 1 / sqrt(2 pi)
  const T s = logistic(x);
  return F == SOFTPLUS ? s : s + x * s * (1 - s);
}

// y = f(x)
template <int F, typename T>
__global__ void __launch_bounds__(THREADS) apply(const T* __restrict__ x, T* __restrict__ y, long long count) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) y[i] = value_of<F>(x[i]);
}

// dx = dy * f'(x)
template <int F, typename T>
__global__ void __launch_bounds__(THREADS)
    apply_grad(const T* __restrict__ dy, const T* __restrict__ x_or_y, T* __restrict__ dx, long long count) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) dx[i] = dy[i] * derivative_of<F>(x_or_y[i]);
}
