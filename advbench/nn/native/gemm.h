// The matrix product: row m of the result (+)= sum over k of left(m, k) times row k of the right matrix.
//
// Rows of the left matrix and of the result lie anywhere: there is a pointer to each. So a window of an image is a row
// of the left matrix where it lies. k always runs in the same order, whatever the blocks are.

#pragma once

#include "vectors.h"

namespace {

constexpr Int kWide = 2 * kLanes;  // columns at a time
constexpr Int kDepth = 256;        // k at a time: what the first cache holds of kWide columns

// Pieces of the left matrix that follow each other in k: row m of piece g begins `from` after rows[g * stride + m].
struct Left {
  const float* const* rows;
  Int depth;  // how many k in a piece
  // run: so many products are summed before the sum is added to others, which keeps rounding small
  Int step = 1, pieces = 1, stride = 0, from = 0, run = kDepth;
};

// The right matrix as it lies, or packed: kWide columns at a time, each time all of its rows.
struct Right {
  const float* at;
  Int columns, rows = 0;  // rows only if packed
  Int width(Int column) const { return rows ? std::min(kWide, columns - column) : columns; }
  const float* column(Int j) const { return at + (rows ? j * rows : j); }
};

// Position in a packed matrix.
inline Int packed(Int row, Int column, Int rows, Int columns) {
  const Int panel = column / kWide * kWide;
  return panel * rows + row * std::min(kWide, columns - panel) + column - panel;
}

template <int M, int N>
void block(const Left& a, const float* b, Int width, float* const* c, Int column, bool add) {
  Vec sum[M][N] = {};
  auto finish = [&] {
#pragma GCC unroll 12
    for (int m = 0; m < M; m++)
#pragma GCC unroll 2
      for (int n = 0; n < N; n++) {
        float* to = c[m] + column + n * kLanes;
        store(to, add ? load(to) + sum[m][n] : sum[m][n]);
        sum[m][n] = Vec{};
      }
    add = true;
  };
  const Int depth = a.depth * a.step, run = a.run * a.step;
  Int summed = 0;
  for (Int g = 0; g < a.pieces; g++) {
    const float* p[M];
#pragma GCC unroll 12
    for (int m = 0; m < M; m++) p[m] = a.rows[g * a.stride + m] + a.from;
    for (Int k = 0; k < depth;) {
      if (summed >= run) finish(), summed = 0;
      const Int end = std::min(depth, k + run);
      summed += end - k;
      for (; k < end; k += a.step, b += width) {
        Vec right[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) right[n] = load(b + n * kLanes);
#pragma GCC unroll 12
        for (int m = 0; m < M; m++)
#pragma GCC unroll 2
          for (int n = 0; n < N; n++) sum[m][n] += p[m][k] * right[n];
      }
    }
  }
  finish();
}

// The block of that many rows, at most M.
template <int M, int N>
void rows(Int m, const Left& a, const float* b, Int width, float* const* c, Int column, bool add) {
  if (m == M) return block<M, N>(a, b, width, c, column, add);
  if constexpr (M > 1) rows<M - 1, N>(m, a, b, width, c, column, add);
}

// Blocks of nearly the same height, so that none is so low that its sums wait for each other.
template <int N>
void panel(Int m, Left a, const float* b, Int width, float* const* c, Int column, bool add) {
  for (Int left = (m + kRows - 1) / kRows; left > 0; left--) {
    const Int some = m / left;
    rows<kRows, N>(some, a, b, width, c, column, add);
    m -= some, a.rows += some, c += some;
  }
}

// m x n results, n a multiple of kLanes, from c[row] on; at most kDepth k at a time.
inline void multiply(Int m, Int n, const Left& a, const Right& b, float* const* c, bool add = false) {
  const Int some = std::max<Int>(1, kDepth / a.depth);
  for (Int g = 0; g < a.pieces; g += some)
    for (Int k = 0; k < a.depth; k += kDepth, add = true) {
      const Left part = {a.rows + g * a.stride, std::min(kDepth, a.depth - k), a.step, std::min(some, a.pieces - g),
                         a.stride, a.from + k * a.step, a.run};
      for (Int j = 0; j < n; j += kWide) {
        const float* right = b.column(j) + (g * a.depth + k) * b.width(j);
        (n - j < kWide ? panel<1> : panel<2>)(m, part, right, b.width(j), c, j, add);
      }
    }
}

}  // namespace
