// Gradients of weights: at each tap of the window, or point of Winograd, the product of images C x pixels and slopes
// pixels x O.
//
// A block of the result belongs to one item of work, which sums over all pixels in their order: so it does not depend on
// the number of threads. Both factors are packed, kWide columns at a time.

#pragma once

#include "winograd.h"

namespace {

constexpr Int kHeight = 256, kWidth = 128, kDots = 128;  // most rows and columns of a block; pixels at a time
constexpr Int kPoints = 1 << 23;         // of all tiles, in numbers, that may wait in memory
constexpr Int kFew = 24;                 // weights of a tap for each tile, so that the sums would take longer than the tiles
constexpr Int kItems = 16;               // of work, at least, where pixels suffice

// `count` things in pieces of nearly the same size, a multiple of `unit`, at most `most`.
struct Pieces {
  Int count, each;
  Pieces(Int count, Int most, Int unit) : count(count) {
    const Int pieces = (count + most - 1) / most, units = (count + unit - 1) / unit;
    each = (units + pieces - 1) / pieces * unit;
  }
  Int number() const { return (count + each - 1) / each; }
  Int begin(Int i) const { return i * each; }
  Int size(Int i) const { return std::min(each, count - i * each); }
};

// Position in a factor that is packed as above, where all of its panels are full.
inline Int paneled(Int row, Int column, Int rows) { return (column / kWide * rows + row) * kWide + column % kWide; }

// Windows and strides of all kinds: rows of the result are (tap, channel), several taps at a time where channels are few.
inline void gathered_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int taps = p.kh * p.kw, size = taps * p.C * p.O, each = p.HO * p.WO, pixels = p.B * each;
  const Pieces groups(taps, std::max<Int>(1, kHeight / p.C), 1), channels(p.C, kHeight, kLanes);
  const Pieces outputs(p.O, kWidth, kWide);
  const Int blocks = groups.number() * channels.number() * outputs.number();
  const Int parts = std::clamp<Int>(kItems / blocks, 1, std::max<Int>(1, pixels / 1024));
  float* sums = parts > 1 ? scratch<kSums>(parts * size) : dw;
  parallel(pool, parts * blocks, [&](Int item) {
    const Int part = item / blocks, rest = item % blocks / groups.number(), group = item % groups.number();
    const Int across = rest % outputs.number(), down = rest / outputs.number(), tap = groups.begin(group);
    const Int c = channels.begin(down), height = channels.size(down), o = outputs.begin(across);
    const Int width = outputs.size(across), some = groups.size(group), rows = some * height;
    float *left = scratch<kLeft>(kDots * (rows + kWide)), *right = scratch<kRight>(kDots * (width + kWide));
    const float** from = pointers<0>(rows);
    float** to = pointers<1>(rows);
    for (Int r = 0; r < rows; r++) {
      from[r] = left + paneled(0, r, kDots);
      to[r] = sums + part * size + ((tap + r / height) * p.C + c + r % height) * p.O + o;
    }
    bool add = false;
    Int dots = 0;
    auto finish = [&] {
      multiply(rows, width, {from, dots, kWide}, {right, width, kDots}, to, add);
      add = true, dots = 0;
    };
    for (Int i = pixels * part / parts; i < pixels * (part + 1) / parts; i++) {
      const Int b = i / each, h = i % each / p.WO * p.stride - p.top, w = i % p.WO * p.stride - p.left;
      bool any = false;
      for (Int t = 0; t < some; t++) {
        const Int row = h + (tap + t) / p.kw, column = w + (tap + t) % p.kw;
        const bool inside = row >= 0 && column >= 0 && row < p.H && column < p.W;
        const float* pixel = x + ((b * p.H + row) * p.W + column) * p.C + c;
        any |= inside;
        if (!inside) for (Int k = 0; k < height; k++) left[paneled(dots, t * height + k, kDots)] = 0;
        else if (height % kLanes) for (Int k = 0; k < height; k++) left[paneled(dots, t * height + k, kDots)] = pixel[k];
        else for (Int k = 0; k < height; k += kLanes) store(left + paneled(dots, t * height + k, kDots), load(pixel + k));
      }
      if (!any) continue;
      for (Int k = 0; k < width; k += kLanes) store(right + packed(dots, k, kDots, width), load(dy + i * p.O + o + k));
      if (++dots == kDots) finish();
    }
    if (dots) finish();
    for (Int r = 0; !add && r < rows; r++) std::fill(to[r], to[r] + width, 0.f);
  });
  if (parts > 1)
    parallel(pool, taps * p.C, [&](Int row) {
      for (Int i = row * p.O; i < (row + 1) * p.O; i += kLanes) {
        Vec sum = load(sums + i);
        for (Int part = 1; part < parts; part++) sum += load(sums + part * size + i);
        store(dw + i, sum);
      }
    });
}

