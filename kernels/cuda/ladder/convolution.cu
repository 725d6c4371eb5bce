// The convolution by its definition: one thread for each number of y (N, OC, OH, OW); all arrays are row-major.
//
//     y[n, o, i, j] = sum over c, p, q of x[n, c, i stride - padding + p dilation, ...] w[o, c, p, q]
//
// Pixels outside the image count as zero, and output channel o reads only the C / groups channels of its group.
struct Convolution {
  int N, C, H, W, OC, KH, KW, OH, OW;
  int stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups;
};

template <typename T>
__global__ void __launch_bounds__(256)
    conv2d_naive(const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y, Convolution s) {
  const long long number = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= (long long)s.N * s.OC * s.OH * s.OW) return;
  const int j = number % s.OW, i = number / s.OW % s.OH, o = number / s.OW / s.OH % s.OC;
  const long long n = number / s.OW / s.OH / s.OC;
  const int C = s.C / s.groups, group = o / (s.OC / s.groups);
  T sum = 0;
  for (int c = 0; c < C; c++)
    for (int p = 0; p < s.KH; p++)
      for (int q = 0; q < s.KW; q++) {
        const int h = i * s.stride_h - s.padding_h + p * s.dilation_h;
        const int v = j * s.stride_w - s.padding_w + q * s.dilation_w;
        if (h < 0 || h >= s.H || v < 0 || v >= s.W) continue;
        sum += x[((n * s.C + group * C + c) * s.H + h) * s.W + v] * w[((o * C + c) * s.KH + p) * s.KW + q];
      }
  y[number] = sum;
}
