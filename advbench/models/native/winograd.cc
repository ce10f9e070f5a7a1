// 3x3 convolution of stride 1, float32, NHWC x HWIO, on CPU, called through XLA's foreign function interface.
//
// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308) where both channel counts fill
// whole vectors; else direct. All of it rests on one matrix product. Bias, ReLU and max-pooling can follow while the
// values are still in registers. An output pixel is always summed in the same order: results depend neither on the
// batch, nor on the number of threads.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Int = int64_t;

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 6;
#endif
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));
using Byte = uint8_t;

inline Vec load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline Ints load(const Byte* p) { return __builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Ints); }
inline void store(Byte* p, Ints v) { *reinterpret_cast<Bytes*>(p) = __builtin_convertvector(v, Bytes); }

// Memory that a thread keeps from call to call, one piece for each purpose.
enum Purpose { kPadded, kKernel, kLeft, kRight, kProduct, kSums };
template <Purpose>
float* scratch(Int floats) {
  struct alignas(64) Line { float f[16]; };
  thread_local std::vector<Line> lines;
  if (Int(lines.size()) * 16 < floats) lines.resize((floats + 15) / 16);
  return lines.data()->f;
}

// Calls f(0) ... f(n - 1) on the pool's threads and on this one. A helper that starts late finds nothing left to do.
template <class F>
void parallel(ffi::ThreadPool* pool, Int n, const F& f) {
  struct State { std::atomic<Int> next{0}, done{0}; };
  auto state = std::make_shared<State>();
  std::function<void()> work = [state, n, &f] {
    for (Int i; (i = state->next++) < n; state->done++) f(i);
  };
  const Int threads = pool ? std::min(pool->num_threads(), n) : 1;
  for (Int helper = 1; helper < threads; helper++) pool->Schedule(std::function(work));
  work();
  while (state->done < n) std::this_thread::yield();
}

// ---- The matrix product: c[m, n] (+)= sum over g, k of a[m, g, k] b[g * depth + k, n]; n is a multiple of kLanes.

struct Left {
  const float* at;
  Int row, step, depth;  // strides of m and k, and how many k
  Int group = 0, groups = 1;
};

template <int M, int N>
void block(Left a, const float* b, Int ldb, float* c, Int ldc, bool add) {
  Vec sum[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sum[m][n] = add ? load(c + m * ldc + n * kLanes) : Vec{};
  for (Int g = 0; g < a.groups; g++) {
    const float* p = a.at + g * a.group;
    for (Int k = 0; k < a.depth; k++, p += a.step, b += ldb) {
      Vec right[N];
      for (int n = 0; n < N; n++) right[n] = load(b + n * kLanes);
      for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) sum[m][n] += p[m * a.row] * right[n];
    }
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) store(c + m * ldc + n * kLanes, sum[m][n]);
}

template <int M, int N>
void blocks(Int m, Left a, const float* b, Int ldb, float* c, Int ldc, bool add) {
  for (; m >= M; m -= M, a.at += M * a.row, c += M * ldc) block<M, N>(a, b, ldb, c, ldc, add);
  if constexpr (M > 1) blocks<M / 2, N>(m, a, b, ldb, c, ldc, add);
}

void multiply(Int m, Int n, Left a, const float* b, Int ldb, float* c, Int ldc, bool add = false) {
  Int j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) blocks<kRows, 2>(m, a, b + j, ldb, c + j, ldc, add);
  for (; j < n; j += kLanes) blocks<kRows, 1>(m, a, b + j, ldb, c + j, ldc, add);
}

// ---- Winograd: polynomials multiplied at the points 0, a, -a, b, -b and infinity.

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

// Multiplies a line of a tile, whose elements are s apart, by a matrix or, for a gradient, by its transpose.
template <auto& matrix, bool back>
void line(Vec* v, int s) {
  constexpr int rows = sizeof matrix / sizeof matrix[0], columns = sizeof matrix[0] / sizeof(float);
  constexpr int in = back ? rows : columns, out = back ? columns : rows;
  Vec sum[out] = {};
#pragma GCC unroll 6
  for (int i = 0; i < out; i++)
#pragma GCC unroll 6
    for (int k = 0; k < in; k++)
      if (const float m = back ? matrix[k][i] : matrix[i][k]; m != 0) sum[i] += m * v[k * s];
  for (int i = 0; i < out; i++) v[i * s] = sum[i];
}

