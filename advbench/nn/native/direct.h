// Direct convolution: few channels on one side, each row of an image after the other.

#pragma once

#include "gemm.h"
#include "problem.h"

namespace {

// The windows of an output row, kh x kw C each, overlap in memory: they are a matrix as they lie.
inline void direct(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                   const After& after) {
  const Int window = after.window, height = p.HO / window, wide = p.WO / window, row = p.WO * p.O;
  parallel(pool, p.B, [&](Int b) {
    const Size want = {(p.HO - 1) * p.stride + p.kh, (p.WO - 1) * p.stride + p.kw};
    const Int width = want.width * p.C;
    const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, want);
    float* fresh = after.bias ? scratch<kProduct>(window * row) : nullptr;
    const float** from = pointers<0>(p.kh * p.WO);
    float** to = pointers<1>(p.WO);
    for (Int h = 0; h < height * window; h++) {
      float* out = fresh ? fresh + h % window * row : y + (b * p.HO + h) * row;
      for (Int i = 0; i < p.kh; i++)
        for (Int c = 0; c < p.WO; c++) from[i * p.WO + c] = image + (h * p.stride + i) * width + c * p.stride * p.C;
      for (Int c = 0; c < p.WO; c++) to[c] = out + c * p.O;
      multiply(p.WO, p.O, {from, p.kw * p.C, 1, p.kh, p.WO}, {w, p.O}, to);
      if (!fresh || h % window < window - 1) continue;
      const Int at = (b * height + h / window) * wide * p.O;
      Byte* codes = after.codes ? after.codes + at : nullptr;
      (window == 1 ? emit_row<1> : emit_row<2>)(fresh, after.bias, p.O, wide, row, y + at, codes);
    }
  });
}

inline void direct_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int parts = std::min<Int>(p.B, 16), size = 9 * p.C * p.O;
  float* sums = scratch<kSums>(parts * size);
  parallel(pool, parts, [&](Int part) {
    const Int width = (p.WO + 2) * p.C, begin = p.B * part / parts, end = p.B * (part + 1) / parts, rows = 3 * p.C;
    const float** from = pointers<0>(p.HO * rows);
    float** to = pointers<1>(rows);
    for (Int b = begin; b < end; b++) {
      const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, {p.HO + 2, p.WO + 2});
      for (int i = 0; i < 3; i++) {
        for (Int h = 0; h < p.HO; h++)
          for (Int c = 0; c < rows; c++) from[h * rows + c] = image + (h + i) * width + c;
        for (Int c = 0; c < rows; c++) to[c] = sums + part * size + (i * rows + c) * p.O;
        multiply(rows, p.O, {from, p.WO, p.C, p.HO, rows}, {dy + b * p.HO * p.WO * p.O, p.O}, to, b > begin);
      }
    }
  });
  std::copy(sums, sums + size, dw);
  for (Int i = size; i < parts * size; i++) dw[i % size] += sums[i];
}

// Few outputs: every pixel times all 9 O weights in one product, then each output gathers its nine.
inline void direct_few(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                       const Before& before) {
  const Int taps = (9 * p.O + kLanes - 1) / kLanes * kLanes;
  float* flat = scratch<kKernel>(p.C * taps);
  std::fill(flat, flat + p.C * taps, 0.f);
  for (Int i = 0; i < 9 * p.C * p.O; i++) flat[i / p.O % p.C * taps + i / (p.C * p.O) * p.O + i % p.O] = w[i];
  parallel(pool, p.B, [&](Int b) {
    const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, {p.HO + 2, p.WO + 2}, before);
    const Int width = p.WO + 2, pixels = (p.HO + 2) * width;
    float* m = scratch<kProduct>(pixels * taps);
    const float** from = pointers<0>(pixels);
    float** to = pointers<1>(pixels);
    for (Int i = 0; i < pixels; i++) from[i] = image + i * p.C, to[i] = m + i * taps;
    multiply(pixels, taps, {from, p.C}, {flat, taps}, to);
    float* out = y + b * p.HO * p.WO * p.O;
    for (Int h = 0; h < p.HO; h++)
      for (Int c = 0; c < p.WO; c++)
        for (Int o = 0; o < p.O; o++) {
          float sum = 0;
          for (int q = 0; q < 9; q++) sum += m[((h + q / 3) * width + c + q % 3) * taps + q * p.O + o];
          *out++ = sum;
        }
  });
}

}  // namespace
