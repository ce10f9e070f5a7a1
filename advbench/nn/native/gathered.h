// Direct convolution of any window and stride, and its gradient for the images: the product of pixels, gathered where
// they lie, with one matrix C x O for each tap of the window.

#pragma once

#include "gemm.h"
#include "problem.h"

namespace {

constexpr Int kPixels = 72;  // outputs at a time

// The outputs of one image from (top, left) on, in steps, and the taps that reach them: the input of tap (dh, dw) lies at
// (h * step + dh, w * step + dw) for output number (h, w).
struct Phase {
  Int top, left, height, width, step;  // of the outputs
  struct Tap { Int dh, dw, index; };
  std::vector<Tap> taps;
};

// `in` is the step of inputs between outputs of a phase.
inline void gathered(const Problem& p, const Phase& phase, Int in, const float* x, const float* w, float* y,
                     ffi::ThreadPool* pool) {
  const Int count = phase.height * phase.width, pixels = p.B * count, taps = phase.taps.size(), depth = taps * p.C;
  if (pixels == 0) return;
  float* right = scratch<kKernel>(depth * p.O);
  parallel(pool, taps, [&](Int g) {
    const float* from = w + phase.taps[g].index * p.C * p.O;
    for (Int j = 0; j < p.O; j += kWide) {
      const Int width = std::min(kWide, p.O - j);
      float* to = right + packed(g * p.C, j, depth, p.O);
      for (Int c = 0; c < p.C; c++)
        for (Int o = 0; o < width; o += kLanes) store(to + c * width + o, load(from + c * p.O + j + o));
    }
  });
  const Int threads = pool ? pool->num_threads() : 1;
  const Int some = std::clamp<Int>(pixels / (4 * threads) / kRows * kRows, kRows, kPixels);
  parallel(pool, (pixels + some - 1) / some, [&](Int item) {
    const Int first = item * some, m = std::min(some, pixels - first);
    const float* zeros = scratch<kZeros>(p.C);
    const float** from = pointers<0>(taps * m);
    float** to = pointers<1>(m);
    for (Int i = 0; i < m; i++) {
      const Int b = (first + i) / count, h = (first + i) % count / phase.width, v = (first + i) % phase.width;
      to[i] = y + ((b * p.HO + phase.top + h * phase.step) * p.WO + phase.left + v * phase.step) * p.O;
      for (Int g = 0; g < taps; g++) {
        const Int row = h * in + phase.taps[g].dh, column = v * in + phase.taps[g].dw;
        const bool inside = row >= 0 && column >= 0 && row < p.H && column < p.W;
        from[g * m + i] = inside ? x + ((b * p.H + row) * p.W + column) * p.C : zeros;
      }
    }
    if (taps) multiply(m, p.O, {from, p.C, 1, taps, m}, {right, p.O, depth}, to);
    else
      for (Int i = 0; i < m; i++) std::fill(to[i], to[i] + p.O, 0.f);
  });
}

inline void gathered(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool) {
  Phase phase = {0, 0, p.HO, p.WO, 1};
  for (Int i = 0; i < p.kh; i++)
    for (Int j = 0; j < p.kw; j++) phase.taps.push_back({i - p.top, j - p.left, i * p.kw + j});
  gathered(p, phase, p.stride, x, w, y, pool);
}

inline Int modulo(Int a, Int b) { return (a % b + b) % b; }

// The gradient: x is that of the outputs, and y that of the images; kh x kw weights with channels exchanged. A pixel is
// reached by every stride-th tap, so there is a phase for each remainder.
inline void gathered_back(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool) {
  const Int s = p.stride;
  for (Int r = 0; r < s; r++)
    for (Int c = 0; c < s; c++) {
      Phase phase = {r, c, (p.HO - r + s - 1) / s, (p.WO - c + s - 1) / s, s};
      for (Int i = modulo(r + p.top, s); i < p.kh; i += s)
        for (Int j = modulo(c + p.left, s); j < p.kw; j += s)
          phase.taps.push_back({(r + p.top - i) / s, (c + p.left - j) / s, i * p.kw + j});
      gathered(p, phase, 1, x, w, y, pool);
    }
}

}  // namespace
