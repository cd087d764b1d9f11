// The C entry points of the plugin: no exception leaves them.
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>

extern "C" __attribute__((visibility("default"))) const char* dvlm_plugin_version() {
  return DVLM_VERSION;
}

// A backend for tensors on cards, which the caller owns; null: `problem` holds a sentence of less than `room`
// bytes. `store` is lent. A wait of its works ends when the collective has, and throws when it cannot.
extern "C" __attribute__((visibility("default"))) c10d::Backend* dvlm_open_nccl(c10d::Store* store, int rank,
                                                                                int size, int minutes,
                                                                                char* problem, size_t room) {
  try {
    // By default its watchdog would end the process, and nobody would hear why.
    ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
    ::setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
    const auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::minutes(minutes);
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::intrusive_ptr<c10d::Store>::reclaim_copy(store),
                                                       rank, size, options)
        .release();
  } catch (const std::exception& error) {
    std::snprintf(problem, room, "%s", error.what());
  } catch (...) {
    std::snprintf(problem, room, "an unknown error");
  }
  return nullptr;
}
