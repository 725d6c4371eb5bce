// A tile of a matrix product, held in registers: BM x BN numbers of C by a block of 256 threads.
//
// A number in shared memory costs as much time to read as several multiplications. A thread that computes P x Q numbers
// of C reads P + Q operands for P * Q multiplications, so large P and Q are what makes a product fast. Both operands
// lie in shared memory with k as the slow axis, a[k][row] and b[k][column]; then the operands of neighbouring results
// are neighbours, and four of them are one load of 16 bytes.
//
// The 8 warps of the block stand 4 high and 2 wide, the 32 lanes of a warp 4 high and 8 wide, and each lane takes 4 x 4
// results at a time: a warp reads 4 * 4 neighbours of a and 8 * 4 of b, which is free of bank conflicts. A thread's
// P x Q results are such 4 x 4 pieces, 16 rows and 32 columns apart. Tiles begin at a multiple of 16 bytes:
//
//     __shared__ __align__(16) T a[DEPTH][16 * P + TILE_PAD], b[DEPTH][16 * Q + TILE_PAD];
//
// In pictures:
//
//     C tile, BM = BN = 128            one warp's part, 32 x 64         P = BM / 16 = 8 rows and
//     +-------+-------+                +----lane 0..7----+---again---+   Q = BN / 16 = 8 columns of a thread
//     | warp 0| warp 1|                |----lane 8..15---|           |
//     | warp 2| warp 3|                |        ...      |           |
//     | warp 4| warp 5|                +-----------------+-----------+
//     | warp 6| warp 7|                |      again      |   again   |
//     +-------+-------+                +-----------------+-----------+
#pragma once

constexpr int TILE_THREADS = 256;
constexpr int TILE_PAD = 4;  // numbers behind each row of a tile, against bank conflicts when it is written

// Four neighbours, moved at once: for float one load of 16 bytes, for double two.
template <typename T>
struct alignas(16) Four {
  T v[4];
};

template <typename T>
__device__ __forceinline__ Four<T> load4(const T* from) {
  return *reinterpret_cast<const Four<T>*>(from);
}

template <typename T>
__device__ __forceinline__ void store4(T* to, const Four<T>& four) {
  *reinterpret_cast<Four<T>*>(to) = four;
}

// The row of the tile in which this thread's result i of P lies, and the column of result j of Q. Results 4n .. 4n+3 of
// a thread are neighbours.
template <int P>
__device__ __forceinline__ int tile_row(int i) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp / 2 * (4 * P) + i / 4 * 16 + lane / 8 * 4 + i % 4;
}
template <int Q>
__device__ __forceinline__ int tile_column(int j) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp % 2 * (8 * Q) + j / 4 * 32 + lane % 8 * 4 + j % 4;
}

// sum += a.T @ b for the thread's P x Q results: DEPTH outer products of a row of a and a row of b.
template <typename T, int P, int Q, int DEPTH>
__device__ __forceinline__ void multiply_tiles(T (&sum)[P][Q], const T (&a)[DEPTH][16 * P + TILE_PAD],
                                               const T (&b)[DEPTH][16 * Q + TILE_PAD]) {
  static_assert(P % 4 == 0 && Q % 4 == 0, "results are taken four by four");
#pragma unroll
  for (int k = 0; k < DEPTH; k++) {
    Four<T> of_a[P / 4], of_b[Q / 4];
#pragma unroll
    for (int i = 0; i < P; i += 4) of_a[i / 4] = load4(&a[k][tile_row<P>(i)]);
#pragma unroll
    for (int j = 0; j < Q; j += 4) of_b[j / 4] = load4(&b[k][tile_column<Q>(j)]);
#pragma unroll
    for (int i = 0; i < P; i++)
#pragma unroll
      for (int j = 0; j < Q; j++) sum[i][j] += of_a[i / 4].v[i % 4] * of_b[j / 4].v[j % 4];
  }
}
