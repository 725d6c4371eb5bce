// Convolution as a product of matrices, one of which is never written: implicit GEMM.
//
// The im2col matrix has a row for each output pixel, which holds the patch that the pixel reads. The convolution is the
// product of that matrix with the weights. Here a thread block multiplies tiles of the two, as in gemm.cu, but gathers its
// tile of the im2col matrix straight from the image, on the way to shared memory. Two kernels serve three operations:
//
//   correlate        y  = im2col(x) @ w          the forward pass, and the input gradient, phase by phase (taps.py)
//   weight gradient  dw = im2col(x).T @ dy       the sum over pixels is long: it is cut into splits, added in a second pass
//
// Layers with few channels use the same kernels, although most of a tile is then empty. Special kernels, tried for the
// first and for the last layers of a network, needed more instructions than these.
//
// Images are channels-last, (N, H, W, channels); in NumPy the pixel of a group is x[n, h, w, group * C : (group + 1) * C].
#include "gather.cuh"
#include "products.cuh"

// How the weights w (OC, C / groups, KH, KW) are arranged as a matrix for each group, out (groups, taps_h, taps_w, C,
// columns). Tap (p, q) for pixel (a, b) of a bundle is w's tap (tap_h + p tap_step_h + a, ...). In the input gradient the
// roles of inputs and outputs are exchanged.
struct Arrangement {
  int groups, taps_h, taps_w, C, bundle_h, bundle_w, outputs;
  int KH, KW, tap_h, tap_w, tap_step_h, tap_step_w;
  bool exchanged;
};

template <typename T>
__global__ void arrange_kernel(const T* __restrict__ w, T* __restrict__ out, Arrangement s) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int output = i % s.outputs, b = i / s.outputs % s.bundle_w, a = i / s.outputs / s.bundle_w % s.bundle_h;
  const int k = i / (s.outputs * s.bundle_w * s.bundle_h);
  const int c = k % s.C, q = k / s.C % s.taps_w, p = k / s.C / s.taps_w % s.taps_h;
  const int group = k / s.C / s.taps_w / s.taps_h;
  if (group >= s.groups) return;
  const int tap_h = s.tap_h + p * s.tap_step_h + a, tap_w = s.tap_w + q * s.tap_step_w + b;
  const int of_y = s.exchanged ? c : output, of_x = s.exchanged ? output : c;  // channels of y and x within the group
  const int ys = s.exchanged ? s.C : s.outputs, xs = s.exchanged ? s.outputs : s.C;
  out[i] = w[(((long long)(group * ys + of_y) * xs + of_x) * s.KH + tap_h) * s.KW + tap_w];
}

// ---- implicit GEMM ----

// Where the tile of a block begins: its first pixel, and its first row and column in the product. It is kept in shared
// memory, because it is needed only before and after the loop over k, in which registers are scarce.
struct Corner {
  Pixel pixel;
  int row, column;
};

// A block of 256 threads computes ROWS pixels x COLUMNS columns of group blockIdx.z, over split blockIdx.y of k.
// blockIdx.x counts the tiles, columns fastest, so that blocks that run at the same time read the same pixels.
template <class Product, int UNIT, class T>
__device__ __forceinline__ void correlate(const T* x, const T* w, const T* bias, T* y, const Correlation& s) {
  constexpr int ROWS = Product::ROWS, COLUMNS = Product::COLUMNS, DEPTH = Product::DEPTH, PAD = Product::PAD;
  __shared__ __align__(16) T a_tiles[2][DEPTH][ROWS + PAD], b_tiles[2][DEPTH][COLUMNS + PAD];
  const int K = s.taps_h * s.taps_w * s.C, group = blockIdx.z, k = blockIdx.y * s.k_per_split;
  __shared__ Corner corner;
  if (threadIdx.x == 0) {
    const int per_row = ceil_div(s.columns, COLUMNS);
    corner = {pixel_at((long long)(blockIdx.x / per_row) * ROWS, s), 0, (int)(blockIdx.x % per_row) * COLUMNS};
  }
  __syncthreads();
  GatheredRows<T, ROWS, DEPTH, UNIT> of_x(x, s, group, corner.pixel, k);
  Operand<T, COLUMNS, DEPTH, false> of_w(w + (long long)group * K * s.columns, corner.column, s.columns, s.columns, k);
  Product product;
  for_each_tile<DEPTH>(of_x, of_w, a_tiles, b_tiles, min(K - k, s.k_per_split),
                       [&](auto& a_tile, auto& b_tile) { product.multiply(a_tile, b_tile); });

  y += blockIdx.y * s.split_step;
  const int first = corner.column + threadIdx.x % (COLUMNS / 4) * 4;
  const bool whole = s.outputs % 4 == 0;  // whether four columns are always channels of one pixel
  for_each_four(product, a_tiles, [&](int row, const Four<T>& values) {
    const Pixel at = pixel_after(corner.pixel, row, s);
    if (at.n >= s.N) return;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (first + i >= s.columns || (whole && i > 0)) return;
      T* to = destination(y, s, at, group, first + i);
      if (to == nullptr) continue;
      const T* b = bias == nullptr ? nullptr : bias + group * s.outputs + (first + i) % s.outputs;
      if (whole) store4(to, b == nullptr ? values : Four<T>{{values.v[0] + b[0], values.v[1] + b[1], values.v[2] + b[2], values.v[3] + b[3]}});
      else *to = b == nullptr ? values.v[i] : values.v[i] + *b;
    }
  });
}

