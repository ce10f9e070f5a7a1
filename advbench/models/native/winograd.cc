// 3x3 convolution of stride 1, float32, NHWC x HWIO, on CPU, called through XLA's foreign function interface.
//
// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308) where both channel counts are
// multiples of 16; else direct. All of it rests on one matrix product. An output pixel is always summed in the same
// order: results depend neither on the batch, nor on the number of threads.

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

inline Vec load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }

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
  for (Int helpers = pool ? std::min(pool->num_threads(), n) - 1 : 0; helpers > 0; helpers--) pool->Schedule(std::function(work));
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
  for (; n >= 2 * kLanes; n -= 2 * kLanes, b += 2 * kLanes, c += 2 * kLanes) blocks<kRows, 2>(m, a, b, ldb, c, ldc, add);
  for (; n > 0; n -= kLanes, b += kLanes, c += kLanes) blocks<kRows, 1>(m, a, b, ldb, c, ldc, add);
}

// ---- Winograd: polynomials multiplied at the points 0, a, -a, b, -b and infinity.

constexpr float a1 = 0.70710678118654752f, b1 = 1.4142135623730951f;
constexpr float a2 = a1 * a1, b2 = b1 * b1, a3 = a1 * a2, b3 = b1 * b2;
constexpr float at_0 = 1 / (a2 * b2), at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));

// Each transforms one line of a tile; s is the stride.
struct Data {  // 6 pixels -> 6 points
  static constexpr int in = 6, out = 6;
  static void line(const Vec* d, int s, Vec* t) {
    Vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    Vec even_a = d4 - b2 * d2, odd_a = a1 * (d3 - b2 * d1), even_b = d4 - a2 * d2, odd_b = b1 * (d3 - a2 * d1);
    t[0] = (a2 * b2) * d0 - (a2 + b2) * d2 + d4;
    t[s] = even_a + odd_a, t[2 * s] = even_a - odd_a;
    t[3 * s] = even_b + odd_b, t[4 * s] = even_b - odd_b;
    t[5 * s] = (a2 * b2) * d1 - (a2 + b2) * d3 + d5;
  }
};
struct Kernel {  // 3 weights -> 6 points
  static constexpr int in = 3, out = 6;
  static void line(const Vec* g, int s, Vec* t) {
    Vec g0 = g[0], g1 = g[s], g2 = g[2 * s];
    Vec even_a = at_a * (g0 + a2 * g2), odd_a = (at_a * a1) * g1, even_b = at_b * (g0 + b2 * g2), odd_b = (at_b * b1) * g1;
    t[0] = at_0 * g0;
    t[s] = even_a + odd_a, t[2 * s] = even_a - odd_a;
    t[3 * s] = even_b + odd_b, t[4 * s] = even_b - odd_b;
    t[5 * s] = g2;
  }
};
struct KernelBack {  // its transpose: 6 points -> 3 weights
  static constexpr int in = 6, out = 3;
  static void line(const Vec* u, int s, Vec* t) {
    Vec sum_a = at_a * (u[s] + u[2 * s]), dif_a = at_a * (u[s] - u[2 * s]);
    Vec sum_b = at_b * (u[3 * s] + u[4 * s]), dif_b = at_b * (u[3 * s] - u[4 * s]);
    Vec last = u[5 * s];
    t[0] = at_0 * u[0] + sum_a + sum_b;
    t[s] = a1 * dif_a + b1 * dif_b;
    t[2 * s] = a2 * sum_a + b2 * sum_b + last;
  }
};
struct Result {  // 6 points -> 4 pixels
  static constexpr int in = 6, out = 4;
  static void line(const Vec* m, int s, Vec* y) {
    Vec sum_a = m[s] + m[2 * s], dif_a = m[s] - m[2 * s], sum_b = m[3 * s] + m[4 * s], dif_b = m[3 * s] - m[4 * s];
    Vec last = m[5 * s];
    y[0] = m[0] + sum_a + sum_b;
    y[s] = a1 * dif_a + b1 * dif_b;
    y[2 * s] = a2 * sum_a + b2 * sum_b;
    y[3 * s] = a3 * dif_a + b3 * dif_b + last;
  }
};
struct ResultBack {  // its transpose: 4 pixels -> 6 points
  static constexpr int in = 4, out = 6;
  static void line(const Vec* y, int s, Vec* t) {
    Vec y0 = y[0], y3 = y[3 * s];
    Vec even_a = y0 + a2 * y[2 * s], odd_a = a1 * y[s] + a3 * y3, even_b = y0 + b2 * y[2 * s], odd_b = b1 * y[s] + b3 * y3;
    t[0] = y0;
    t[s] = even_a + odd_a, t[2 * s] = even_a - odd_a;
    t[3 * s] = even_b + odd_b, t[4 * s] = even_b - odd_b;
    t[5 * s] = y3;
  }
};

