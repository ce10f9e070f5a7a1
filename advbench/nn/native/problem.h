// What is convolved, what follows, and images with zeros around them.

#pragma once

#include "vectors.h"

namespace {

struct Size { Int height, width; };

struct Problem {
  Int B, H, W, C, HO, WO, O, top, left, kh = 3, kw = 3, stride = 1;
  Int rows() const { return (HO + 3) / 4; }
  Int columns() const { return (WO + 3) / 4; }
  Size reach(Int more) const { return {4 * rows() + more, 4 * columns() + more}; }  // of all tiles
};

// What follows a convolution: bias, ReLU and the maximum over disjoint windows. codes tells which pixel of its window,
// from 1, each output comes from, and 0 where ReLU let nothing through.
struct After {
  const float* bias = nullptr;
  Byte* codes = nullptr;
  Int window = 1;
};

// What a gradient went through on its way here: such codes, by which it is spread over the windows again.
struct Before {
  const Byte* codes = nullptr;
  Int window = 1;
};

inline Vec masked(Vec v, Ints keep) { return (Vec)((Ints)v & keep); }

// The first of the largest wins, and NaN wins over all: it must not be lost. All by value: bytes alias everything.
template <int pixels>
ALWAYS void emit(const Vec (&v)[pixels], Vec bias, float* y, Byte* codes) {
  Vec best = v[0];
  Ints code = Ints{} + 1;
#pragma GCC unroll 4
  for (int k = 1; k < pixels; k++) {
    const Ints better = (v[k] > best) | (v[k] != v[k]);
    best = better ? v[k] : best;
    code = better ? Ints{} + (k + 1) : code;
  }
  best += bias;
  const Ints alive = ~(best <= Vec{});
  store(y, masked(best, alive));
  if (codes) store(codes, code & alive);
}

template <int window>
ALWAYS void emit_tile(const Vec (&tile)[4][4], Vec bias, int rows, int columns, Int step, Int line, float* y,
                      Byte* codes) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) {
      const Vec* v = &tile[window * i][window * j];
      const Int at = i * line + j * step;
      if constexpr (window == 1) emit({v[0]}, bias, y + at, codes ? codes + at : nullptr);
      else emit({v[0], v[1], v[4], v[5]}, bias, y + at, codes ? codes + at : nullptr);
    }
}

// A row of the result, from `window` rows of a convolution that lie one after the other.
template <int window>
void emit_row(const float* from, const float* bias, Int O, Int wide, Int line, float* y, Byte* codes) {
  for (Int c = 0; c < wide; c++, from += window * O)
    for (Int o = 0; o < O; o += kLanes, y += kLanes, codes += codes ? kLanes : 0) {
      const float* v = from + o;
      if constexpr (window == 1) emit({load(v)}, load(bias + o), y, codes);
      else emit({load(v), load(v + O), load(v + line), load(v + line + O)}, load(bias + o), y, codes);
    }
}

// Image b, of that size, with zeros around it, where a gradient is spread over its windows again: height x width
// from (-top, -left) on. Itself where it needs none of this; else a copy that lasts until the next one of its kind.
template <Purpose kept>
const float* padded(const float* x, Int b, Size image, Int C, Int top, Int left, Size want, const Before& before = {}) {
  const Int window = before.window, height = image.height / window, width = image.width / window, line = want.width * C;
  const Byte* codes = before.codes ? before.codes + b * height * width * C : nullptr;
  x += b * height * width * C;
  if (!codes && top == 0 && left == 0 && image.width == want.width && image.height >= want.height) return x;
  const Int from = std::max<Int>(0, -left), to = std::min(width * window, want.width - left);
  float* out = scratch<kept>(want.height * line);
  std::fill(out, out + want.height * line, 0.f);
  for (Int h = std::max<Int>(0, -top); h < std::min(height * window, want.height - top); h++) {
    const Int row = h / window * width * C;
    float* copy = out + (h + top) * line + left * C;
    if (!codes && to > from) std::copy_n(x + row + from * C, (to - from) * C, copy + from * C);
    for (Int w = from; codes && w < to; w++) {
      const Ints code = Ints{} + int(h % window * window + w % window + 1);
      const Int at = row + w / window * C;
      for (Int c = 0; c < C; c += kLanes) store(copy + w * C + c, masked(load(x + at + c), load(codes + at + c) == code));
    }
  }
  return out;
}

}  // namespace