// The two that run most share what the points a and -a have in common.
template <>
void line<kData, false>(Vec* v, int s) {
  const Vec v0 = v[0], v1 = v[s], v2 = v[2 * s], v3 = v[3 * s], v4 = v[4 * s], v5 = v[5 * s];
  const Vec ea = v4 - b2 * v2, oa = a1 * (v3 - b2 * v1), eb = v4 - a2 * v2, ob = b1 * (v3 - a2 * v1);
  v[0] = a2 * b2 * v0 - (a2 + b2) * v2 + v4;
  v[s] = ea + oa, v[2 * s] = ea - oa, v[3 * s] = eb + ob, v[4 * s] = eb - ob;
  v[5 * s] = a2 * b2 * v1 - (a2 + b2) * v3 + v5;
}

template <>
void line<kResult, false>(Vec* v, int s) {
  const Vec sa = v[s] + v[2 * s], da = v[s] - v[2 * s], sb = v[3 * s] + v[4 * s], db = v[3 * s] - v[4 * s];
  v[0] += sa + sb, v[s] = a1 * da + b1 * db, v[2 * s] = a2 * sa + b2 * sb, v[3 * s] = a3 * da + b3 * db + v[5 * s];
}

// Multiplies a tile, whose rows are 6 apart, from both sides.
template <auto& matrix, bool back = false>
void transform(Vec* tile) {
  constexpr int rows = sizeof matrix / sizeof matrix[0], columns = sizeof matrix[0] / sizeof(float);
  constexpr int in = back ? rows : columns, out = back ? columns : rows;
#pragma GCC unroll 6
  for (int j = 0; j < in; j++) line<matrix, back>(tile + j, 6);
#pragma GCC unroll 6
  for (int i = 0; i < out; i++) line<matrix, back>(tile + 6 * i, 1);
}

struct Problem {
  Int B, H, W, C, HO, WO, O, top, left;
  Int rows() const { return (HO + 3) / 4; }
  Int columns() const { return (WO + 3) / 4; }
  Int tiles() const { return B * rows() * columns(); }
};
struct Image { Int H, W, C, top, left; };

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

// The first of the largest wins, and NaN wins over all: it must not be lost.
template <int pixels>
void emit(const Vec (&v)[pixels], const After& after, Int o, float* y, Int at) {
  Vec best = v[0];
  Ints code = Ints{} + 1;
  for (int k = 1; k < pixels; k++) {
    const Ints better = (v[k] > best) | (v[k] != v[k]);
    best = better ? v[k] : best;
    code = better ? Ints{} + (k + 1) : code;
  }
  best += load(after.bias + o);
  const Ints dead = best <= Vec{};
  store(y + at, masked(best, ~dead));
  if (after.codes) store(after.codes + at, code & ~dead);
}

constexpr Int kTiles = 24, kSlab = 64;  // tiles and outputs at a time: what the second cache holds
// Distance between the matrices of two points, off the powers of two that crowd one set of the cache.
Int apart(Int floats) { return floats + 16; }

// Takes tiles first ... first + count - 1 of images to the 36 points: out[point, tile, channel].
template <auto& matrix, bool back = false>
void to_points(const Problem& p, const Image& im, const float* images, Int first, Int count, float* out, Int stride,
               const Before& before = {}) {
  static constexpr float zeros[kLanes] = {};
  static constexpr Byte none[kLanes] = {};
  const Int window = before.window, height = im.H / window, width = im.W / window;
  for (Int t = 0; t < count; t++, out += im.C) {
    const Int column = (first + t) % p.columns(), row = (first + t) / p.columns() % p.rows();
    const Int image = (first + t) / p.columns() / p.rows() * height * width;
    constexpr int side = back ? 4 : 6;
    Int pixel[36], code[36];  // where it lies, and what its code must be
    for (int i = 0; i < side; i++)
      for (int j = 0; j < side; j++) {
        const Int h = 4 * row - im.top + i, w = 4 * column - im.left + j;
        const bool inside = h >= 0 && h < height * window && w >= 0 && w < width * window;
        pixel[6 * i + j] = inside ? (image + h / window * width + w / window) * im.C : -1;
        code[6 * i + j] = h % window * window + w % window + 1;
      }
    for (Int c = 0; c < im.C; c += kLanes) {
      Vec tile[36];
      for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
          const int q = 6 * i + j;
          tile[q] = load(pixel[q] < 0 ? zeros : images + pixel[q] + c);
          if (before.codes)
            tile[q] = masked(tile[q], load(pixel[q] < 0 ? none : before.codes + pixel[q] + c) == Ints{} + int(code[q]));
        }
      transform<matrix, back>(tile);
      for (int q = 0; q < 36; q++) store(out + q * stride + c, tile[q]);
    }
  }
}