// Winograd, a few tiles after the other.
inline void winograd_weights_shallow(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int tiles = p.C * p.O < 8192 ? 2 * kTiles : 4 * kTiles;  // the sums pass through memory once for each
  const Int size = apart(p.C * p.O), all = p.B * p.rows() * p.columns();
  const Int parts = std::min(p.B, std::clamp<Int>(std::min((1 << 19) / (p.C * p.O), all / tiles), 2, 16));
  const Int data = apart(tiles * p.C), result = apart(tiles * p.O);
  const Size want = p.reach(2), inner = p.reach(0);
  float* sums = scratch<kSums>(parts * 36 * size);
  parallel(pool, parts, [&](Int part) {
    float *v = scratch<kLeft>(36 * data), *z = scratch<kRight>(36 * result);
    const float** from = pointers<0>(p.C);
    float** to = pointers<1>(p.C);
    bool add = false;
    Int count = 0;
    auto finish = [&] {
      for (int q = 0; q < 36; q++) {
        for (Int c = 0; c < p.C; c++) from[c] = v + q * data + c, to[c] = sums + (part * 36 + q) * size + c * p.O;
        multiply(p.C, p.O, {from, count, p.C}, {z + q * result, p.O}, to, add);
      }
      add = true, count = 0;
    };
    for (Int b = p.B * part / parts; b < p.B * (part + 1) / parts; b++) {
      const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, want);
      const float* slope = padded<kProduct>(dy, b, {p.HO, p.WO}, p.O, 0, 0, inner);
      for (Int h = 0; h < p.rows(); h++)
        for (Int w = 0; w < p.columns(); w++) {
          to_points<kData>(image + (h * want.width + w) * 4 * p.C, want.width * p.C, p.C, v + count * p.C, data);
          to_points<kResult, true>(slope + (h * inner.width + w) * 4 * p.O, inner.width * p.O, p.O, z + count * p.O,
                                   result);
          if (++count == tiles) finish();
        }
    }
    if (count) finish();
  });
  parallel(pool, p.C, [&](Int c) {
    for (Int i = c * p.O; i < (c + 1) * p.O; i += kLanes) {
      auto total = [&](int r, int s) {
        Vec sum = {};
        for (Int part = 0; part < parts; part++) sum += load(sums + (part * 36 + 6 * r + s) * size + i);
        return sum;
      };
      transform<kWeights, true>(total, [&](int r, int s, Vec v) { store(dw + (3 * r + s) * p.C * p.O + i, v); });
    }
  });
}

// Winograd where all tiles fit into memory as points: then no sum passes through memory more than once.
inline void winograd_weights_deep(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int each = p.rows() * p.columns(), tiles = p.B * each;
  const Int data = apart(tiles * (p.C + kLanes)), result = apart(tiles * p.O);
  const Size want = p.reach(2), inner = p.reach(0);
  float *v = scratch<kLeft>(36 * data), *z = scratch<kRight>(36 * result);
  parallel(pool, p.B, [&](Int b) {
    const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, want);
    const float* slope = padded<kProduct>(dy, b, {p.HO, p.WO}, p.O, 0, 0, inner);
    for (Int t = 0; t < each; t++) {
      const Int h = t / p.columns() * 4, w = t % p.columns() * 4, row = b * each + t;
      for (Int c = 0; c < p.C; c += kLanes)
        vector_to_points<kData>(image + (h * want.width + w) * p.C + c, want.width * p.C, p.C,
                         v + paneled(row, c, tiles), data);
      for (Int o = 0; o < p.O; o += kLanes)
        vector_to_points<kResult, true>(slope + (h * inner.width + w) * p.O + o, inner.width * p.O, p.O,
                                 z + packed(row, o, tiles, p.O), result);
    }
  });
  const Pieces channels(p.C, kSlab / 2, kLanes), outputs(p.O, kSlab, kWide);
  parallel(pool, channels.number() * outputs.number(), [&](Int item) {
    const Int down = item / outputs.number(), across = item % outputs.number();
    const Int c = channels.begin(down), height = channels.size(down), o = outputs.begin(across);
    const Int width = outputs.size(across), size = apart(height * width);
    float* sums = scratch<kSums>(36 * size);
    const float** from = pointers<0>(height);
    float** to = pointers<1>(height);
    for (int q = 0; q < 36; q++) {
      for (Int r = 0; r < height; r++) {
        from[r] = v + q * data + paneled(0, c + r, tiles);
        to[r] = sums + q * size + r * width;
      }
      multiply(height, width, {from, tiles, kWide}, {z + q * result + o * tiles, width, tiles}, to);
    }
    for (Int r = 0; r < height; r++)
      for (Int k = 0; k < width; k += kLanes)
        transform<kWeights, true>(
            [&](int i, int j) { return load(sums + (6 * i + j) * size + r * width + k); },
            [&](int i, int j, Vec sum) { store(dw + ((3 * i + j) * p.C + c + r) * p.O + o + k, sum); });
  });
}

inline void winograd_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int tiles = p.B * p.rows() * p.columns(), points = 36 * tiles * std::max(p.C, p.O);
  const bool few = kFew * tiles <= p.C * p.O && points <= kPoints;
  (few ? winograd_weights_deep : winograd_weights_shallow)(p, x, dy, dw, pool);
}

}  // namespace