// Transforms the lines of a tile, down and across, in place; rows are 6 apart.
template <class T>
void transform(Vec (&tile)[36]) {
  for (int j = 0; j < T::in; j++) T::line(tile + j, 6, tile + j);
  for (int i = 0; i < T::out; i++) T::line(tile + 6 * i, 1, tile + 6 * i);
}

struct Problem {
  Int B, H, W, C, HO, WO, O, top, left;
  Int rows() const { return (HO + 3) / 4; }
  Int columns() const { return (WO + 3) / 4; }
  Int tiles() const { return B * rows() * columns(); }
};
struct Image { Int H, W, C, top, left; };

constexpr Int kTiles = 24, kSlab = 64;
// Distance between the matrices of two points, off the powers of two that crowd one set of the cache.
Int apart(Int floats) { return floats + 16; }

// Takes tiles first ... first + count - 1 of images to the 36 points: out[point, tile, channel].
template <class T>
void to_points(const Problem& p, const Image& im, const float* images, Int first, Int count, float* out, Int stride) {
  static constexpr float zeros[kLanes] = {};
  for (Int t = 0; t < count; t++, out += im.C) {
    Int column = (first + t) % p.columns(), row = (first + t) / p.columns() % p.rows();
    const float* image = images + (first + t) / p.columns() / p.rows() * im.H * im.W * im.C;
    const float* pixel[36];
    for (int i = 0; i < T::in; i++)
      for (int j = 0; j < T::in; j++) {
        Int h = 4 * row - im.top + i, w = 4 * column - im.left + j;
        bool inside = h >= 0 && h < im.H && w >= 0 && w < im.W;
        pixel[6 * i + j] = inside ? image + (h * im.W + w) * im.C : nullptr;
      }
    for (Int c = 0; c < im.C; c += kLanes) {
      Vec tile[36];
      for (int i = 0; i < T::in; i++)
        for (int j = 0; j < T::in; j++) tile[6 * i + j] = load(pixel[6 * i + j] ? pixel[6 * i + j] + c : zeros);
      transform<T>(tile);
      for (int q = 0; q < 36; q++) store(out + q * stride + c, tile[q]);
    }
  }
}

void winograd(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool) {
  const Int kernel = apart(p.C * p.O);
  float* u = scratch<kKernel>(36 * kernel);
  parallel(pool, p.C / 16, [&](Int part) {
    for (Int i = part * 16 * p.O; i < (part + 1) * 16 * p.O; i += kLanes) {
      Vec tile[36];
      for (int q = 0; q < 9; q++) tile[q / 3 * 6 + q % 3] = load(w + q * p.C * p.O + i);
      transform<Kernel>(tile);
      for (int q = 0; q < 36; q++) store(u + q * kernel + i, tile[q]);
    }
  });
  parallel(pool, (p.tiles() + kTiles - 1) / kTiles, [&](Int item) {
    const Int first = item * kTiles, count = std::min(kTiles, p.tiles() - first);
    const Int data = apart(kTiles * p.C), result = apart(kTiles * kSlab);
    float *v = scratch<kLeft>(36 * data), *m = scratch<kProduct>(36 * result);
    to_points<Data>(p, {p.H, p.W, p.C, p.top, p.left}, x, first, count, v, data);
    for (Int slab = 0; slab < p.O; slab += kSlab) {
      const Int width = std::min(kSlab, p.O - slab);
      for (int q = 0; q < 36; q++)
        multiply(count, width, {v + q * data, p.C, 1, p.C}, u + q * kernel + slab, p.O, m + q * result, kSlab);
      for (Int t = 0; t < count; t++) {
        const Int h = (first + t) / p.columns() % p.rows() * 4, w = (first + t) % p.columns() * 4;
        float* image = y + (first + t) / p.columns() / p.rows() * p.HO * p.WO * p.O + slab;
        for (Int o = 0; o < width; o += kLanes) {
          Vec tile[36];
          for (int q = 0; q < 36; q++) tile[q] = load(m + q * result + t * kSlab + o);
          transform<Result>(tile);
          for (int i = 0; i < std::min<Int>(4, p.HO - h); i++)
            for (int j = 0; j < std::min<Int>(4, p.WO - w); j++)
              store(image + ((h + i) * p.WO + w + j) * p.O + o, tile[6 * i + j]);
        }
      }
    }
  });
}