template <typename T, int P, int Q, int UNIT>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    correlate_registers(const T* __restrict__ ALIGNED(16) x, const T* __restrict__ ALIGNED(16) w,
                        const T* __restrict__ bias, T* __restrict__ ALIGNED(16) y, Correlation s) {
  correlate<RegisterBlocks<T, P, Q>, UNIT>(x, w, bias, y, s);
}

template <int UNIT>
__global__ void __launch_bounds__(TILE_THREADS)
    correlate_tensor_cores(const float* __restrict__ ALIGNED(16) x, const float* __restrict__ ALIGNED(16) w,
                           const float* __restrict__ bias, float* __restrict__ ALIGNED(16) y, Correlation s) {
  correlate<TensorCores, UNIT>(x, w, bias, y, s);
}

// ---- weight gradient ----

// dw (splits, OC, C, KH, KW) for the forward correlation s; each split is the sum over k_per_split pixels. A block computes
// ROWS of the rows (p, q, c) x COLUMNS outputs of group blockIdx.z.
template <class Product, int UNIT, class T>
__device__ __forceinline__ void weight_grad(const T* dy, const T* x, T* dw, const Correlation& s) {
  constexpr int ROWS = Product::ROWS, COLUMNS = Product::COLUMNS, DEPTH = Product::DEPTH, PAD = Product::PAD;
  __shared__ __align__(16) T a_tiles[2][DEPTH][ROWS + PAD], b_tiles[2][DEPTH][COLUMNS + PAD];
  const int group = blockIdx.z;
  const long long first_pixel = (long long)blockIdx.y * s.k_per_split;
  __shared__ Corner corner;
  if (threadIdx.x == 0) {
    const int per_row = ceil_div(s.outputs, COLUMNS);
    corner = {pixel_at(first_pixel, s), (int)(blockIdx.x / per_row) * ROWS, (int)(blockIdx.x % per_row) * COLUMNS};
  }
  __syncthreads();
  GatheredColumns<T, ROWS, DEPTH, UNIT> of_x(x, s, group, corner.row, corner.pixel);
  Operand<T, COLUMNS, DEPTH, false> of_dy(dy + group * s.outputs, corner.column, s.outputs, s.groups * s.outputs,
                                          first_pixel);
  Product product;
  for_each_tile<DEPTH>(of_x, of_dy, a_tiles, b_tiles, min(pixels_of(s) - first_pixel, (long long)s.k_per_split),
                       [&](auto& a_tile, auto& b_tile) { product.multiply(a_tile, b_tile); });

  const int taps = s.taps_h * s.taps_w, K = taps * s.C;
  dw += blockIdx.y * s.split_step + (long long)group * s.outputs * K;
  product.for_each_run([&](int row, int column, const T* values) {
    const int k = corner.row + row, tap = k / s.C, c = k - tap * s.C;
#pragma unroll
    for (int i = 0; i < Product::RUN; i++) {
      const int o = corner.column + column + i;
      if (k < K && o < s.outputs) dw[((long long)o * s.C + c) * taps + tap] = values[i];
    }
  });
}

template <typename T, int P, int Q, int UNIT>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    weight_grad_registers(const T* __restrict__ ALIGNED(16) dy, const T* __restrict__ ALIGNED(16) x,
                          T* __restrict__ dw, Correlation s) {
  weight_grad<RegisterBlocks<T, P, Q>, UNIT>(dy, x, dw, s);
}

template <int UNIT>
__global__ void __launch_bounds__(TILE_THREADS)
    weight_grad_tensor_cores(const float* __restrict__ ALIGNED(16) dy, const float* __restrict__ ALIGNED(16) x,
                             float* __restrict__ dw, Correlation s) {
  weight_grad<TensorCores, UNIT>(dy, x, dw, s);
}
