// Batch normalisation in training, with ReLU if requested, and its gradient. Both read their operands twice: for the sums
// over all pixels, and for the result.
//
// Sums are of bands of pixels, whatever the number of threads, and of differences from the first pixel or the mean, so
// that nothing cancels.

#pragma once

#include <cmath>

#include "problem.h"

namespace {

constexpr Int kBand = 1 << 14;  // numbers in a band

struct Norm {
  Int pixels, C;
  const float *scale, *bias;
  float epsilon;
  bool relu;

  Int rows() const { return std::max<Int>(1, kBand / C); }

  // Calls f(band's first number, its last) on all threads.
  template <class F>
  void bands(ffi::ThreadPool* pool, const F& f) const {
    parallel(pool, (pixels + rows() - 1) / rows(), [&](Int band) {
      f(band * rows() * C, std::min(pixels, (band + 1) * rows()) * C);
    });
  }

  // Sums over all pixels of what f(i, c, a, b) finds for the vector of numbers at i, of channels from c on: all a, then b.
  template <class F>
  std::vector<double> sums(ffi::ThreadPool* pool, const F& f) const {
    const Int step = rows() * C;
    float* parts = scratch<kSums>((pixels * C + step - 1) / step * 2 * C);
    bands(pool, [&](Int from, Int to) {
      float *a = parts + from / step * 2 * C, *b = a + C;
      std::fill(a, a + 2 * C, 0.f);
      for (Int i = from; i < to; i += C)
        for (Int c = 0; c < C; c += kLanes) {
          Vec more, other;
          f(i + c, c, more, other);
          store(a + c, load(a + c) + more), store(b + c, load(b + c) + other);
        }
    });
    std::vector<double> all(2 * C);
    for (Int i = 0; i < pixels * C; i += step)
      for (Int c = 0; c < 2 * C; c++) all[c] += parts[i / step * 2 * C + c];
    return all;
  }

  // What each channel is multiplied by, then what is added.
  const float* line(const float* mean, const float* var) const {
    float* out = scratch<kKernel>(2 * C);
    for (Int c = 0; c < C; c++) {
      out[c] = scale[c] / std::sqrt(var[c] + epsilon);
      out[C + c] = bias[c] - mean[c] * out[c];
    }
    return out;
  }
};

inline void norm(const Norm& n, const float* x, float* y, float* mean, float* var, ffi::ThreadPool* pool) {
  const auto sums = n.sums(pool, [&](Int i, Int c, Vec& first, Vec& second) {
    first = load(x + i) - load(x + c);
    second = first * first;
  });
  for (Int c = 0; c < n.C; c++) {
    const double shift = sums[c] / n.pixels;
    mean[c] = x[c] + shift, var[c] = sums[n.C + c] / n.pixels - shift * shift;
    if (var[c] < 0) var[c] = 0;
  }
  const float *slope = n.line(mean, var), *offset = slope + n.C;
  n.bands(pool, [&](Int from, Int to) {
    for (Int i = from; i < to; i += n.C)
      for (Int c = 0; c < n.C; c += kLanes) {
        const Vec v = load(slope + c) * load(x + i + c) + load(offset + c);
        store(y + i + c, n.relu ? masked(v, ~(v <= Vec{})) : v);
      }
  });
}

inline void norm_back(const Norm& n, const float* dy, const float* x, const float* mean, const float* var, float* dx,
                      float* dscale, float* dbias, ffi::ThreadPool* pool) {
  const float *slope = n.line(mean, var), *offset = slope + n.C;
  auto through = [&](Int i, Int c) {  // what ReLU lets through
    const Vec g = load(dy + i);
    return n.relu ? masked(g, load(slope + c) * load(x + i) + load(offset + c) > Vec{}) : g;
  };
  const auto sums = n.sums(pool, [&](Int i, Int c, Vec& first, Vec& second) {
    first = through(i, c);
    second = first * (load(x + i) - load(mean + c));
  });
  float *by = scratch<kLeft>(2 * n.C), *plus = by + n.C;
  for (Int c = 0; c < n.C; c++) {
    const double within = var[c] + n.epsilon, first = sums[c], second = sums[n.C + c];
    dbias[c] = first, dscale[c] = second / std::sqrt(within);
    by[c] = -slope[c] * second / (within * n.pixels);
    plus[c] = -slope[c] * first / n.pixels - by[c] * mean[c];
  }
  n.bands(pool, [&](Int from, Int to) {
    for (Int i = from; i < to; i += n.C)
      for (Int c = 0; c < n.C; c += kLanes)
        store(dx + i + c, load(slope + c) * through(i + c, c) + (load(by + c) * load(x + i + c) + load(plus + c)));
  });
}

}  // namespace