void winograd_weights(const Problem& p, const float* x, const float* dy, float* dw, ffi::ThreadPool* pool) {
  const Int size = apart(p.C * p.O), items = (p.tiles() + kTiles - 1) / kTiles;
  const Int parts = std::clamp<Int>((1 << 19) / (p.C * p.O), 1, std::min<Int>(items, 16));
  float* sums = scratch<kSums>(parts * 36 * size);
  parallel(pool, parts, [&](Int part) {
    const Int data = apart(kTiles * p.C), result = apart(kTiles * p.O);
    float *v = scratch<kLeft>(36 * data), *z = scratch<kRight>(36 * result);
    const Int begin = items * part / parts, end = items * (part + 1) / parts;
    for (Int item = begin; item < end; item++) {
      const Int first = item * kTiles, count = std::min(kTiles, p.tiles() - first);
      to_points<Data>(p, {p.H, p.W, p.C, p.top, p.left}, x, first, count, v, data);
      to_points<ResultBack>(p, {p.HO, p.WO, p.O, 0, 0}, dy, first, count, z, result);
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
      transform<KernelBack>(tile);
      for (int q = 0; q < 9; q++) store(dw + q * p.C * p.O + i, tile[q / 3 * 6 + q % 3]);
    }
  });
}

// ---- Direct: few channels on one side.

// An image with zeros around it, just as large as the windows need.
const float* padded(const Problem& p, const float* x, Int b) {
  x += b * p.H * p.W * p.C;
  if (p.HO + 2 == p.H && p.WO + 2 == p.W && p.top == 0 && p.left == 0) return x;
  const Int width = (p.WO + 2) * p.C, from = std::max<Int>(0, -p.left), to = std::min(p.W, p.WO + 2 - p.left);
  float* out = scratch<kPadded>((p.HO + 2) * width);
  std::fill(out, out + (p.HO + 2) * width, 0.f);
  for (Int h = std::max<Int>(0, -p.top); h < std::min(p.H, p.HO + 2 - p.top); h++)
    if (to > from)
      std::copy(x + (h * p.W + from) * p.C, x + (h * p.W + to) * p.C, out + (h + p.top) * width + (from + p.left) * p.C);
  return out;
}

// The windows of an output row, 3 x 3C each, overlap in memory: they are a matrix as they lie.
void direct(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool) {
  parallel(pool, p.B, [&](Int b) {
    const Int width = (p.WO + 2) * p.C;
    const float* image = padded(p, x, b);
    for (Int h = 0; h < p.HO; h++)
      multiply(p.WO, p.O, {image + h * width, p.C, 1, 3 * p.C, width, 3}, w, p.O, y + (b * p.HO + h) * p.WO * p.O, p.O);
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
void direct_few(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool) {
  const Int taps = (9 * p.O + kLanes - 1) / kLanes * kLanes;
  float* flat = scratch<kKernel>(p.C * taps);
  for (Int i = 0; i < 9 * p.C * p.O; i++) flat[i / p.O % p.C * taps + i / (p.C * p.O) * p.O + i % p.O] = w[i];
  parallel(pool, p.B, [&](Int b) {
    const float* image = padded(p, x, b);
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

using Path = void(const Problem&, const float*, const float*, float*, ffi::ThreadPool*);

Path* conv_path(const Problem& p) { return p.O % 16 ? direct_few : p.C % 16 ? direct : winograd; }
Path* weights_path(const Problem& p) { return p.C % 16 ? direct_weights : winograd_weights; }

using In = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;
using Size = ffi::Span<const Int>;

Problem problem(Size x, Size y, Int top, Int left) { return {x[0], x[1], x[2], x[3], y[1], y[2], y[3], top, left}; }

ffi::Error conv(ffi::ThreadPool pool, In x, In w, Out y, Int top, Int left) {
  const Problem p = problem(x.dimensions(), y->dimensions(), top, left);
  conv_path(p)(p, x.typed_data(), w.typed_data(), y->typed_data(), &pool);
  return ffi::Error::Success();
}

ffi::Error weights(ffi::ThreadPool pool, In x, In dy, Out dw, Int top, Int left) {
  const Problem p = problem(x.dimensions(), dy.dimensions(), top, left);
  weights_path(p)(p, x.typed_data(), dy.typed_data(), dw->typed_data(), &pool);
  return ffi::Error::Success();
}

#define BIND \
  ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<In>().Arg<In>().Ret<In>().Attr<Int>("top").Attr<Int>("left")

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(Conv, conv, BIND);
XLA_FFI_DEFINE_HANDLER_SYMBOL(Weights, weights, BIND);

// For the check before anything is registered; size holds the fields of Problem.
extern "C" void conv_alone(const Int* size, const float* x, const float* w, float* y) {
  const Problem p{size[0], size[1], size[2], size[3], size[4], size[5], size[6], size[7], size[8]};
  conv_path(p)(p, x, w, y, nullptr);
}
extern "C" void weights_alone(const Int* size, const float* x, const float* dy, float* dw) {
  const Problem p{size[0], size[1], size[2], size[3], size[4], size[5], size[6], size[7], size[8]};
  weights_path(p)(p, x, dy, dw, nullptr);
}
