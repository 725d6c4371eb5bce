// Convolution as a product of matrices that are never written down: implicit GEMM.
//
// im2col makes of every output pixel a row with everything that the pixel reads, and the convolution is the product of
// that matrix with the kernel. Here a block of threads multiplies tiles of the two, as in gemm.cu, but gathers its tile
// of the first matrix straight from the image, on the way to shared memory. Three operations are made of two kernels:
//
//   correlate        y  = columns(x) @ w         the forward pass, and the input gradient, phase by phase (../reads.py)
//   weight gradient  dw = columns(x).T @ dy      with pixels as the long axis, cut up and summed in a second pass
//
// and the forward pass is a ladder again: one thread per number (correlate_naive), register blocks, tensor cores. For
// the first layers of a network, which have few inputs, and the last, which have few outputs, most of a tile would be
// empty; they have kernels of their own, which wait for memory and for little else.
//
// Images are channels-last, (N, H, W, channels); in NumPy a pixel is x[n, h, w, group * C : (group + 1) * C].
#include "gather.cuh"
#include "products.cuh"

// The kernel as a matrix for each group, out (groups, taps_h, taps_w, C, columns), of w (O, C / groups, KH, KW). Tap
// (p, q) of patch pixel (a, b) is w's tap (tap_h + p tap_step_h + a, ...). In the input gradient the roles of inputs
// and outputs are exchanged.
struct Arrangement {
  int groups, taps_h, taps_w, C, rows, across, outputs;
  int KH, KW, tap_h, tap_w, tap_step_h, tap_step_w;
  bool exchanged;
};

template <typename T>
__global__ void arrange_kernel(const T* __restrict__ w, T* __restrict__ out, Arrangement s) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int output = i % s.outputs, b = i / s.outputs % s.across, a = i / s.outputs / s.across % s.rows;
  const int k = i / (s.outputs * s.across * s.rows), c = k % s.C, q = k / s.C % s.taps_w, p = k / s.C / s.taps_w % s.taps_h;
  const int group = k / s.C / s.taps_w / s.taps_h;
  if (group >= s.groups) return;
  const int tap_h = s.tap_h + p * s.tap_step_h + a, tap_w = s.tap_w + q * s.tap_step_w + b;
  const int of_y = s.exchanged ? c : output, of_x = s.exchanged ? output : c;  // channels, within the group
  const int ys = s.exchanged ? s.C : s.outputs, xs = s.exchanged ? s.outputs : s.C;
  out[i] = w[(((long long)(group * ys + of_y) * xs + of_x) * s.KH + tap_h) * s.KW + tap_w];
}

// ---- step 1 of the ladder, and few channels ----

// A thread computes one number of the output. Neighbouring threads compute neighbouring columns: they read the same
// number of the image and neighbours of w.
template <typename T>
__global__ void correlate_naive(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                                T* __restrict__ y, Correlation s) {
  const int j = blockIdx.y * blockDim.x + threadIdx.x;  // group and column
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (j >= s.groups * s.columns || row >= pixels_of(s)) return;
  const int group = j / s.columns, column = j % s.columns;
  Source<T> from;
  from.set(x + group * s.C, s, row);
  w += (long long)group * s.taps_h * s.taps_w * s.C * s.columns + column;
  T sum = 0;
  for (int p = 0; p < s.taps_h; p++)
    for (int q = 0; q < s.taps_w; q++)
      if (from.inside(s, p, q))
        for (int c = 0; c < s.C; c++)
          sum += from.first[tap_offset(s, p, q, c)] * w[((p * s.taps_w + q) * s.C + c) * s.columns];
  store(y, s, Pixel(row, s.U, s.V), group, column, sum, bias);
}

constexpr int PIXELS = 4;

// Few inputs, as the first layer has: what was a loop over one pixel is one over PIXELS of them, each number of w being
// read once for all. A warp is 32 columns of the same pixels.
template <typename T>
__global__ void __launch_bounds__(256, 2)
    correlate_few_inputs(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                         T* __restrict__ y, Correlation s) {
  const int j = blockIdx.y * 32 + threadIdx.x;
  const long long rows = pixels_of(s);
  const long long first = ((long long)blockIdx.x * blockDim.y + threadIdx.y) * PIXELS;
  if (j >= s.groups * s.columns || first >= rows) return;
  const int group = j / s.columns, column = j % s.columns;
  Source<T> from[PIXELS];
#pragma unroll
  for (int i = 0; i < PIXELS; i++) from[i].set(x + group * s.C, s, min(first + i, rows - 1));
  w += (long long)group * s.taps_h * s.taps_w * s.C * s.columns + column;
  T sum[PIXELS] = {};
  for (int p = 0; p < s.taps_h; p++)
    for (int q = 0; q < s.taps_w; q++)
      for (int c = 0; c < s.C; c++, w += s.columns) {
        const T factor = *w;
        const int offset = tap_offset(s, p, q, c);
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
          if (from[i].inside(s, p, q)) sum[i] += factor * from[i].first[offset];
      }
#pragma unroll
  for (int i = 0; i < PIXELS; i++)
    if (first + i < rows) store(y, s, Pixel(first + i, s.U, s.V), group, column, sum[i], bias);
}

constexpr int FEW = 8;

