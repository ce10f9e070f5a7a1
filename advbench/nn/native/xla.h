// XLA's foreign function interface, by its C structures: its C++ templates take longer to compile than the whole kernel.

#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#include "xla/ffi/api/c_api.h"

namespace {
namespace ffi {

class ThreadPool {
 public:
  explicit ThreadPool(const XLA_FFI_CallFrame* frame) : api(frame->api), context(frame->ctx) {}

  int64_t num_threads() const {
    int64_t count = 0;
    XLA_FFI_ThreadPool_NumThreads_Args args = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, nullptr, context, &count};
    forget(api->XLA_FFI_ThreadPool_NumThreads(&args));
    return count;
  }

  // Where the pool takes no work, this thread does it.
  void Schedule(std::function<void()> work) const {
    XLA_FFI_Task* const task = [](void* data) {
      auto* const work = static_cast<std::function<void()>*>(data);
      (*work)();
      delete work;
    };
    auto* const data = new std::function<void()>(std::move(work));
    XLA_FFI_ThreadPool_Schedule_Args args = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, nullptr, context, task, data};
    if (forget(api->XLA_FFI_ThreadPool_Schedule(&args))) task(data);
  }

 private:
  bool forget(XLA_FFI_Error* error) const {
    if (!error) return false;
    XLA_FFI_Error_Destroy_Args args = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
    api->XLA_FFI_Error_Destroy(&args);
    return true;
  }

  const XLA_FFI_Api* api;
  XLA_FFI_ExecutionContext* context;
};

// Arguments, results and attributes of one call; their number and types are those that the module's `_call` gives.
class Call {
 public:
  explicit Call(const XLA_FFI_CallFrame* frame) : pool(frame), frame(frame) {}

  const int64_t* shape(int i) const { return argument(i)->dims; }
  template <class T = float>
  const T* read(int i) const { return static_cast<const T*>(argument(i)->data); }

  const int64_t* result(int i) const { return made(i)->dims; }
  template <class T = float>
  T* write(int i) const { return static_cast<T*>(made(i)->data); }

  int64_t operator[](const char* name) const {
    const size_t length = std::strlen(name);
    for (int64_t i = 0; i < frame->attrs.size; i++)
      if (const auto* key = frame->attrs.names[i]; key->len == length && !std::memcmp(key->ptr, name, length))
        return *static_cast<const int64_t*>(static_cast<const XLA_FFI_Scalar*>(frame->attrs.attrs[i])->value);
    return 0;
  }

  mutable ThreadPool pool;

 private:
  const XLA_FFI_Buffer* argument(int i) const { return static_cast<const XLA_FFI_Buffer*>(frame->args.args[i]); }
  const XLA_FFI_Buffer* made(int i) const { return static_cast<const XLA_FFI_Buffer*>(frame->rets.rets[i]); }

  const XLA_FFI_CallFrame* frame;
};

// Answers XLA, which first asks for the version of the interface, and then calls.
inline XLA_FFI_Error* answer(XLA_FFI_CallFrame* frame, void (*work)(const Call&)) {
  if (auto* asked = frame->extension_start; asked && asked->type == XLA_FFI_Extension_Metadata) {
    auto* about = reinterpret_cast<XLA_FFI_Metadata_Extension*>(asked)->metadata;
    about->api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
    about->traits = 0;
    about->state_type_id = XLA_FFI_UNKNOWN_TYPE_ID;
  } else {
    work(Call(frame));
  }
  return nullptr;
}

}  // namespace ffi
}  // namespace
