// C (M, N) = A (M, K) B (K, N), row-major, through tiles in shared memory.
#include "tile.cuh"

template <typename T, int TILE, bool BOTH_BARRIERS>
__global__ void __launch_bounds__(TILE* TILE) gemm(const T* __restrict__ A, const T* __restrict__ B, T* __restrict__ C, Sizes s) {
  __shared__ T a[TILE][TILE];
  __shared__ T b[TILE][TILE];
  const int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
  T sum = 0;
  for (int k0 = 0; k0 < s.K; k0 += TILE) {
    const int k_a = k0 + threadIdx.x, k_b = k0 + threadIdx.y;
    a[threadIdx.y][threadIdx.x] = load_or_zero(A, row, k_a, s.M, s.K);
    b[threadIdx.y][threadIdx.x] = load_or_zero(B, k_b, column, s.K, s.N);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TILE; k++) sum += a[threadIdx.y][k] * b[k][threadIdx.x];
    if (BOTH_BARRIERS) __syncthreads();
  }
  if (row < s.M && column < s.N) C[(long long)row * s.N + column] = sum;
}
