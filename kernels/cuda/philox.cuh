// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011). It gives the same words as kernels/reference/random.py, which explains
// it. It turns a counter into four random words and has no state, so every thread draws by itself.
#pragma once

// The number of the draw, see contract.Noise. `offset` is null, or points to a number that is added to `draw` when the
// kernel runs. The arguments of a CUDA graph are fixed; this number changes, so that each replay draws new noise.
__device__ __forceinline__ unsigned long long draw_number(unsigned long long draw, const unsigned long long* offset) {
  return offset == nullptr ? draw : draw + *offset;
}

// Words 4i .. 4i+3 of a draw: Philox of the counter (i, draw) under the key seed. Each of the three is two words, the low
// one first.
__device__ __forceinline__ uint4 philox(unsigned long long seed, unsigned long long draw, unsigned long long i) {
  uint4 c = make_uint4((unsigned)i, (unsigned)(i >> 32), (unsigned)draw, (unsigned)(draw >> 32));
  unsigned key0 = (unsigned)seed, key1 = (unsigned)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned low0 = 0xD2511F53u * c.x, high0 = __umulhi(0xD2511F53u, c.x);
    const unsigned low1 = 0xCD9E8D57u * c.z, high1 = __umulhi(0xCD9E8D57u, c.z);
    c = make_uint4(high1 ^ c.y ^ key0, low1, high0 ^ c.w ^ key1, low0);
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return c;
}

// Uniform numbers in [0, 1) with all the bits that the type has: four floats or two doubles from four words.
__device__ __forceinline__ void uniforms(uint4 w, float (&u)[4]) {
  u[0] = (w.x >> 8) * 0x1p-24f, u[1] = (w.y >> 8) * 0x1p-24f, u[2] = (w.z >> 8) * 0x1p-24f, u[3] = (w.w >> 8) * 0x1p-24f;
}
__device__ __forceinline__ void uniforms(uint4 w, double (&u)[2]) {
  u[0] = ((w.x >> 5) * 0x1p26 + (w.y >> 6)) * 0x1p-53, u[1] = ((w.z >> 5) * 0x1p26 + (w.w >> 6)) * 0x1p-53;
}

// Box & Muller (1958): two independent normal numbers r cos(t) and r sin(t) from two words. They are computed in double for
// every T, so that they do not depend on the type. sincospi takes the angle in units of pi, which is exact.
template <typename T>
__device__ __forceinline__ void normal_pair(unsigned first, unsigned second, T& a, T& b) {
  const double r = sqrt(-2 * log((first + 0.5) * 0x1p-32));
  double sine, cosine;
  sincospi((second + 0.5) * 0x1p-31, &sine, &cosine);
  a = T(r * cosine), b = T(r * sine);
}

template <typename T>
__device__ __forceinline__ void normals(uint4 w, T (&z)[4]) {
  normal_pair(w.x, w.y, z[0], z[1]);
  normal_pair(w.z, w.w, z[2], z[3]);
}
