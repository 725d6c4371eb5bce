// Numbers that change from launch to launch of a captured graph, in device memory.
//
// What a launch is given by value is captured with it and stays as it was. The step of the optimiser, the learning rate
// and the draw of the noise must not, so kernels that are captured read them from an array of 64-bit words, and this
// kernel, which is not captured, writes those words before each launch of the graph. No copy from the host is needed
// whose source would have to outlive it.
struct Words {
  unsigned long long w0, w1, w2, w3, w4, w5, w6, w7;
};

__global__ void write_words(unsigned long long* __restrict__ to, Words words) {
  const unsigned long long all[] = {words.w0, words.w1, words.w2, words.w3, words.w4, words.w5, words.w6, words.w7};
#pragma unroll
  for (int i = 0; i < 8; i++)
    if (threadIdx.x == i) to[i] = all[i];
}