void winograd(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after,
              const Before& before) {
  const Int kernel = apart(p.C * p.O);
  float* u = scratch<kKernel>(36 * kernel);
  parallel(pool, p.C / kLanes, [&](Int part) {
    for (Int i = part * kLanes * p.O; i < (part + 1) * kLanes * p.O; i += kLanes) {
      Vec tile[36];
      for (int q = 0; q < 9; q++) tile[q / 3 * 6 + q % 3] = load(w + q * p.C * p.O + i);
      transform<kWeights>(tile);
      for (int q = 0; q < 36; q++) store(u + q * kernel + i, tile[q]);
    }
  });
  const Int window = after.window, height = p.HO / window, wide = p.WO / window;
  parallel(pool, (p.tiles() + kTiles - 1) / kTiles, [&](Int item) {
    const Int first = item * kTiles, count = std::min(kTiles, p.tiles() - first);
    const Int data = apart(kTiles * p.C), result = apart(kTiles * kSlab);
    float *v = scratch<kLeft>(36 * data), *m = scratch<kProduct>(36 * result);
    to_points<kData>(p, {p.H, p.W, p.C, p.top, p.left}, x, first, count, v, data, before);
    for (Int slab = 0; slab < p.O; slab += kSlab) {
      const Int width = std::min(kSlab, p.O - slab);
      for (int q = 0; q < 36; q++)
        multiply(count, width, {v + q * data, p.C, 1, p.C}, u + q * kernel + slab, p.O, m + q * result, kSlab);
      for (Int t = 0; t < count; t++) {
        const Int h = (first + t) / p.columns() % p.rows() * 4 / window, c = (first + t) % p.columns() * 4 / window;
        const Int image = (first + t) / p.columns() / p.rows() * height * wide;
        const Int rows = std::min<Int>(4 / window, height - h), columns = std::min<Int>(4 / window, wide - c);
        for (Int o = 0; o < width; o += kLanes) {
          Vec tile[36];
          for (int q = 0; q < 36; q++) tile[q] = load(m + q * result + t * kSlab + o);
          transform<kResult>(tile);
          for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) {
              const Int at = (image + (h + i) * wide + c + j) * p.O + slab + o;
              const Vec* from = tile + window * (6 * i + j);
              if (!after.bias) store(y + at, *from);
              else if (window == 1) emit({from[0]}, after, slab + o, y, at);
              else emit({from[0], from[1], from[6], from[7]}, after, slab + o, y, at);
            }
        }
      }
    }
  });
}

void winograd_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int tiles = p.C * p.O < 8192 ? 2 * kTiles : 4 * kTiles;  // the sums pass through memory once for each
  const Int size = apart(p.C * p.O), items = (p.tiles() + tiles - 1) / tiles;
  const Int parts = std::min(items, std::clamp<Int>((1 << 19) / (p.C * p.O), 2, 16));
  float* sums = scratch<kSums>(parts * 36 * size);
  parallel(pool, parts, [&](Int part) {
    const Int data = apart(tiles * p.C), result = apart(tiles * p.O);
    float *v = scratch<kLeft>(36 * data), *z = scratch<kRight>(36 * result);
    const Int begin = items * part / parts, end = items * (part + 1) / parts;
    for (Int item = begin; item < end; item++) {
      const Int first = item * tiles, count = std::min(tiles, p.tiles() - first);
      to_points<kData>(p, {p.H, p.W, p.C, p.top, p.left}, x, first, count, v, data);
      to_points<kResult, true>(p, {p.HO, p.WO, p.O, 0, 0}, dy, first, count, z, result);
      for (int q = 0; q < 36; q++)
        multiply(p.C, p.O, {v + q * data, 1, p.C, count}, z + q * result, p.O, sums + (part * 36 + q) * size, p.O,
                 item > begin);
    }
  });
  parallel(pool, p.C, [&](Int c) {
    for (Int i = c * p.O; i < (c + 1) * p.O; i += kLanes) {
      Vec tile[36] = {};
      for (Int part = 0; part < parts; part++)
        for (int q = 0; q < 36; q++) tile[q] += load(sums + (part * 36 + q) * size + i);
      transform<kWeights, true>(tile);
      for (int q = 0; q < 9; q++) store(dw + q * p.C * p.O + i, tile[q / 3 * 6 + q % 3]);
    }
  });
}

