// The nearest code of a codebook for every row of x (M, D): argmin over k of ||c_k||^2 / 2 - x[m] . c_k, in NumPy
//
//     np.argmin((codebook**2).sum(1) / 2 - x @ codebook.T, axis=1)
//
// but without the M x K matrix of distances, which would be written to memory and read again. The products are computed as
// in gemm.cu, and a tile of them never leaves the registers.
#include "common.cuh"
#include "pipeline.cuh"
#include "tile.cuh"

constexpr int NORM_WARPS = 8;

// halves (K,): ||c_k||^2 / 2. Each warp computes one.
template <typename T>
__global__ void __launch_bounds__(32 * NORM_WARPS)
    half_norms(const T* __restrict__ codebook, T* __restrict__ halves, int K, int D) {
  const int k = blockIdx.x * NORM_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= K) return;  // the whole warp
  double sum = 0;
  for (int d = lane; d < D; d += 32) {
    const double c = codebook[(long long)k * D + d];
    sum += c * c;
  }
  sum = warp_sum(sum);
  if (lane == 0) halves[k] = sum / 2;
}

// The codes may be cut into splits of codes_per_split, a multiple of a tile's width, which fills the GPU when there are few
// rows. `values` and `indices` are then (splits, M): the distance and the index of the nearest code of each split.
struct Search {
  int M, K, D, codes_per_split;
};

// A block of 256 threads takes 16 * P rows of x and one split of the codes, 16 * P codes at a time. It multiplies the two
// tiles along D as gemm_registers does, codes by rows of x. Then each thread compares its P x P distances with the smallest
// that it has seen for each of its P rows of x. 16 threads share these rows; they are in one warp (tile.cuh) and compare
// their results only at the end. Codes beyond K have an infinite distance. Of equal distances the lowest index wins; within
// a thread this is so because its codes come in ascending order.
template <typename T, int P>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    nearest(const T* __restrict__ ALIGNED(16) x, const T* __restrict__ ALIGNED(16) codebook,
            const T* __restrict__ half_norms, T* __restrict__ values, long long* __restrict__ indices, Search s) {
  constexpr int WIDTH = 16 * P;
  constexpr int DEPTH = 64 / P;
  const T FAR = __int_as_float(0x7f800000);  // infinity
  __shared__ __align__(16) T x_tiles[2][DEPTH][WIDTH + TILE_PAD], code_tiles[2][DEPTH][WIDTH + TILE_PAD];
  const int row = blockIdx.x * WIDTH;
  const int begin = blockIdx.y * s.codes_per_split, end = min(s.K, begin + s.codes_per_split);

  T least[P];
  int index[P];
#pragma unroll
  for (int i = 0; i < P; i++) least[i] = FAR, index[i] = begin;
  for (int first = begin; first < end; first += WIDTH) {
    Operand<T, WIDTH, DEPTH, true> of_x(x, row, s.M, s.D, 0), of_codes(codebook, first, s.K, s.D, 0);
    T product[P][P] = {};
    for_each_tile<DEPTH>(of_x, of_codes, x_tiles, code_tiles, s.D, [&](auto& x_tile, auto& code_tile) {
      multiply_tiles<T, P, P, DEPTH>(product, code_tile, x_tile);
    });
#pragma unroll
    for (int j = 0; j < P; j++) {
      const int k = first + tile_row(j);
      const T half_norm = k < end ? half_norms[k] : FAR;
#pragma unroll
      for (int i = 0; i < P; i++) {
        const T distance = half_norm - product[j][i];
        if (distance < least[i]) least[i] = distance, index[i] = k;
      }
    }
  }

#pragma unroll
  for (int i = 0; i < P; i++) {
#pragma unroll
    for (int bit = 16; bit > 1; bit /= 2) {  // threads that share a row are the even lanes of a warp, or the odd ones
      const T other = __shfl_xor_sync(WARP, least[i], bit);
      const int at = __shfl_xor_sync(WARP, index[i], bit);
      if (other < least[i] || (other == least[i] && at < index[i])) least[i] = other, index[i] = at;
    }
    const int m = row + tile_column(i);
    if (thread_row() > 0 || m >= s.M) continue;
    values[(long long)blockIdx.y * s.M + m] = least[i];
    indices[(long long)blockIdx.y * s.M + m] = index[i];
  }
}

// nearest (M,): for each row the index with the smallest of the values (splits, M); ties go to the first split. One thread
// for each row.
template <typename T>
__global__ void __launch_bounds__(TILE_THREADS)
    nearest_of_splits(const T* __restrict__ values, const long long* __restrict__ indices,
                      long long* __restrict__ nearest, int M, int splits) {
  const int m = blockIdx.x * TILE_THREADS + threadIdx.x;
  if (m >= M) return;
  T least = values[m];
  long long index = indices[m];
  for (int split = 1; split < splits; split++) {
    const T value = values[(long long)split * M + m];
    if (value < least) least = value, index = indices[(long long)split * M + m];
  }
  nearest[m] = index;
}
