# %% [markdown]
# # Lesson 3: Convolution, its gradients and its transpose
#
# A decoder that draws images ends in transposed convolutions, and few readers could say what these compute. They are
# the gradient of something familiar. This lesson takes one small image, 4 x 4, and looks at every number.
#
# ## Seven loops
#
# Each output pixel is the sum of the input pixels under the kernel, each times its weight. In the notation of minivae:
# x (N, C, H, W) are N images of C channels, w (OC, C, KH, KW) is the kernel, y (N, OC, OH, OW).

# %%
import numpy as np


def loops(x: np.ndarray, w: np.ndarray, stride: int = 1) -> np.ndarray:
    (N, C, H, W), (OC, _, KH, KW) = x.shape, w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    y = np.zeros((N, OC, OH, OW))
    for n in range(N):
        for o in range(OC):
            for i in range(OH):
                for j in range(OW):
                    for c in range(C):
                        for p in range(KH):
                            for q in range(KW):
                                y[n, o, i, j] += w[o, c, p, q] * x[n, c, i * stride + p, j * stride + q]
    return y


x = np.arange(16.0).reshape(1, 1, 4, 4)
w = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
print(x[0, 0])
print(loops(x, w)[0, 0])
# > [[ 0.  1.  2.  3.]
# >  [ 4.  5.  6.  7.]
# >  [ 8.  9. 10. 11.]
# >  [12. 13. 14. 15.]]
# > [[ 34.  44.  54.]
# >  [ 74.  84.  94.]
# >  [114. 124. 134.]]

# %% [markdown]
# The first output is 1 * 0 + 2 * 1 + 3 * 4 + 4 * 5 = 34.
#
# ## im2col: one matrix product
#
# Write the patch under the kernel, four numbers, as a row: nine places of the kernel make a matrix P of 9 x 4. The
# kernel is a column of four weights. Then y = P w, and a matrix product is what processors do fastest. A column of P
# belongs to one *tap*, a position (p, q) of the kernel: it is the image moved by that tap.


# %%
def im2col(x: np.ndarray, K: int, stride: int = 1) -> np.ndarray:
    """x (H, W) -> its patches (OH * OW, K * K)."""
    OH, OW = (x.shape[0] - K) // stride + 1, (x.shape[1] - K) // stride + 1
    places = [(i * stride, j * stride) for i in range(OH) for j in range(OW)]
    return np.array([x[i : i + K, j : j + K].ravel() for i, j in places])


P = im2col(x[0, 0], 2)
print(P)
print(P @ w.ravel())
# > [[ 0.  1.  4.  5.]
# >  [ 1.  2.  5.  6.]
# >  [ 2.  3.  6.  7.]
# >  [ 4.  5.  8.  9.]
# >  [ 5.  6.  9. 10.]
# >  [ 6.  7. 10. 11.]
# >  [ 8.  9. 12. 13.]
# >  [ 9. 10. 13. 14.]
# >  [10. 11. 14. 15.]]
# > [ 34.  44.  54.  74.  84.  94. 114. 124. 134.]

# %% [markdown]
# ## The weight gradient
#
# Each weight is used nine times, once at each place, so its gradient is the sum over the places: dw = P^T dy.

# %%
dy = np.arange(1.0, 10.0)
print(P.T @ dy)
# > [303. 348. 483. 528.]

# %% [markdown]
# ## The 9 x 16 matrix
#
# A convolution is linear in x, so there is a matrix A with y = A x, x being the 16 pixels in a row. Each row of A holds
# the four weights at the places of one patch, and zeros. To see it, convolve images in which one pixel is 1.

# %%
A = np.array([loops(e.reshape(1, 1, 4, 4), w).ravel() for e in np.eye(16)]).T
for row in A[:4].astype(int):
    print("".join(f"{a or '.':>2}" for a in row))
print(np.array_equal(A @ x.ravel(), loops(x, w).ravel()))
# >  1 2 . . 3 4 . . . . . . . . . .
# >  . 1 2 . . 3 4 . . . . . . . . .
# >  . . 1 2 . . 3 4 . . . . . . . .
# >  . . . . 1 2 . . 3 4 . . . . . .
# > True

# %% [markdown]
# ## The input gradient is the transposed convolution
#
# If y = A x then dx = A^T dy, by the chain rule: dx_i is the sum over j of A_ji dy_j. So the gradient of a convolution
# by its input is the product with the transposed matrix. It takes 9 numbers to 16. A layer that *computes* A^T z in its
# forward pass is called a **transposed convolution**, and decoders use it because it makes images larger. (It does not
# undo the convolution: A^T is not the inverse of A.)
#
# Without the matrix: every number of dy is multiplied with the whole kernel, and added to the patch that it was made
# from. This is a *scatter*, and it is im2col backwards, col2im.


