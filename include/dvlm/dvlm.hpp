// dvlm's C++ interface, header-only over the C one: link libdvlm and nothing else.
#pragma once
#include <dvlm/dvlm.h>

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dvlm::client {

class Engine {
 public:
  // Throws std::runtime_error with a sentence when the checkpoint cannot be used. `options`: see dvlm_open.
  explicit Engine(const std::string& folder, const std::string& options = "{}") {
    char* error = nullptr;
    engine_.reset(dvlm_open(folder.c_str(), options.c_str(), &error));
    if (!engine_) raise(error);
  }

  // `on_text` returns false to stop. Returns the answer as JSON; `request` as in dvlm_generate.
  std::string generate(const std::string& request, std::span<const dvlm_frame> frames = {},
                       const std::function<bool(std::string_view)>& on_text = {}) {
    const dvlm_on_text forward = [](const char* text, size_t length, void* user) -> int {
      return (*static_cast<const std::function<bool(std::string_view)>*>(user))({text, length});
    };
    char* error = nullptr;
    const std::unique_ptr<char, void (*)(char*)> answer(
        dvlm_generate(engine_.get(), request.c_str(), frames.data(), frames.size(),
                      on_text ? forward : nullptr,
                      const_cast<std::function<bool(std::string_view)>*>(&on_text), &error),
        dvlm_free);
    if (!answer) raise(error);
    return answer.get();
  }

 private:
  [[noreturn]] static void raise(char* error) {
    const std::string message = error ? error : "unknown error";
    dvlm_free(error);
    throw std::runtime_error(message);
  }
  struct Close {
    void operator()(dvlm_engine* engine) const { dvlm_close(engine); }
  };
  std::unique_ptr<dvlm_engine, Close> engine_;
};

}  // namespace dvlm::client
