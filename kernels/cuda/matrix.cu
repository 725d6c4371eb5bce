// Sums along an axis, and sums of rows that share an index. Memory alone limits both, so they can afford to add in float64
// for every type: a sum of floats is rounded only when it is stored, once in each pass.
#include "common.cuh"

// ---- sums along an axis ----

constexpr int SUM_THREADS = 256;

// x (A, R, B) is summed over R. A block takes `groups` values of a, `columns` values of b, and one of the parts into which
// R is cut. 2^lane_bits threads, here called lanes, share the sum for each (a, b). blockIdx.x counts a and b: there are
// per_row blocks for each `groups` values of a. blockIdx.y counts the parts.
struct Sum {
  long long A, R, B, per_part;
  unsigned columns, groups, per_row, lane_bits;
};

// sums (A, parts, B): sums[a, p, b] = x[a, p * per_part : (p + 1) * per_part, b].sum()
//
// A block is columns * lanes threads wide and `groups` threads high. Its threads count columns first, then lanes, then
// groups, in the order of memory. So neighbouring threads read neighbouring numbers: terms of one sum if B = 1, terms of a
// few sums if B is small, and columns if B is large. The sums of the lanes are added in shared memory, one half to the
// other, again and again. Most of these sums have only two to sixteen terms, and finding a thread's place must not take
// longer than that: so there are only two divisions, of 32 bits.
template <typename T>
__global__ void __launch_bounds__(SUM_THREADS) sum_middle(const T* __restrict__ x, T* __restrict__ sums, Sum s) {
  __shared__ double of_lane[SUM_THREADS];
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
  const unsigned lane = threadIdx.x / s.columns, column = threadIdx.x - lane * s.columns;
  const unsigned row = blockIdx.x / s.per_row;
  const long long a = (long long)row * s.groups + threadIdx.y;
  const long long b = (long long)(blockIdx.x - row * s.per_row) * s.columns + column;
  const long long begin = blockIdx.y * s.per_part, end = min(s.R, begin + s.per_part);
  double sum = 0;
  if (a < s.A && b < s.B) {
    const T* from = x + (a * s.R + begin + lane) * s.B + b;
    const long long step = s.B << s.lane_bits;
    const int terms = terms_of_lane(begin, end, lane, s.lane_bits);
#pragma unroll 8  // eight loads are under way at the same time
    for (int i = 0; i < terms; i++, from += step) sum += *from;
  }
  of_lane[thread] = sum;
  for (unsigned half = (1 << s.lane_bits) / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) of_lane[thread] += of_lane[thread + half * s.columns];
  }
  if (lane == 0 && a < s.A && b < s.B) sums[(a * gridDim.y + blockIdx.y) * s.B + b] = of_lane[thread];
}

// ---- a stable sort puts rows of one index together, eight bits of the index at a time (radix sort) ----
//
// Stable sorts by the lowest digit (in base 256), then by the next, and so on, give a stable sort by the whole index: rows
// with the same index keep their order (Knuth, TAOCP volume 3, 5.2.5). The kernels sort `order`, the numbers of the rows,
// of which there are fewer than 2^31. A pass sorts by one digit. It cuts `order` into at most 256 chunks and has three
// kernels: count the digits in each chunk; compute from the counts where each chunk's rows of each digit begin; move the
// rows. Atomics add only integers, whose sum does not depend on the order.

constexpr int DIGITS = 256;
constexpr int SORT_WARPS = DIGITS / 32;  // a block has a thread for each digit

// The row at place i of the current order (null: row i), and the digit of an index.
__device__ __forceinline__ long long row_at(const long long* order, long long i) {
  return order == nullptr ? i : order[i];
}
__device__ __forceinline__ int digit_of(long long index, int shift) { return index >> shift & (DIGITS - 1); }

// The sum of the values of all threads before this one, in a block of DIGITS threads.
__device__ __forceinline__ int sum_before(int value) {
  __shared__ int sums[DIGITS];
  const int thread = threadIdx.x;
  sums[thread] = value;
  for (int distance = 1; distance < DIGITS; distance *= 2) {
    __syncthreads();
    const int before = thread >= distance ? sums[thread - distance] : 0;
    __syncthreads();
    sums[thread] += before;
  }
  return sums[thread] - value;
}

// counts (DIGITS, chunks): how many rows of chunk blockIdx.x have each digit.
__global__ void __launch_bounds__(DIGITS)
    count_digits(const long long* __restrict__ index, const long long* __restrict__ order, int* __restrict__ counts,
                 long long M, long long per_chunk, int shift) {
  __shared__ int here[DIGITS];
  here[threadIdx.x] = 0;
  __syncthreads();
  const long long begin = blockIdx.x * per_chunk, end = min(M, begin + per_chunk);
  for (long long i = begin + threadIdx.x; i < end; i += DIGITS)
    atomicAdd(&here[digit_of(index[row_at(order, i)], shift)], 1);
  __syncthreads();
  counts[threadIdx.x * gridDim.x + blockIdx.x] = here[threadIdx.x];
}

