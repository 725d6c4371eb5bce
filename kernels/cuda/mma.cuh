// The product of a 16x8 and an 8x8 matrix of TF32 numbers on tensor cores, and the rounding of floats to TF32.
//
// A TF32 number has the 8 bits of exponent of a float and 10 of its 23 bits of mantissa. A product of two of them is exact
// in a float, but rounding an operand to TF32 changes it by up to 2^-11 of its value. The 32 lanes of a warp hold the
// matrices together; with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k8"):
//
//     a: A[g][t], A[g+8][t], A[g][t+4], A[g+8][t+4]    b: B[t][g], B[t+4][g]
//     c, d: C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1]
#pragma once

#ifdef MINIVAE_EMULATOR
using emulator::float_to_tf32;
using emulator::mma_m16n8k8_tf32;
#else
// d = a b + c
__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2],
                                                 const float c[4]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
// Rounds to the nearest TF32 number, ties away from zero. mma would cut off the bits of an unrounded float instead.
__device__ __forceinline__ unsigned float_to_tf32(float x) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}
#endif

constexpr int MMA_SIDE = 128;
constexpr int MMA_DEPTH = 16;
constexpr int MMA_PAD = 8;  // a warp reads 8 neighbours in each of 4 rows of a tile: with this pad in 32 different banks

// sum += a.T @ b for the 64 x 32 numbers of C of one warp, which begin at (row, column) of the tile. It takes 4 x 4
// products of 16x8 by 8x8 matrices for every 8 k.
template <class Tile>
__device__ __forceinline__ void multiply_on_tensor_cores(float (&sum)[4][4][4], const Tile& a, const Tile& b, int row,
                                                         int column) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < MMA_DEPTH; k += 8) {
    unsigned of_b[4][2];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int l = 0; l < 2; l++) of_b[j][l] = float_to_tf32(b[k + t + 4 * l][column + 8 * j + g]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      unsigned of_a[4];
#pragma unroll
      for (int l = 0; l < 4; l++) of_a[l] = float_to_tf32(a[k + t + l / 2 * 4][row + 16 * i + g + l % 2 * 8]);
#pragma unroll
      for (int j = 0; j < 4; j++) mma_m16n8k8_tf32(sum[i][j], of_a, of_b[j], sum[i][j]);
    }
  }
}
