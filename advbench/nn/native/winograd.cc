// Convolution, float32, NHWC x HWIO, on CPU, called through XLA's foreign function interface.
//
// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308) for 3x3 windows of stride 1 where
// both channel counts fill whole vectors; else direct. All of it rests on one matrix product. Bias, ReLU and
// max-pooling can follow while the values are still in registers. An output pixel is always summed in the same order:
// results depend neither on the batch, nor on the number of threads.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Int = int64_t;

#if !defined(LANES) && defined(__AVX512F__)
#define LANES 16
#elif !defined(LANES) && defined(__AVX__)
#define LANES 8
#elif !defined(LANES)
#define LANES 4
#endif
#if defined(__AVX512VL__)  // 32 registers instead of 16
constexpr int kLanes = LANES, kRows = 12;
#else
constexpr int kLanes = LANES, kRows = 6;
#endif
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));
using Byte = uint8_t;

inline Vec load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }

// Eight bytes to eight integers and back: compilers take these conversions apart into single bytes.
#if defined(__AVX2__) && LANES == 8
inline Ints load(const Byte* p) { return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
inline void store(Byte* p, Ints v) {
  const __m128i low = _mm256_castsi256_si128((__m256i)v), high = _mm256_extracti128_si256((__m256i)v, 1);
  const __m128i words = _mm_packs_epi32(low, high);
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
}
#else
inline Ints load(const Byte* p) { return __builtin_convertvector(*(const Bytes*)p, Ints); }
inline void store(Byte* p, Ints v) { *(Bytes*)p = __builtin_convertvector(v, Bytes); }
#endif

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

// The block of that many rows, at most M.
template <int M, int N>
void rows(Int m, Left a, const float* b, Int ldb, float* c, Int ldc, bool add) {
  if (m == M) return block<M, N>(a, b, ldb, c, ldc, add);
  if constexpr (M > 1) rows<M - 1, N>(m, a, b, ldb, c, ldc, add);
}

// Blocks of nearly the same height, so that none is so low that its sums wait for each other.
template <int N>
void panel(Int m, Left a, const float* b, Int ldb, float* c, Int ldc, bool add) {
  for (Int left = (m + kRows - 1) / kRows; left > 0; left--) {
    const Int some = m / left;
    rows<kRows, N>(some, a, b, ldb, c, ldc, add);
    m -= some, a.at += some * a.row, c += some * ldc;
  }
}

void multiply(Int m, Int n, Left a, const float* b, Int ldb, float* c, Int ldc, bool add = false) {
  Int j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) panel<2>(m, a, b + j, ldb, c + j, ldc, add);
  for (; j < n; j += kLanes) panel<1>(m, a, b + j, ldb, c + j, ldc, add);
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

#define ALWAYS inline __attribute__((always_inline))

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

constexpr Int kTiles = 24, kSlab = 64;  // tiles and outputs at a time: what the second cache holds
// Distance between the matrices of two points, off the powers of two that crowd one set of the cache.
Int apart(Int floats) { return floats + 16; }

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

// Takes a tile, whose rows are a line apart, to the 36 points, which are a stride apart.
template <auto& matrix, bool back = false>
void to_points(const float* tile, Int line, Int C, float* out, Int stride) {
  for (Int c = 0; c < C; c += kLanes)
    transform<matrix, back>([&](int i, int j) { return load(tile + i * line + j * C + c); },
                            [&](int i, int j, Vec v) { store(out + (6 * i + j) * stride + c, v); });
}

void winograd(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after,
              const Before& before) {
  const Int kernel = apart(p.C * p.O);
  float* u = scratch<kKernel>(36 * kernel);
  parallel(pool, p.C / kLanes, [&](Int part) {
    for (Int i = part * kLanes * p.O; i < (part + 1) * kLanes * p.O; i += kLanes)
      transform<kWeights>([&](int r, int s) { return load(w + (3 * r + s) * p.C * p.O + i); },
                          [&](int r, int s, Vec v) { store(u + (6 * r + s) * kernel + i, v); });
  });
  const Int data = apart(kTiles * p.C), result = apart(kTiles * kSlab);
  const Int window = after.window, height = p.HO / window, wide = p.WO / window, each = p.rows() * p.columns();

  // From the points of tiles first ... first + count - 1 to their results.
  auto finish = [&](Int first, Int count, const float* v) {
    float* m = scratch<kProduct>(36 * result);
    for (Int slab = 0; slab < p.O; slab += kSlab) {
      const Int width = std::min(kSlab, p.O - slab);
      for (int q = 0; q < 36; q++)
        multiply(count, width, {v + q * data, p.C, 1, p.C}, u + q * kernel + slab, p.O, m + q * result, kSlab);
      for (Int t = 0; t < count; t++) {
        const Int h = (first + t) % each / p.columns() * 4 / window, c = (first + t) % p.columns() * 4 / window;
        const Int rows = std::min<Int>(4 / window, height - h), columns = std::min<Int>(4 / window, wide - c);
        for (Int o = 0; o < width; o += kLanes) {
          Vec tile[4][4];
          const float* point = m + t * kSlab + o;
          transform<kResult>([&](int i, int j) { return load(point + (6 * i + j) * result); },
                             [&](int i, int j, Vec v) { tile[i][j] = v; });
          const Int at = ((first + t) / each * height * wide + h * wide + c) * p.O + slab + o, line = wide * p.O;
          if (after.bias) {
            const Vec bias = load(after.bias + slab + o);
            Byte* codes = after.codes ? after.codes + at : nullptr;
            if (window == 1) emit_tile<1>(tile, bias, rows, columns, p.O, line, y + at, codes);
            else emit_tile<2>(tile, bias, rows, columns, p.O, line, y + at, codes);
            continue;
          }
          for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) store(y + at + i * line + j * p.O, tile[i][j]);
        }
      }
    }
  };

  // An item fills the buffer a few times, so that few products are narrow ones.
  const Int images = std::clamp<Int>((4 * kTiles + each - 1) / each, 1, std::max<Int>(1, p.B / 8));
  const Size want = p.reach(2);
  parallel(pool, (p.B + images - 1) / images, [&](Int item) {
    float* v = scratch<kLeft>(36 * data);
    Int first = item * images * each, count = 0;
    for (Int b = item * images; b < std::min(p.B, (item + 1) * images); b++) {
      const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, want, before);
      for (Int t = 0; t < each; t++) {
        const float* tile = image + (t / p.columns() * want.width + t % p.columns()) * 4 * p.C;
        to_points<kData>(tile, want.width * p.C, p.C, v + count * p.C, data);
        if (++count == kTiles) finish(first, count, v), first += count, count = 0;
      }
    }
    if (count) finish(first, count, v);
  });
}

