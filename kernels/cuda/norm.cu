// Normalisation by batch and by group of channels, forward and backward; the mathematics is in kernels/reference/norm.py.
//
// The kernels see an array as x[a, r, c]. For each a and each group of channels there is one mean and one variance, over
// all rows r and the channels c of the group. In batch normalisation a has only one value, the rows are the pixels of all
// examples, and each channel is a group. In group normalisation a counts the examples, and the rows are the pixels of one.
//
//     forward    moments -> statistics -> normalize
//     backward   gradient_sums -> gradient_means -> input_gradient
//                              -> affine_gradients
//
// All are limited by memory. Four kernels read or write whole arrays: moments, normalize, gradient_sums, input_gradient.
// Their neighbouring threads take neighbouring channels if the channels of a pixel are neighbours in memory, otherwise
// neighbouring pixels. A thread works on one channel only, so that the numbers of this channel stay in registers. moments
// and gradient_sums write the sums of each block to `sums` (A, parts, C, 2), in float64; statistics, gradient_means and
// affine_gradients add these up, in a fixed order.
#include "common.cuh"

// __launch_bounds__(NORM_THREADS, 4) asks for 4 blocks on a multiprocessor. Without the 4 the compiler makes room for 6,
// and the kernels spill registers.
constexpr int NORM_THREADS = 256;

// Where x[a, r, c] lies, and how the work is cut. Row r is pixel r % pixels of line r / pixels (in batch normalisation of
// contiguous (N, C, L) the lines are the examples), so that the offset of x[a, r, c] is
// a * a_step + line * line_step + pixel * pixel_step + c * c_step.
//
// A block takes `packed` values of a, `columns` channels, and a part of per_part rows, which 2^lane_bits threads, here
// called lanes, share. A block is columns * lanes threads wide and `packed` threads high. blockIdx.x counts a and the
// channels: there are per_row blocks for each `packed` values of a. blockIdx.y counts the parts. From one of its rows to
// the next, a thread moves some whole lines and `ahead` pixels on, which changes its offset by `move`. If that leads beyond
// the end of a line, it goes `pixels` back and one line on, which changes the offset by next_line.
struct Layout {
  long long A, R, pixels, a_step, line_step, pixel_step, c_step, per_part, ahead, move, next_line;
  int C, groups, columns, lane_bits, packed, parts, per_row;
};

// What a thread works on. Threads count columns first, then lanes, then values of a.
struct Place {
  long long a;
  int c, lane;
  bool inside;
};

__device__ __forceinline__ Place find_place(const Layout& l) {
  const unsigned lane = threadIdx.x / (unsigned)l.columns, row = blockIdx.x / (unsigned)l.per_row;
  const long long a = (long long)row * l.packed + threadIdx.y;
  const int c = (blockIdx.x - row * l.per_row) * l.columns + threadIdx.x - lane * l.columns;
  return {a, c, (int)lane, a < l.A && c < l.C};
}

// Calls visit(offset of x[a, r, c]) for the thread's rows r, which are every lanes-th row of the block's part. The offset
// advances without a division in the loop.
template <class Visit>
__device__ __forceinline__ void for_each_row(const Layout& l, const Place& at, Visit visit) {
  if (!at.inside) return;
  const long long begin = blockIdx.y * l.per_part, end = min(l.R, begin + l.per_part);
  const long long first = begin + at.lane, line = l.pixels == l.R ? 0 : first / l.pixels;
  long long pixel = first - line * l.pixels;
  long long offset = at.a * l.a_step + line * l.line_step + pixel * l.pixel_step + at.c * l.c_step;
#pragma unroll 4  // four loads are under way at the same time
  for (int i = terms_of_lane(begin, end, at.lane, l.lane_bits); i > 0; i--) {
    visit(offset);
    offset += l.move;
    pixel += l.ahead;
    if (pixel >= l.pixels) pixel -= l.pixels, offset += l.next_line;
  }
}