// ---- Direct: few channels on one side.

// An image with zeros around it, just as large as the windows need.
const float* padded(const Problem& p, const float* x, Int b, const Before& before = {}) {
  const Int window = before.window, height = p.H / window, wide = p.W / window, image = b * height * wide * p.C;
  if (!before.codes && p.HO + 2 == p.H && p.WO + 2 == p.W && p.top == 0 && p.left == 0) return x + image;
  const Int width = (p.WO + 2) * p.C;
  const Int from = std::max<Int>(0, -p.left), to = std::min(wide * window, p.WO + 2 - p.left);
  float* out = scratch<kPadded>((p.HO + 2) * width);
  std::fill(out, out + (p.HO + 2) * width, 0.f);
  for (Int h = std::max<Int>(0, -p.top); h < std::min(height * window, p.HO + 2 - p.top); h++) {
    const Int row = image + h / window * wide * p.C;
    float* line = out + (h + p.top) * width + p.left * p.C;
    if (!before.codes && to > from) std::copy_n(x + row + from * p.C, (to - from) * p.C, line + from * p.C);
    for (Int w = from; before.codes && w < to; w++)
      for (Int c = 0; c < p.C; c += kLanes) {
        const Int at = row + w / window * p.C + c;
        const Ints code = Ints{} + int(h % window * window + w % window + 1);
        store(line + w * p.C + c, masked(load(x + at), load(before.codes + at) == code));
      }
  }
  return out;
}

// The windows of an output row, 3 x 3C each, overlap in memory: they are a matrix as they lie.
void direct(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after) {
  const Int window = after.window, height = p.HO / window, wide = p.WO / window, row = p.WO * p.O;
  parallel(pool, p.B, [&](Int b) {
    const Int width = (p.WO + 2) * p.C;
    const float* image = padded(p, x, b);
    float* fresh = after.bias ? scratch<kProduct>(window * row) : nullptr;
    for (Int h = 0; h < height * window; h++) {
      float* out = fresh ? fresh + h % window * row : y + (b * p.HO + h) * row;
      multiply(p.WO, p.O, {image + h * width, p.C, 1, 3 * p.C, width, 3}, w, p.O, out, p.O);
      if (!fresh || h % window < window - 1) continue;
      for (Int c = 0; c < wide; c++)
        for (Int o = 0; o < p.O; o += kLanes) {
          const float* from = fresh + c * window * p.O + o;
          const Int at = ((b * height + h / window) * wide + c) * p.O + o;
          if (window == 1) emit({load(from)}, after, o, y, at);
          else emit({load(from), load(from + p.O), load(from + row), load(from + row + p.O)}, after, o, y, at);
        }
    }
  });
}

void direct_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int parts = std::min<Int>(p.B, 16), size = 9 * p.C * p.O;
  float* sums = scratch<kSums>(parts * size);
  parallel(pool, parts, [&](Int part) {
    const Int width = (p.WO + 2) * p.C, begin = p.B * part / parts, end = p.B * (part + 1) / parts;
    for (Int b = begin; b < end; b++) {
      const float* image = padded(p, x, b);
      for (int i = 0; i < 3; i++)
        multiply(3 * p.C, p.O, {image + i * width, 1, p.C, p.WO, width, p.HO}, dy + b * p.HO * p.WO * p.O, p.O,
                 sums + part * size + 3 * i * p.C * p.O, p.O, b > begin);
    }
  });
  std::copy(sums, sums + size, dw);
  for (Int i = size; i < parts * size; i++) dw[i % size] += sums[i];
}

