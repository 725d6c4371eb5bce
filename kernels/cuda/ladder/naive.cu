// Step 1: one thread for each number of C (M, N) = A (M, K) B (K, N), row-major. In NumPy: C[m, n] = A[m] @ B[:, n].
//
// A block computes 8 x 32 numbers. The 32 threads of a warp have neighbouring n. So they read the same number of A, which
// is one access for all of them, and 32 neighbours in a row of B, which is one transaction. Still each multiplication
// needs two operands from the caches, and this kernel spends its time waiting for them.
template <typename T>
__global__ void __launch_bounds__(256)
    gemm_naive(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K) {
  const int m = blockIdx.y * blockDim.y + threadIdx.y, n = blockIdx.x * blockDim.x + threadIdx.x;
  if (m >= M || n >= N) return;
  T sum = 0;
  for (int k = 0; k < K; k++) sum += a[(long long)m * K + k] * b[(long long)k * N + n];
  c[(long long)m * N + n] = sum;
}