// The number of a channel's group, counted over all a: mean and var are arrays (A, groups).
__device__ __forceinline__ long long group_of(const Layout& l, long long a, int c) {
  return a * l.groups + c / (l.C / l.groups);
}

// The offset of the first element of group g of a.
__device__ __forceinline__ long long first_of_group(const Layout& l, long long a, int g) {
  return a * l.a_step + g * (l.C / l.groups) * l.c_step;
}

__device__ __forceinline__ double inverse_deviation(double var, double eps) { return 1 / sqrt(var + eps); }

// sums[a, blockIdx.y, c] = the two sums over all lanes, which are added in shared memory, one half to the other, again and
// again. All threads must call it.
__device__ __forceinline__ void store_sums(const Layout& l, const Place& at, double2 sum, double2* sums) {
  __shared__ double2 of_lane[NORM_THREADS];
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  of_lane[thread] = sum;
  for (int half = (1 << l.lane_bits) / 2; half > 0; half /= 2) {
    __syncthreads();
    if (at.lane < half) {
      const double2 other = of_lane[thread + half * l.columns];
      of_lane[thread].x += other.x;
      of_lane[thread].y += other.y;
    }
  }
  if (at.lane == 0 && at.inside) sums[(at.a * l.parts + blockIdx.y) * l.C + at.c] = of_lane[thread];
}

// ---- forward ----

// The sums of d and d^2 for each channel, where d = x - x0 and x0 is the first element of the group. Then
// var = E d^2 - (E d)^2 needs only one pass over x (Chan, Golub & LeVeque 1983, on shifted data). The cancellation in this
// difference is harmless: x0 is one of the m elements, so (E d)^2 = (x0 - E x)^2 <= m var, and mostly it is as small as
// var. For the same reason the difference never becomes negative.
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    moments(const T* __restrict__ x, double2* __restrict__ sums, Layout l) {
  const Place at = find_place(l);
  double2 sum = {0, 0};
  const double x0 = at.inside ? x[first_of_group(l, at.a, at.c / (l.C / l.groups))] : T(0);
  for_each_row(l, at, [&](long long i) {
    const double d = x[i] - x0;
    sum.x += d;
    sum.y += d * d;
  });
  store_sums(l, at, sum, sums);
}

// For a kernel with one block for each (a, group): calls visit(sums, channel) for all parts and all channels of the group.
template <class Visit>
__device__ __forceinline__ void for_each_sum(const Layout& l, const double2* sums, Visit visit) {
  const int size = l.C / l.groups, g = blockIdx.x % l.groups;
  const double2* first = sums + blockIdx.x / l.groups * l.parts * l.C + g * size;
  for (int i = threadIdx.x; i < l.parts * size; i += blockDim.x) {
    const int c = i % size;
    visit(first[(long long)(i / size) * l.C + c], g * size + c);
  }
}

// mean and var (A, groups), from the sums of `moments`.
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    statistics(const double2* __restrict__ sums, const T* __restrict__ x, T* __restrict__ mean, T* __restrict__ var,
               Layout l) {
  double2 sum = {0, 0};
  for_each_sum(l, sums, [&](double2 s, int) { sum.x += s.x, sum.y += s.y; });
  sum.x = block_sum(sum.x);
  sum.y = block_sum(sum.y);
  if (threadIdx.x > 0) return;
  const double m = (double)l.R * (l.C / l.groups), of_d = sum.x / m;
  mean[blockIdx.x] = x[first_of_group(l, blockIdx.x / l.groups, blockIdx.x % l.groups)] + of_d;
  var[blockIdx.x] = sum.y / m - of_d * of_d;
}

// y = (x - mean) / sqrt(var + eps) * weight + bias; weight and bias may be null.
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    normalize(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
              const T* __restrict__ mean, const T* __restrict__ var, T* __restrict__ y, double eps, Layout l) {
  const Place at = find_place(l);
  if (!at.inside) return;
  const long long group = group_of(l, at.a, at.c);
  const T shift = mean[group], b = bias == nullptr ? T(0) : bias[at.c];
  const T scale = inverse_deviation(var[group], eps) * (weight == nullptr ? 1.0 : weight[at.c]);
  for_each_row(l, at, [&](long long i) { y[i] = (x[i] - shift) * scale + b; });
}