# %%
def transposed(z: np.ndarray, w: np.ndarray, stride: int = 1) -> np.ndarray:
    """z (OH, OW), w (K, K) -> (H, W) with H = (OH - 1) stride + K."""
    (OH, OW), K = z.shape, w.shape[0]
    x = np.zeros(((OH - 1) * stride + K, (OW - 1) * stride + K))
    for i in range(OH):
        for j in range(OW):
            x[i * stride : i * stride + K, j * stride : j * stride + K] += z[i, j] * w
    return x


z = dy.reshape(3, 3)
print(transposed(z, w[0, 0]))
print(np.array_equal(transposed(z, w[0, 0]).ravel(), A.T @ z.ravel()))
# > [[ 1.  4.  7.  6.]
# >  [ 7. 23. 33. 24.]
# >  [19. 53. 63. 42.]
# >  [21. 52. 59. 36.]]
# > True

# %% [markdown]
# From y = A x follows an identity that tests use, as it holds for any x and z without knowing A:
#
#     <A x, z> = <x, A^T z>     where <a, b> = a_1 b_1 + a_2 b_2 + ...

# %%
print((loops(x, w)[0, 0] * z).sum(), (x[0, 0] * transposed(z, w[0, 0])).sum())
# > 4560.0 4560.0

# %% [markdown]
# ## Stride 2, and the phases
#
# With stride 2 the kernel moves by two pixels, and y has half the size. Its transpose doubles. Written as a scatter it
# adds into memory again and again; the other way round is a *gather*: which z does output pixel h need? In one
# dimension with K = 4, pixel h gets z_i w_p for h = 2 i + p. For even h, p is 0 or 2; for odd h, it is 1 or 3. So the
# pixels of each *phase* h mod 2 need their own half of the kernel, and for each phase the transposed convolution is an
# ordinary one of stride 1 with that half, in reverse order. No zeros are put between the z and multiplied, which would
# waste three quarters of the work in two dimensions.

# %%
z1, w1 = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0, 1000.0])
scattered = np.zeros(2 * 2 + 4)
for i in range(3):
    scattered[2 * i : 2 * i + 4] += z1[i] * w1
gathered = np.zeros(8)
for phase in (0, 1):
    half = w1[phase::2]  # the taps of this phase
    gathered[phase::2] = np.convolve(z1, half)  # which runs through the taps in reverse
print(scattered.astype(int), np.array_equal(scattered, gathered))
# > [   1   10  102 1020  203 2030  300 3000] True

# %% [markdown]
# ## Sizes, and output_padding
#
# With padding p on both sides the sizes are
#
#     OH = floor((H + 2 p - K) / s) + 1              of a convolution
#     H  = (OH - 1) s + K - 2 p + output_padding     of its transpose
#
# The floor forgets: for K = 4, s = 2, p = 1 both 8 and 9 rows give 4. So the transpose cannot know which of them it
# came from, and output_padding says it: how many rows the image has at the bottom beyond the smallest that fits. It
# pads nothing with zeros; these rows are computed like all others.

# %%
import minivae as mv

F = mv.functional
for H in (8, 9):
    y = F.conv2d(np.ones((1, 1, H, H)), np.ones((1, 1, 4, 4)), stride=2, padding=1)
    print(f"{H} -> {y.shape[2]}", end="")
    for extra in (0, 1):
        back = F.conv_transpose2d(y, np.ones((1, 1, 4, 4)), stride=2, padding=1, output_padding=extra)
        print(f", with output_padding {extra} back to {back.shape[2]}", end="")
    print()
# > 8 -> 4, with output_padding 0 back to 8, with output_padding 1 back to 9
# > 9 -> 4, with output_padding 0 back to 8, with output_padding 1 back to 9

# %% [markdown]
# ## All three together, by minivae
#
# The convolution, its input gradient and its weight gradient call each other: the input gradient of a transposed
# convolution is a convolution. All of them agree with this lesson, exactly, as these numbers are whole:

# %%
t, k = mv.Tensor(x, requires_grad=True), mv.Tensor(w, requires_grad=True)
F.conv2d(t, k).backward(z.reshape(1, 1, 3, 3))
print(np.array_equal(t.grad[0, 0], transposed(z, w[0, 0])), np.array_equal(k.grad.ravel(), P.T @ dy))
# > True True

# %% [markdown]
# ## Where it stands in minivae
#
# * `kernels/reference/conv.py`: the three passes as three products of the same matrices, about 60 lines.
# * `kernels/geometry.py`: the one formula of shapes, and output_padding.
# * `kernels/cuda/taps.py`: the phases of a stride. `kernels/reference/README.md`: pictures of im2col and of the phases.
# * `minivae/ops/conv.py`: the operations, forward and backward side by side.
# * `kernels/native/conv.c`, `kernels/cuda/conv.cu`: the same, fast. Lessons 9 and 10 lead there.
#
# Exercise: `minivae learn exercise 3`, then `minivae learn check 3`.
