// Convolution, float32, NHWC x HWIO, on CPU, called through XLA's foreign function interface.
//
// Winograd (winograd.h) for 3x3 windows of stride 1 where both channel counts fill whole vectors; else direct
// (gathered.h, or direct.h where channels are few). All of it rests on one matrix product (gemm.h). Bias, ReLU and
// max-pooling can follow while the values are still at hand. An output pixel is always summed in the same order: results
// depend neither on the batch, nor on the number of threads.

#include "direct.h"
#include "gathered.h"
#include "winograd.h"

namespace {

void conv(const Problem& p, const float* x, const float* w, float* y, ffi::ThreadPool* pool, const After& after = {},
          const Before& before = {}) {
  const bool tiles = p.kh == 3 && p.kw == 3 && p.stride == 1 && p.C % kLanes == 0;
  if (p.O % kLanes) direct_few(p, x, w, y, pool, before);
  else if (tiles) winograd(p, x, w, y, pool, after, before);
  else if (p.C < kLanes || after.bias) direct(p, x, w, y, pool, after);
  else gathered(p, x, w, y, pool);
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

ffi::Error call_images(ffi::ThreadPool pool, In dy, In w, Out dx, Int top, Int left, Int stride) {
  const Shape n = dy.dimensions(), k = w.dimensions(), m = dx->dimensions();
  gathered_back({n[0], n[1], n[2], n[3], m[1], m[2], m[3], top, left, k[0], k[1], stride}, dy.typed_data(),
                w.typed_data(), dx->typed_data(), &pool);
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
XLA_FFI_DEFINE_HANDLER_SYMBOL(advbench_images, call_images,
                              BIND.Arg<In>().Arg<In>().Ret<In>().PADS.Attr<Int>("stride"));
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
void alone_images(const Int* n, const float* dy, const float* w, float* dx) {
  gathered_back({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]}, dy, w, dx, nullptr);
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
