// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308): windows 3x3 of stride 1.
//
// A tile of 6x6 pixels becomes 36 points, so do the weights, and at each point tiles x C times C x O is one product;
// its 36 results become 4x4 pixels.

#pragma once

#include "gemm.h"
#include "points.h"
#include "problem.h"

namespace {

constexpr Int kTiles = 24, kSlab = 64;  // tiles and outputs at a time: what the second cache holds
constexpr Int kDeep = 1 << 14;          // most weights of a tap whose points may pass through the cache for each kTiles
constexpr Int kChunk = 1 << 22;         // points of tiles at a time, in numbers, where weights are more than that
constexpr Int kRun = 64;                // products in a sum: longer ones cost accuracy, which the points amplify
// Distance between the matrices of two points, off the powers of two that crowd one set of the cache.
inline Int apart(Int floats) { return floats + 16; }

// Takes a tile, whose rows are a line apart and pixels C, to the 36 points, which are a stride apart: a vector of it, or
// all channels.
template <auto& matrix, bool back = false>
ALWAYS void vector_to_points(const float* tile, Int line, Int C, float* out, Int stride) {
  transform<matrix, back>([&](int i, int j) { return load(tile + i * line + j * C); },
                          [&](int i, int j, Vec v) { store(out + (6 * i + j) * stride, v); });
}

template <auto& matrix, bool back = false>
void to_points(const float* tile, Int line, Int C, float* out, Int stride) {
  for (Int c = 0; c < C; c += kLanes) vector_to_points<matrix, back>(tile + c, line, C, out + c, stride);
}

// Weights of the outputs from `first` on, `width` of them, to matrices C x width, packed, a stride apart.
inline void kernel_points(const Problem& p, const float* w, Int first, Int width, Int begin, Int end, float* u,
                          Int stride) {
  for (Int c = begin; c < end; c++)
    for (Int o = 0; o < width; o += kLanes) {
      const float* from = w + c * p.O + first + o;
      float* to = u + packed(c, o, p.C, width);
      transform<kWeights>([&](int r, int s) { return load(from + (3 * r + s) * p.C * p.O); },
                          [&](int r, int s, Vec v) { store(to + (6 * r + s) * stride, v); });
    }
}

// Products of the points of `count` tiles, and what they become: outputs from `first` on, `width` of them.
struct Outputs {
  const Problem& p;
  float* y;
  const After& after;

  void operator()(Int tile, Int count, const float* v, Int data, const float* u, Int kernel, Int first, Int width,
                  Int slab) const {
    const Int result = apart(count * width);
    float* m = scratch<kProduct>(36 * result);
    const float** from = pointers<0>(count);
    float** to = pointers<1>(count);
    for (int q = 0; q < 36; q++) {
      for (Int t = 0; t < count; t++) from[t] = v + q * data + t * p.C, to[t] = m + q * result + t * width;
      multiply(count, width, {from, p.C, 1, 1, 0, 0, kRun}, {u + q * kernel + slab * p.C, width, p.C}, to);
    }
    for (Int t = 0; t < count; t++) emit_points(tile + t, m + t * width, result, first, width);
  }

  void emit_points(Int t, const float* m, Int stride, Int first, Int width) const {
    const Int window = after.window, height = p.HO / window, wide = p.WO / window, each = p.rows() * p.columns();
    const Int h = t % each / p.columns() * 4 / window, c = t % p.columns() * 4 / window, line = wide * p.O;
    const Int rows = std::min<Int>(4 / window, height - h), columns = std::min<Int>(4 / window, wide - c);
    for (Int o = 0; o < width; o += kLanes) {
      Vec tile[4][4];
      transform<kResult>([&](int i, int j) { return load(m + (6 * i + j) * stride + o); },
                         [&](int i, int j, Vec v) { tile[i][j] = v; });
      const Int at = (t / each * height * wide + h * wide + c) * p.O + first + o;
      if (after.bias) {
        const Vec bias = load(after.bias + first + o);
        Byte* codes = after.codes ? after.codes + at : nullptr;
        if (window == 1) emit_tile<1>(tile, bias, rows, columns, p.O, line, y + at, codes);
        else emit_tile<2>(tile, bias, rows, columns, p.O, line, y + at, codes);
        continue;
      }
      for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) store(y + at + i * line + j * p.O, tile[i][j]);
    }
  }
};