// Few outputs: every pixel times all 9 O weights in one product, then each output gathers its nine.
void direct_few(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool,
                const Before& before) {
  const Int taps = (9 * p.O + kLanes - 1) / kLanes * kLanes;
  float* flat = scratch<kKernel>(p.C * taps);
  for (Int i = 0; i < 9 * p.C * p.O; i++) flat[i / p.O % p.C * taps + i / (p.C * p.O) * p.O + i % p.O] = w[i];
  parallel(pool, p.B, [&](Int b) {
    const float* image = padded(p, x, b, before);
    const Int width = p.WO + 2, pixels = (p.HO + 2) * width;
    float* m = scratch<kProduct>(pixels * taps);
    multiply(pixels, taps, {image, p.C, 1, p.C}, flat, taps, m, taps);
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

// ---- What XLA calls, and what checks it beforehand.

void conv(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after = {},
          const Before& before = {}) {
  if (p.O % kLanes) direct_few(p, x, w, y, pool, before);
  else if (p.C % kLanes) direct(p, x, w, y, pool, after);
  else winograd(p, x, w, y, pool, after, before);
}

void weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  (p.C % kLanes ? direct_weights : winograd_weights)(p, x, dy, dw, pool);
}

using In = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;
using Size = ffi::Span<const Int>;

ffi::Error call_conv(ffi::ThreadPool pool, In x, In w, Out y, Int top, Int left) {
  const Size n = x.dimensions(), m = y->dimensions();
  conv({n[0], n[1], n[2], n[3], m[1], m[2], m[3], top, left}, x.typed_data(), w.typed_data(), y->typed_data(), &pool);
  return ffi::Error::Success();
}

// height and width are those of what the convolution makes, before its windows shrink it.
ffi::Error call_relu(ffi::ThreadPool pool, In x, In w, In bias, Out y, ffi::ResultBuffer<ffi::U8> codes, Int top,
                     Int left, Int height, Int width, Int window) {
  const Size n = x.dimensions(), m = y->dimensions();
  Byte* kept = codes->element_count() ? codes->typed_data() : nullptr;
  conv({n[0], n[1], n[2], n[3], height, width, m[3], top, left}, x.typed_data(), w.typed_data(), y->typed_data(),
       &pool, {bias.typed_data(), kept, window});
  return ffi::Error::Success();
}

// height and width are those of what the gradient, spread again, is convolved as.
ffi::Error call_back(ffi::ThreadPool pool, In dy, ffi::Buffer<ffi::U8> codes, In w, Out dx, Int top, Int left,
                     Int height, Int width, Int window) {
  const Size n = dy.dimensions(), m = dx->dimensions();
  conv({n[0], height, width, n[3], m[1], m[2], m[3], top, left}, dy.typed_data(), w.typed_data(), dx->typed_data(),
       &pool, {}, {codes.typed_data(), window});
  return ffi::Error::Success();
}

ffi::Error call_weights(ffi::ThreadPool pool, In x, In dy, Out dw, Int top, Int left) {
  const Size n = x.dimensions(), m = dy.dimensions();
  weights({n[0], n[1], n[2], n[3], m[1], m[2], m[3], top, left}, x.typed_data(), dy.typed_data(), dw->typed_data(),
          &pool);
  return ffi::Error::Success();
}

#define PADS Attr<Int>("top").Attr<Int>("left")
#define FUSED PADS.Attr<Int>("height").Attr<Int>("width").Attr<Int>("window")
#define BIND ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_conv, call_conv, BIND.Arg<In>().Arg<In>().Ret<In>().PADS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_weights, call_weights, BIND.Arg<In>().Arg<In>().Ret<In>().PADS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_relu, call_relu,
                              BIND.Arg<In>().Arg<In>().Arg<In>().Ret<In>().Ret<ffi::Buffer<ffi::U8>>().FUSED);
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_back, call_back,
                              BIND.Arg<In>().Arg<ffi::Buffer<ffi::U8>>().Arg<In>().Ret<In>().FUSED);

extern "C" {
int lanes() { return kLanes; }

// n: the nine of Problem, then the window.
void alone_conv(const Int* n, const float* x, const float* w, float* y) {
  conv({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]}, x, w, y, nullptr);
}
void alone_relu(const Int* n, const float* x, const float* w, const float* bias, float* y, Byte* codes) {
  conv({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]}, x, w, y, nullptr, {bias, codes, n[9]});
}
void alone_back(const Int* n, const float* dy, const Byte* codes, const float* w, float* dx) {
  conv({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]}, dy, w, dx, nullptr, {}, {codes, n[9]});
}
void alone_weights(const Int* n, const float* x, const float* dy, float* dw) {
  weights({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]}, x, dy, dw, nullptr);
}
}
