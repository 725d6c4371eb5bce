// Step 2: each operand is read once per block, not once per thread. C (M, N) = A (M, K) B (K, N), row-major.
//
// A block of 32 x 32 threads computes 32 x 32 numbers of C. Along K it goes in steps of 32: each thread copies one
// number of A and one of B to shared memory, all wait, and then 32 threads use each of these numbers. Places outside the
// matrices are read as zero and add nothing. The second barrier keeps fast threads from overwriting what slow ones still
// read.
//
// For example, with K = 784 the block with blockIdx (x, y) = (1, 2) computes rows 64 to 95 and columns 32 to 63 of C in
// 25 steps, the last of which has only 16 k. Its thread (5, 3) computes C[67, 37].
constexpr int SIDE = 32;

template <typename T>
__global__ void __launch_bounds__(SIDE* SIDE)
    gemm_shared(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K) {
  __shared__ T a_tile[SIDE][SIDE], b_tile[SIDE][SIDE];
  const int x = threadIdx.x, y = threadIdx.y;
  const long long m = blockIdx.y * SIDE + y, n = blockIdx.x * SIDE + x;
  T sum = 0;
  for (int first = 0; first < K; first += SIDE) {
    a_tile[y][x] = m < M && first + x < K ? a[m * K + first + x] : T(0);
    b_tile[y][x] = first + y < K && n < N ? b[(long long)(first + y) * N + n] : T(0);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < SIDE; k++) sum += a_tile[y][k] * b_tile[k][x];
    __syncthreads();
  }
  if (m < M && n < N) c[m * N + n] = sum;
}