// One block for each digit, one thread for each chunk: counts become the number of rows with this digit in all earlier
// chunks, and totals (DIGITS,) the number in all chunks.
__global__ void __launch_bounds__(DIGITS) scan_counts(int* __restrict__ counts, int* __restrict__ totals, int chunks) {
  const int chunk = threadIdx.x;
  int* count = counts + blockIdx.x * chunks + chunk;
  const int here = chunk < chunks ? *count : 0, before = sum_before(here);
  if (chunk < chunks) *count = before;
  if (chunk == chunks - 1) totals[blockIdx.x] = before + here;
}

// Moves the rows of chunk blockIdx.x to their places, 256 at a time. Before a row come all rows with smaller digits, and
// those with the same digit in earlier chunks and in earlier rounds of the loop (`next` counts these), in earlier warps,
// and in earlier lanes of its warp. A warp finds which of its lanes share a digit by voting on each of the eight bits.
__global__ void __launch_bounds__(DIGITS)
    move_rows(const long long* __restrict__ index, const long long* __restrict__ order, long long* __restrict__ sorted,
              const int* __restrict__ counts, const int* __restrict__ totals, long long M, long long per_chunk,
              int shift) {
  __shared__ int place[SORT_WARPS][DIGITS];
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const long long begin = blockIdx.x * per_chunk, end = min(M, begin + per_chunk);
  int next = sum_before(totals[thread]) + counts[thread * gridDim.x + blockIdx.x];  // where digit `thread` goes next

  for (long long first = begin; first < end; first += DIGITS) {
    const bool there = first + thread < end;
    const long long row = there ? row_at(order, first + thread) : 0;
    const int digit = there ? digit_of(index[row], shift) : 0;
    unsigned same = __ballot_sync(WARP, there);
    for (int bit = 1; bit < DIGITS; bit *= 2) {
      const unsigned set = __ballot_sync(WARP, digit & bit);
      same &= digit & bit ? set : ~set;
    }
    const int before = __popc(same & ((1u << lane) - 1));

    for (int w = 0; w < SORT_WARPS; w++) place[w][thread] = 0;
    __syncthreads();
    if (there && before == 0) place[warp][digit] = __popc(same);
    __syncthreads();
    for (int w = 0; w < SORT_WARPS; w++) {  // counts become places
      const int count = place[w][thread];
      place[w][thread] = next;
      next += count;
    }
    __syncthreads();
    if (there) sorted[place[warp][digit] + before] = row;
    __syncthreads();
  }
}

// ---- the sums of rows that share an index ----

constexpr int SEGMENT_COLUMNS = 32;
constexpr int SEGMENT_LANES = 8;

// How many rows have an index below k, which is the first place in `order` with an index of k or more.
__device__ __forceinline__ long long rows_below(long long k, const long long* index, const long long* order,
                                                long long M) {
  long long low = 0, high = M;
  while (low < high) {
    const long long middle = (low + high) / 2;
    if (index[order[middle]] < k) low = middle + 1;
    else high = middle;
  }
  return low;
}

// sums (count, D): sums[k] = rows[index == k].sum(0), or zeros if there are no such rows. A block takes one k and 32
// columns. Each of its 8 lanes adds every eighth row of the segment, and lane 0 adds the sums of all lanes, always in the
// same order.
template <typename T>
__global__ void __launch_bounds__(SEGMENT_COLUMNS* SEGMENT_LANES)
    sum_segments(const T* __restrict__ rows, const long long* __restrict__ index, const long long* __restrict__ order,
                 T* __restrict__ sums, long long M, int D) {
  __shared__ double of_lane[SEGMENT_LANES][SEGMENT_COLUMNS];
  const int x = threadIdx.x, lane = threadIdx.y, d = blockIdx.y * SEGMENT_COLUMNS + x;
  const long long k = blockIdx.x;
  const long long begin = rows_below(k, index, order, M), end = rows_below(k + 1, index, order, M);
  double sum = 0;
  if (d < D) {
#pragma unroll 8
    for (long long i = begin + lane; i < end; i += SEGMENT_LANES) sum += rows[order[i] * D + d];
  }
  of_lane[lane][x] = sum;
  __syncthreads();
  if (lane > 0 || d >= D) return;
  for (int other = 1; other < SEGMENT_LANES; other++) sum += of_lane[other][x];
  sums[k * D + d] = sum;
}