void winograd_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int tiles = p.C * p.O < 8192 ? 2 * kTiles : 4 * kTiles;  // the sums pass through memory once for each
  const Int size = apart(p.C * p.O), parts = std::min(p.B, std::clamp<Int>((1 << 19) / (p.C * p.O), 2, 16));
  const Int data = apart(tiles * p.C), result = apart(tiles * p.O);
  const Size want = p.reach(2), inner = p.reach(0);
  float* sums = scratch<kSums>(parts * 36 * size);
  parallel(pool, parts, [&](Int part) {
    float *v = scratch<kLeft>(36 * data), *z = scratch<kRight>(36 * result);
    bool add = false;
    Int count = 0;
    auto finish = [&] {
      for (int q = 0; q < 36; q++)
        multiply(p.C, p.O, {v + q * data, 1, p.C, count}, z + q * result, p.O, sums + (part * 36 + q) * size, p.O, add);
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

// ---- Direct: other windows and strides, or few channels on one side.

// The windows of an output row, kh x kw C each, overlap in memory: they are a matrix as they lie.
void direct(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after) {
  const Int window = after.window, height = p.HO / window, wide = p.WO / window, row = p.WO * p.O;
  parallel(pool, p.B, [&](Int b) {
    const Size want = {(p.HO - 1) * p.stride + p.kh, (p.WO - 1) * p.stride + p.kw};
    const Int width = want.width * p.C;
    const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, want);
    float* fresh = after.bias ? scratch<kProduct>(window * row) : nullptr;
    for (Int h = 0; h < height * window; h++) {
      float* out = fresh ? fresh + h % window * row : y + (b * p.HO + h) * row;
      const Left windows = {image + h * p.stride * width, p.stride * p.C, 1, p.kw * p.C, width, p.kh};
      multiply(p.WO, p.O, windows, w, p.O, out, p.O);
      if (!fresh || h % window < window - 1) continue;
      const Int at = (b * height + h / window) * wide * p.O;
      Byte* codes = after.codes ? after.codes + at : nullptr;
      (window == 1 ? emit_row<1> : emit_row<2>)(fresh, after.bias, p.O, wide, row, y + at, codes);
    }
  });
}

void direct_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int parts = std::min<Int>(p.B, 16), size = 9 * p.C * p.O;
  float* sums = scratch<kSums>(parts * size);
  parallel(pool, parts, [&](Int part) {
    const Int width = (p.WO + 2) * p.C, begin = p.B * part / parts, end = p.B * (part + 1) / parts;
    for (Int b = begin; b < end; b++) {
      const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, {p.HO + 2, p.WO + 2});
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
    const float* image = padded<kPadded>(x, b, {p.H, p.W}, p.C, p.top, p.left, {p.HO + 2, p.WO + 2}, before);
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
  const bool tiles = p.kh == 3 && p.kw == 3 && p.stride == 1 && p.C % kLanes == 0;
  if (p.O % kLanes) direct_few(p, x, w, y, pool, before);
  else if (!tiles) direct(p, x, w, y, pool, after);
  else winograd(p, x, w, y, pool, after, before);
}

void weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  (p.C % kLanes ? direct_weights : winograd_weights)(p, x, dy, dw, pool);
}

using In = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;
using Shape = ffi::Span<const Int>;

ffi::Error call_conv(ffi::ThreadPool pool, In x, In w, Out y, Int top, Int left, Int stride) {
  const Shape n = x.dimensions(), k = w.dimensions(), m = y->dimensions();
  conv({n[0], n[1], n[2], n[3], m[1], m[2], m[3], top, left, k[0], k[1], stride}, x.typed_data(), w.typed_data(),
       y->typed_data(), &pool);
  return ffi::Error::Success();
}

// height and width are those of what the convolution makes, before its windows shrink it.
ffi::Error call_relu(ffi::ThreadPool pool, In x, In w, In bias, Out y, ffi::ResultBuffer<ffi::U8> codes, Int top,
                     Int left, Int height, Int width, Int window) {
  const Shape n = x.dimensions(), m = y->dimensions();
  Byte* kept = codes->element_count() ? codes->typed_data() : nullptr;
  conv({n[0], n[1], n[2], n[3], height, width, m[3], top, left}, x.typed_data(), w.typed_data(), y->typed_data(),
       &pool, {bias.typed_data(), kept, window});
  return ffi::Error::Success();
}

// height and width are those of what the gradient, spread again, is convolved as.
ffi::Error call_back(ffi::ThreadPool pool, In dy, ffi::Buffer<ffi::U8> codes, In w, Out dx, Int top, Int left,
                     Int height, Int width, Int window) {
  const Shape n = dy.dimensions(), m = dx->dimensions();
  conv({n[0], height, width, n[3], m[1], m[2], m[3], top, left}, dy.typed_data(), w.typed_data(), dx->typed_data(),
       &pool, {}, {codes.typed_data(), window});
  return ffi::Error::Success();
}

ffi::Error call_weights(ffi::ThreadPool pool, In x, In dy, Out dw, Int top, Int left) {
  const Shape n = x.dimensions(), m = dy.dimensions();
  weights({n[0], n[1], n[2], n[3], m[1], m[2], m[3], top, left}, x.typed_data(), dy.typed_data(), dw->typed_data(),
          &pool);
  return ffi::Error::Success();
}

#define PADS Attr<Int>("top").Attr<Int>("left")
#define FUSED PADS.Attr<Int>("height").Attr<Int>("width").Attr<Int>("window")
#define BIND ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_conv, call_conv, BIND.Arg<In>().Arg<In>().Ret<In>().PADS.Attr<Int>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_weights, call_weights, BIND.Arg<In>().Arg<In>().Ret<In>().PADS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_relu, call_relu,
                              BIND.Arg<In>().Arg<In>().Arg<In>().Ret<In>().Ret<ffi::Buffer<ffi::U8>>().FUSED);
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_back, call_back,
                              BIND.Arg<In>().Arg<ffi::Buffer<ffi::U8>>().Arg<In>().Ret<In>().FUSED);

extern "C" {
int lanes() { return kLanes; }

// n: the nine of Problem, then the pool's window; of a convolution, the rest of Problem.
void alone_conv(const Int* n, const float* x, const float* w, float* y) {
  conv({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]}, x, w, y, nullptr);
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