// ---- backward ----

// The sums of dy and of dy (x - mean) for each channel.
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    gradient_sums(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ mean,
                  double2* __restrict__ sums, Layout l) {
  const Place at = find_place(l);
  double2 sum = {0, 0};
  const double shift = at.inside ? mean[group_of(l, at.a, at.c)] : T(0);
  for_each_row(l, at, [&](long long i) {
    const double g = dy[i];
    sum.x += g;
    sum.y += g * (x[i] - shift);
  });
  store_sums(l, at, sum, sums);
}

// means (A, groups, 2): E g and E(g x_hat), where g = dy weight and x_hat = (x - mean) / sqrt(var + eps).
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    gradient_means(const double2* __restrict__ sums, const T* __restrict__ weight, const T* __restrict__ var,
                   double2* __restrict__ means, double eps, Layout l) {
  double2 sum = {0, 0};
  for_each_sum(l, sums, [&](double2 s, int c) {
    const double w = weight == nullptr ? T(1) : weight[c];
    sum.x += w * s.x;
    sum.y += w * s.y;
  });
  sum.x = block_sum(sum.x);
  sum.y = block_sum(sum.y);
  if (threadIdx.x > 0) return;
  const double m = (double)l.R * (l.C / l.groups);
  means[blockIdx.x] = {sum.x / m, sum.y / m * inverse_deviation(var[blockIdx.x], eps)};
}

// dweight, dbias (C,): the sums of dy x_hat and of dy over all a. A block takes 32 channels, and each of its 8 lanes adds
// every eighth of the sums.
constexpr int AFFINE_COLUMNS = 32;
constexpr int AFFINE_LANES = 8;

template <typename T>
__global__ void __launch_bounds__(AFFINE_COLUMNS* AFFINE_LANES, 4)
    affine_gradients(const double2* __restrict__ sums, const T* __restrict__ var, T* __restrict__ dweight,
                     T* __restrict__ dbias, double eps, Layout l) {
  __shared__ double2 of_lane[AFFINE_LANES][AFFINE_COLUMNS];
  const int column = threadIdx.x, lane = threadIdx.y, c = blockIdx.x * AFFINE_COLUMNS + column;
  double2 sum = {0, 0};
  if (c < l.C) {
    for (long long i = lane; i < l.A * l.parts; i += AFFINE_LANES) {
      const double2 s = sums[i * l.C + c];
      sum.x += s.x;
      sum.y += s.y * inverse_deviation(var[group_of(l, i / l.parts, c)], eps);
    }
  }
  of_lane[lane][column] = sum;
  __syncthreads();
  if (lane > 0 || c >= l.C) return;
  for (int other = 1; other < AFFINE_LANES; other++) {
    sum.x += of_lane[other][column].x;
    sum.y += of_lane[other][column].y;
  }
  dbias[c] = sum.x;
  dweight[c] = sum.y;
}

// dx = (g - E g - x_hat E(g x_hat)) / sqrt(var + eps)
template <typename T>
__global__ void __launch_bounds__(NORM_THREADS, 4)
    input_gradient(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ weight,
                   const T* __restrict__ mean, const T* __restrict__ var, const double2* __restrict__ means,
                   T* __restrict__ dx, double eps, Layout l) {
  const Place at = find_place(l);
  if (!at.inside) return;
  const long long group = group_of(l, at.a, at.c);
  const double scale = inverse_deviation(var[group], eps);
  const T shift = mean[group], of_dy = scale * (weight == nullptr ? 1.0 : weight[at.c]);
  const T constant = scale * means[group].x, of_x = scale * scale * means[group].y;
  for_each_row(l, at, [&](long long i) { dx[i] = of_dy * dy[i] - of_x * (x[i] - shift) - constant; });
}