// The points of tiles first ... first + count - 1, where tile t of an image is its t-th in row-major order.
inline void data_points(const Problem& p, const float* x, Int first, Int count, const Before& before, float* v,
                        Int data) {
  const Int each = p.rows() * p.columns(), image = p.H / before.window * (p.W / before.window) * p.C;
  for (Int t = first; t < first + count; t++, v += p.C) {
    const Int b = t / each, h = t % each / p.columns() * 4 - p.top, w = t % p.columns() * 4 - p.left;
    const bool inside = h >= 0 && w >= 0 && h + 6 <= p.H && w + 6 <= p.W && !before.codes;
    if (inside) to_points<kData>(x + b * image + (h * p.W + w) * p.C, p.W * p.C, p.C, v, data);
    else to_points<kData>(padded<kPadded>(x, b, {p.H, p.W}, p.C, -h, -w, {6, 6}, before), 6 * p.C, p.C, v, data);
  }
}

// Weights that the cache holds: all of them at their points once, then a few tiles after the other.
inline void winograd_shallow(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                             const After& after, const Before& before) {
  const Int kernel = apart(p.C * p.O), data = apart(kTiles * p.C), tiles = p.B * p.rows() * p.columns();
  float* u = scratch<kKernel>(36 * kernel);
  parallel(pool, p.C / kLanes, [&](Int i) {
    for (Int slab = 0; slab < p.O; slab += kSlab)
      kernel_points(p, w, slab, std::min(kSlab, p.O - slab), i * kLanes, (i + 1) * kLanes, u + slab * p.C, kernel);
  });
  const Outputs outputs{p, y, after};
  parallel(pool, (tiles + kTiles - 1) / kTiles, [&](Int item) {
    const Int first = item * kTiles, count = std::min(kTiles, tiles - first);
    float* v = scratch<kLeft>(36 * data);
    data_points(p, x, first, count, before, v, data);
    for (Int slab = 0; slab < p.O; slab += kSlab)
      outputs(first, count, v, data, u, kernel, slab, std::min(kSlab, p.O - slab), slab);
  });
}

// More weights: many tiles at their points, then a few outputs after the other, whose weights come and go.
inline void winograd_deep(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                          const After& after, const Before& before) {
  const Int tiles = p.B * p.rows() * p.columns(), most = std::max<Int>(kTiles, kChunk / (36 * p.C));
  const Int chunks = (tiles + most - 1) / most, chunk = (tiles + chunks - 1) / chunks;
  const Int threads = pool ? pool->num_threads() : 1;
  const Int share = (p.O / threads + kWide - 1) / kWide * kWide, slab = std::clamp(share, kWide, kSlab);
  const Int data = apart(chunk * p.C), kernel = apart(slab * p.C);
  float* v = scratch<kRight>(36 * data);
  const Outputs outputs{p, y, after};
  for (Int first = 0; first < tiles; first += chunk) {
    const Int count = std::min(chunk, tiles - first);
    parallel(pool, (count + 3) / 4, [&](Int i) {
      data_points(p, x, first + 4 * i, std::min<Int>(4, count - 4 * i), before, v + 4 * i * p.C, data);
    });
    parallel(pool, (p.O + slab - 1) / slab, [&](Int i) {
      const Int width = std::min(slab, p.O - i * slab);
      float* u = scratch<kKernel>(36 * kernel);
      kernel_points(p, w, i * slab, width, 0, p.C, u, kernel);
      outputs(first, count, v, data, u, kernel, i * slab, width, 0);
    });
  }
}

inline void winograd(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                     const After& after, const Before& before) {
  (p.C * p.O > kDeep ? winograd_deep : winograd_shallow)(p, x, w, y, pool, after, before);
}

}  // namespace
