// Step 3: each number that is read from shared memory is used 8 times. C (M, N) = A (M, K) B (K, N), row-major.
//
// In step 2 a thread reads two numbers from shared memory for each multiplication, and such a read takes longer than the
// multiplication. Here a thread computes 8 x 8 numbers of C: for each k it reads 8 numbers of A and 8 of B into registers
// and multiplies each by each, which is 64 multiplications for 16 reads.
//
// A block of 16 x 16 threads computes 128 x 128 numbers, in steps of 8 along K. Thread (y, x) has rows y, y + 16, ...
// and columns x, x + 16, ..., so that the threads of a warp read neighbours, which lie in different banks. The tile of A
// is stored transposed, with k along its rows, as the tile of B has it anyway.
constexpr int EACH = 8;
constexpr int THREADS = 16;  // along each side of the block
constexpr int SIDE = EACH * THREADS;
constexpr int DEPTH = 8;

template <typename T>
__global__ void __launch_bounds__(THREADS* THREADS)
    gemm_registers(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K) {
  __shared__ T a_tile[DEPTH][SIDE], b_tile[DEPTH][SIDE];
  const int x = threadIdx.x, y = threadIdx.y;
  const long long first_m = blockIdx.y * SIDE, first_n = blockIdx.x * SIDE;
  T sum[EACH][EACH] = {};

  for (int first_k = 0; first_k < K; first_k += DEPTH) {
    for (int i = y * THREADS + x; i < SIDE * DEPTH; i += THREADS * THREADS) {
      const long long m = first_m + i / DEPTH, of_a = first_k + i % DEPTH;  // 8 neighbours of each row of A
      a_tile[i % DEPTH][i / DEPTH] = m < M && of_a < K ? a[m * K + of_a] : T(0);
      const long long n = first_n + i % SIDE, of_b = first_k + i / SIDE;  // 128 neighbours of each row of B
      b_tile[i / SIDE][i % SIDE] = of_b < K && n < N ? b[of_b * N + n] : T(0);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      T of_a[EACH], of_b[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) of_a[i] = a_tile[k][y + i * THREADS], of_b[i] = b_tile[k][x + i * THREADS];
#pragma unroll
      for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) sum[i][j] += of_a[i] * of_b[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < EACH; i++)
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      const long long m = first_m + y + i * THREADS, n = first_n + x + j * THREADS;
      if (m < M && n < N) c[m * N + n] = sum[i][j];
    }
}
