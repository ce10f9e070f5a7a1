// Convolution, float32, NHWC x HWIO, on CPU, called through XLA's foreign function interface.
//
// Winograd (winograd.h) for 3x3 windows of stride 1 where both channel counts fill whole vectors; else direct
// (gathered.h, or direct.h where channels are few). All of it rests on one matrix product (gemm.h). Bias, ReLU and
// max-pooling can follow while the values are still at hand. An output pixel is always summed in the same order: results
// depend neither on the batch, nor on the number of threads.

#include "direct.h"
#include "gathered.h"
#include "norm.h"
#include "weights.h"

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
  const bool small = p.kh == 3 && p.kw == 3 && p.stride == 1;
  if (small && p.C % kLanes == 0) winograd_weights(p, x, dy, dw, pool);
  else if (small) direct_weights(p, x, dy, dw, pool);
  else gathered_weights(p, x, dy, dw, pool);
}

// The problem whose result has that shape. height and width are those of what a convolution makes, before its windows
// shrink it, or of what a gradient is convolved as, once it is spread again.
Problem problem(const ffi::Call& call, const Int* made) {
  const Int* n = call.shape(0);
  return {n[0], n[1], n[2], n[3], made[1], made[2], made[3], call["top"], call["left"]};
}

Problem windowed(const ffi::Call& call) {
  Problem p = problem(call, call.result(0));
  p.kh = call.shape(1)[0], p.kw = call.shape(1)[1], p.stride = call["stride"];
  return p;
}

void call_conv(const ffi::Call& call) {
  conv(windowed(call), call.read(0), call.read(1), call.write(0), &call.pool);
}

void call_images(const ffi::Call& call) {
  gathered_back(windowed(call), call.read(0), call.read(1), call.write(0), &call.pool);
}

void call_relu(const ffi::Call& call) {
  Problem p = problem(call, call.result(0));
  p.HO = call["height"], p.WO = call["width"];
  Byte* codes = call.result(1)[1] ? call.write<Byte>(1) : nullptr;
  conv(p, call.read(0), call.read(1), call.write(0), &call.pool, {call.read(2), codes, call["window"]});
}

void call_back(const ffi::Call& call) {
  Problem p = problem(call, call.result(0));
  p.H = call["height"], p.W = call["width"];
  conv(p, call.read(0), call.read(2), call.write(0), &call.pool, {}, {call.read<Byte>(1), call["window"]});
}

void call_weights(const ffi::Call& call) {
  Problem p = problem(call, call.shape(1));
  p.kh = call.result(0)[0], p.kw = call.result(0)[1], p.stride = call["stride"];
  weights(p, call.read(0), call.read(1), call.write(0), &call.pool);
}

// scale, bias and epsilon are the arguments from that one on.
Norm normalised(const ffi::Call& call, int from) {
  const Int* n = call.shape(0);
  return {n[0] * n[1] * n[2], n[3], call.read(from), call.read(from + 1), *call.read(from + 2), call["relu"] != 0};
}

void call_norm(const ffi::Call& call) {
  norm(normalised(call, 1), call.read(0), call.write(0), call.write(1), call.write(2), &call.pool);
}

void call_norm_back(const ffi::Call& call) {
  norm_back(normalised(call, 4), call.read(0), call.read(1), call.read(2), call.read(3), call.write(0), call.write(1),
            call.write(2), &call.pool);
}

}  // namespace

#define DEFINE(name) \
  XLA_FFI_Error* advbench_##name(XLA_FFI_CallFrame* frame) { return ffi::answer(frame, call_##name); }

extern "C" {
DEFINE(conv) DEFINE(images) DEFINE(relu) DEFINE(back) DEFINE(weights) DEFINE(norm)
DEFINE(norm_back)

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
  weights({n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]}, x, dy, dw, nullptr);
}
// n: pixels, channels, and whether ReLU follows.
void alone_norm(const Int* n, const float* x, const float* scale, const float* bias, const float* epsilon, float* y,
                float* mean, float* var) {
  norm({n[0], n[1], scale, bias, *epsilon, n[2] != 0}, x, y, mean, var, nullptr);
}
void alone_norm_back(const Int* n, const float* dy, const float* x, const float* mean, const float* var,
                     const float* scale, const float* bias, const float* epsilon, float* dx, float* dscale,
                     float* dbias) {
  norm_back({n[0], n[1], scale, bias, *epsilon, n[2] != 0}, dy, x, mean, var, dx, dscale, dbias, nullptr);
}
}
