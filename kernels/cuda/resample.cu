// Max pooling and nearest-neighbour upsampling of channels-last images. A block computes one row of pixels of one image, so
// that all positions within the row fit into an int; its threads visit the C * width numbers of that row.

constexpr int THREADS = 256;

struct Pooling {
  int C, H, W, OH, OW, KH, KW, sh, sw, ph, pw;
};

// y (N, OH, OW, C) = the largest number of each window of x (N, H, W, C); winner: p * KW + q for the tap (p, q) that read
// it, the first one of equal numbers. A NaN counts as the largest number. The grid has N * OH blocks.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    max_pool(const T* __restrict__ x, T* __restrict__ y, int* __restrict__ winner, Pooling s) {
  const int n = blockIdx.x / s.OH, i = blockIdx.x % s.OH;
  const long long row = (long long)blockIdx.x * s.OW * s.C;
  for (int k = threadIdx.x; k < s.OW * s.C; k += THREADS) {
    const int j = k / s.C, c = k % s.C;
    T largest = 0;
    int tap = -1;
    for (int p = 0; p < s.KH; ++p) {
      const int h = i * s.sh - s.ph + p;
      if (h < 0 || h >= s.H) continue;
      for (int q = 0; q < s.KW; ++q) {
        const int w = j * s.sw - s.pw + q;
        if (w < 0 || w >= s.W) continue;
        const T value = x[(((long long)n * s.H + h) * s.W + w) * s.C + c];
        if (tap < 0 || value > largest || (value != value && largest == largest)) largest = value, tap = p * s.KW + q;
      }
    }
    y[row + k] = largest;
    winner[row + k] = tap;
  }
}

// dx (N, H, W, C): for each pixel the sum of dy (N, OH, OW, C) over all windows in which it won. Each thread searches the
// windows of its own pixel, so no two threads add to the same number. The grid has N * H blocks.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    max_pool_grad(const T* __restrict__ dy, const int* __restrict__ winner, T* __restrict__ dx, Pooling s) {
  const int n = blockIdx.x / s.H, h = blockIdx.x % s.H;
  const long long row = (long long)blockIdx.x * s.W * s.C;
  for (int k = threadIdx.x; k < s.W * s.C; k += THREADS) {
    const int w = k / s.C, c = k % s.C;
    T sum = 0;
    for (int p = 0; p < s.KH; ++p) {
      const int down = h + s.ph - p;  // i * sh for the window (i, j) that reads this pixel through row p of its taps
      if (down < 0 || down % s.sh || down / s.sh >= s.OH) continue;
      for (int q = 0; q < s.KW; ++q) {
        const int across = w + s.pw - q;
        if (across < 0 || across % s.sw || across / s.sw >= s.OW) continue;
        const long long at = (((long long)n * s.OH + down / s.sh) * s.OW + across / s.sw) * s.C + c;
        if (winner[at] == p * s.KW + q) sum += dy[at];
      }
    }
    dx[row + k] = sum;
  }
}

// y (N, H * sh, W * sw, C): each pixel of x (N, H, W, C) is repeated. The grid has N * H * sh blocks.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    upsample(const T* __restrict__ x, T* __restrict__ y, int C, int W, int sh, int sw) {
  const T* source = x + (long long)(blockIdx.x / sh) * W * C;  // sh rows of y come from one row of x
  T* target = y + (long long)blockIdx.x * W * sw * C;
  for (int k = threadIdx.x; k < W * sw * C; k += THREADS) target[k] = source[k / C / sw * C + k % C];
}

// dx (N, H, W, C): for each pixel the sum over its sh x sw copies in dy (N, H * sh, W * sw, C). The grid has N * H blocks.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    upsample_grad(const T* __restrict__ dy, T* __restrict__ dx, int C, int W, int sh, int sw) {
  const T* source = dy + (long long)blockIdx.x * sh * W * sw * C;
  T* target = dx + (long long)blockIdx.x * W * C;
  for (int k = threadIdx.x; k < W * C; k += THREADS) {
    const int w = k / C, c = k % C;
    T sum = 0;
    for (int p = 0; p < sh; ++p)
      for (int q = 0; q < sw; ++q) sum += source[((long long)p * W * sw + w * sw + q) * C + c];
    target[k] = sum;
  }
}
