// Bias and ReLU in one pass over memory, and the backward pass of the ReLU. Both wait for memory alone.

// y = max(x + b, 0), a thread for each number; b is null or has a number for each channel, the channel of number i being
// i / inner % channels (inner = 1 for channels-last images and for rows). In NumPy: np.maximum(x + b, 0).
//
// I counts the numbers. It is unsigned where that suffices: with divisions of 64 bits there are more instructions than
// the time that it takes to move a number has room for.
template <typename T, typename I>
__global__ void __launch_bounds__(256)
    bias_relu(const T* __restrict__ x, const T* __restrict__ b, T* __restrict__ y, I count, I channels, I inner) {
  const I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const T value = b == nullptr ? x[i] : x[i] + b[(inner == 1 ? i : i / inner) % channels];
  y[i] = value > 0 || value != value ? value : T(0);  // NaN stays NaN
}

// dx = dy * (y > 0), with y = relu(x).
template <typename T>
__global__ void __launch_bounds__(256)
    relu_grad(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) dx[i] = dy[i] * T(y[i] > 0);
}
