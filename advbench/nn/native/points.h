// Winograd: polynomials multiplied at the points 0, a, -a, b, -b and infinity.

#pragma once

#include "vectors.h"

namespace {

constexpr float a1 = 0.70710678118654752f, b1 = 1.4142135623730951f;
constexpr float a2 = a1 * a1, b2 = b1 * b1, a3 = a1 * a2, b3 = b1 * b2;
constexpr float n0 = 1 / (a2 * b2), na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));

constexpr float kData[6][6] = {{a2 * b2, 0, -a2 - b2, 0, 1, 0},    {0, -a1 * b2, -b2, a1, 1, 0},
                               {0, a1 * b2, -b2, -a1, 1, 0},       {0, -b1 * a2, -a2, b1, 1, 0},
                               {0, b1 * a2, -a2, -b1, 1, 0},       {0, a2 * b2, 0, -a2 - b2, 0, 1}};
constexpr float kWeights[6][3] = {{n0, 0, 0},             {na, na * a1, na * a2},  {na, -na * a1, na * a2},
                                  {nb, nb * b1, nb * b2}, {nb, -nb * b1, nb * b2}, {0, 0, 1}};
constexpr float kResult[4][6] = {
    {1, 1, 1, 1, 1, 0}, {0, a1, -a1, b1, -b1, 0}, {0, a2, a2, b2, b2, 0}, {0, a3, -a3, b3, -b3, 1}};

// Multiplies six values, or three or four, by a matrix or, for a gradient, by its transpose.
template <auto& matrix, bool back>
struct Line {
  static constexpr int rows = sizeof matrix / sizeof matrix[0], columns = sizeof matrix[0] / sizeof(float);
  static constexpr int in = back ? rows : columns, out = back ? columns : rows;
  static ALWAYS void times(const Vec (&v)[in], Vec (&sum)[out]) {
#pragma GCC unroll 6
    for (int i = 0; i < out; i++) {
      sum[i] = Vec{};
#pragma GCC unroll 6
      for (int k = 0; k < in; k++)
        if (const float m = back ? matrix[k][i] : matrix[i][k]; m != 0) sum[i] += m * v[k];
    }
  }
};

// The two that run most share what the points a and -a have in common.
template <>
ALWAYS void Line<kData, false>::times(const Vec (&v)[6], Vec (&sum)[6]) {
  const Vec ea = v[4] - b2 * v[2], oa = a1 * (v[3] - b2 * v[1]), eb = v[4] - a2 * v[2], ob = b1 * (v[3] - a2 * v[1]);
  sum[0] = a2 * b2 * v[0] - (a2 + b2) * v[2] + v[4];
  sum[1] = ea + oa, sum[2] = ea - oa, sum[3] = eb + ob, sum[4] = eb - ob;
  sum[5] = a2 * b2 * v[1] - (a2 + b2) * v[3] + v[5];
}

template <>
ALWAYS void Line<kResult, false>::times(const Vec (&v)[6], Vec (&sum)[4]) {
  const Vec sa = v[1] + v[2], da = v[1] - v[2], sb = v[3] + v[4], db = v[3] - v[4];
  sum[0] = v[0] + sa + sb, sum[1] = a1 * da + b1 * db, sum[2] = a2 * sa + b2 * sb, sum[3] = a3 * da + b3 * db + v[5];
}

// Multiplies a tile from both sides, from where read(i, j) gives its elements to where write(i, j, v) takes them.
template <auto& matrix, bool back = false, class Read, class Write>
ALWAYS void transform(const Read& read, const Write& write) {
  using L = Line<matrix, back>;
  Vec half[L::out][L::in];
#pragma GCC unroll 6
  for (int j = 0; j < L::in; j++) {
    Vec v[L::in], w[L::out];
#pragma GCC unroll 6
    for (int i = 0; i < L::in; i++) v[i] = read(i, j);
    L::times(v, w);
#pragma GCC unroll 6
    for (int i = 0; i < L::out; i++) half[i][j] = w[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < L::out; i++) {
    Vec w[L::out];
    L::times(half[i], w);
#pragma GCC unroll 6
    for (int j = 0; j < L::out; j++) write(i, j, w[j]);
  }
}

}  // namespace
