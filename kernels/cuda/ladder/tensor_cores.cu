// Step 4: a warp multiplies two matrices in one instruction. C (M, N) = A (M, K) B (K, N), row-major floats.
//
// mma.m16n8k8 adds to a 16x8 matrix the product of a 16x8 and an 8x8 matrix of TF32 numbers: floats that keep 10 of the
// 23 bits of mantissa. A product of two of them is exact in a float, but rounding an operand to TF32 changes it by up to
// 2^-11 of its value. The 32 lanes of a warp hold the matrices together. With g = lane / 4 and t = lane % 4 each lane has
// (PTX ISA, "Matrix Fragments for mma.m16n8k8")
//
//     a: A[g][t], A[g+8][t], A[g][t+4], A[g+8][t+4]    b: B[t][g], B[t+4][g]
//     c: C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1]
//
// A block of 4 warps computes 64 x 32 numbers of C, and a warp 16 x 32 of them: four 16x8 matrices beside each other.
//
// With TERMS = 3 each float is written as big + small, both TF32 numbers. (big + small) (big + small) has four products,
// and all but small * small, which is too small to matter, are added. The result has almost the precision of floats
// (Markidis et al. 2018).
#ifdef MINIVAE_EMULATOR
using emulator::float_to_tf32;
using emulator::mma_m16n8k8_tf32;
#else
__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2],
                                                 const float c[4]) {  // d = a b + c
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
__device__ __forceinline__ unsigned float_to_tf32(float x) {  // rounds to the nearest; mma alone would cut bits off
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}
#endif

constexpr int WARPS = 4;
constexpr int ROWS = 16 * WARPS;
constexpr int COLUMNS = 32;
constexpr int DEPTH = 8;

template <int TERMS>
__global__ void __launch_bounds__(32 * WARPS)
    gemm_tensor_cores(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N,
                      int K) {
  __shared__ float a_tile[ROWS][DEPTH], b_tile[DEPTH][COLUMNS];
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const long long first_m = blockIdx.y * ROWS, first_n = blockIdx.x * COLUMNS;
  float sum[COLUMNS / 8][4] = {};

  for (int first_k = 0; first_k < K; first_k += DEPTH) {
    for (int i = threadIdx.x; i < ROWS * DEPTH; i += 32 * WARPS) {
      const long long m = first_m + i / DEPTH, k = first_k + i % DEPTH;
      a_tile[i / DEPTH][i % DEPTH] = m < M && k < K ? a[m * K + k] : 0;
    }
    for (int i = threadIdx.x; i < DEPTH * COLUMNS; i += 32 * WARPS) {
      const long long k = first_k + i / COLUMNS, n = first_n + i % COLUMNS;
      b_tile[i / COLUMNS][i % COLUMNS] = k < K && n < N ? b[k * N + n] : 0;
    }
    __syncthreads();
    unsigned a_big[4], a_small[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float value = a_tile[16 * warp + g + i % 2 * 8][t + i / 2 * 4];
      a_big[i] = float_to_tf32(value);
      a_small[i] = float_to_tf32(value - __uint_as_float(a_big[i]));
    }
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      unsigned b_big[2], b_small[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float value = b_tile[t + i * 4][8 * j + g];
        b_big[i] = float_to_tf32(value);
        b_small[i] = float_to_tf32(value - __uint_as_float(b_big[i]));
      }
      if (TERMS == 3) {
        mma_m16n8k8_tf32(sum[j], a_small, b_big, sum[j]);
        mma_m16n8k8_tf32(sum[j], a_big, b_small, sum[j]);
      }
      mma_m16n8k8_tf32(sum[j], a_big, b_big, sum[j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const long long m = first_m + 16 * warp + g + i / 2 * 8, n = first_n + 8 * j + 2 * t + i % 2;
      if (m < M && n < N) c[m * N + n] = sum[j][i];
    }
}