// Few outputs, as the last layer has: a warp takes one pixel and up to FEW columns, its lanes share the channels of the
// input, which are neighbours in memory, and add up in the end.
template <typename T>
__global__ void __launch_bounds__(256, 2)
    correlate_few_outputs(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                          T* __restrict__ y, Correlation s) {
  const int lane = threadIdx.x % 32, group = blockIdx.y;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= pixels_of(s)) return;  // whole warps
  Source<T> from;
  from.set(x + group * s.C, s, row);
  w += (long long)group * s.taps_h * s.taps_w * s.C * s.columns;
  T sum[FEW] = {};
  for (int p = 0; p < s.taps_h; p++)
    for (int q = 0; q < s.taps_w; q++) {
      if (!from.inside(s, p, q)) continue;
      const T* of_tap = w + (long long)(p * s.taps_w + q) * s.C * s.columns;
      for (int c = lane; c < s.C; c += 32) {
        const T value = from.first[tap_offset(s, p, q, c)];
#pragma unroll
        for (int j = 0; j < FEW; j++)
          if (j < s.columns) sum[j] += value * of_tap[c * s.columns + j];
      }
    }
#pragma unroll
  for (int j = 0; j < FEW; j++)
    if (j < s.columns) {
      const T value = warp_sum(sum[j]);
      if (lane == j) store(y, s, Pixel(row, s.U, s.V), group, j, value, bias);
    }
}

// ---- implicit GEMM ----

// Where the tile of a block begins. It is kept in shared memory, as it is needed before and after the work, but not
// during it, when registers are scarce.
struct Corner {
  long long row;
  int column;
};

// A block of 256 threads computes ROWS pixels x COLUMNS columns of group blockIdx.z, over piece blockIdx.y of k;
// blockIdx.x counts tiles, columns fastest, so that blocks that run together read the same pixels.
template <class Product, int UNIT, class T>
__device__ __forceinline__ void correlate(const T* x, const T* w, const T* bias, T* y, const Correlation& s) {
  constexpr int ROWS = Product::ROWS, COLUMNS = Product::COLUMNS, DEPTH = Product::DEPTH, PAD = Product::PAD;
  __shared__ __align__(16) T a_tiles[2][DEPTH][ROWS + PAD], b_tiles[2][DEPTH][COLUMNS + PAD];
  const int K = s.taps_h * s.taps_w * s.C, group = blockIdx.z, k = blockIdx.y * s.k_per_split;
  const int across = ceil_div(s.columns, COLUMNS);
  __shared__ Corner corner;
  if (threadIdx.x == 0) corner = {(long long)(blockIdx.x / across) * ROWS, (int)(blockIdx.x % across) * COLUMNS};
  __syncthreads();
  GatheredRows<T, ROWS, DEPTH, UNIT> of_x(x, s, group, corner.row, k);
  Operand<T, COLUMNS, DEPTH, false> of_w(w + (long long)group * K * s.columns, corner.column, s.columns, s.columns, k);
  Product product;
  for_each_tile<DEPTH>(of_x, of_w, a_tiles, b_tiles, min(K - k, s.k_per_split),
                       [&](auto& a_tile, auto& b_tile) { product.multiply(a_tile, b_tile); });

  y += blockIdx.y * s.split_step;
  const long long rows = pixels_of(s);
  product.for_each_run([&](int row, int column, const T* values) {
    const long long r = corner.row + row;
    const int j = corner.column + column;
    if (r >= rows || j >= s.columns) return;
    const Pixel at(r, s.U, s.V);
    if (Product::RUN == 4 && s.outputs % 4 == 0) {
      T* to = destination(y, s, at, group, j);
      const T* b = bias + (group * s.outputs + j % s.outputs);
      if (to == nullptr) return;
      if (bias == nullptr) store4(to, Four<T>{{values[0], values[1], values[2], values[3]}});
      else store4(to, Four<T>{{values[0] + b[0], values[1] + b[1], values[2] + b[2], values[3] + b[3]}});
    } else {
#pragma unroll
      for (int i = 0; i < Product::RUN; i++)
        if (j + i < s.columns) store(y, s, at, group, j + i, values[i], bias);
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
                           const float* __restrict__ bias, float* __restrict__ y, Correlation s) {
  correlate<TensorCores, UNIT>(x, w, bias, y, s);
}

// ---- weight gradient ----

// dw (splits, O, C, KH, KW) of the forward correlation s, each split the sum over k_per_split pixels. A block computes
// ROWS of (p, q, c) x COLUMNS outputs of group blockIdx.z.
template <class Product, int UNIT, class T>
__device__ __forceinline__ void weight_grad(const T* dy, const T* x, T* dw, const Correlation& s) {
  constexpr int ROWS = Product::ROWS, COLUMNS = Product::COLUMNS, DEPTH = Product::DEPTH, PAD = Product::PAD;
  __shared__ __align__(16) T a_tiles[2][DEPTH][ROWS + PAD], b_tiles[2][DEPTH][COLUMNS + PAD];
  const int group = blockIdx.z;
  const long long first_pixel = (long long)blockIdx.y * s.k_per_split;
  const int across = ceil_div(s.outputs, COLUMNS);
  __shared__ Corner corner;
  if (threadIdx.x == 0) corner = {(long long)(blockIdx.x / across) * ROWS, (int)(blockIdx.x % across) * COLUMNS};
  __syncthreads();
  GatheredColumns<T, ROWS, DEPTH, UNIT> of_x(x, s, group, corner.row, first_pixel);
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
