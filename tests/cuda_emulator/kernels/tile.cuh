struct Sizes {
  int M, N, K;
};

template <typename T>
__device__ __forceinline__ T load_or_zero(const T* x, int row, int column, int rows, int columns) {
  return row < rows && column < columns ? x[(long long)row * columns + column] : T(0);
}
