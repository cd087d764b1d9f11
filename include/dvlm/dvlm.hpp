// dvlm's C++ interface, header-only over the C one: link libdvlm and nothing else.
#pragma once
#include <dvlm/dvlm.h>

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dvlm::client {

class Engine {
 public:
  // Throws std::runtime_error with a sentence when the checkpoint cannot be used. `options`: see dvlm_open.
  explicit Engine(const std::string& folder, const std::string& options = "{}") {
    char* error = nullptr;
    engine_.reset(dvlm_open(folder.c_str(), options.c_str(), &error));
    if (!engine_) raise(error);
  }

  // Who hears of the work of answers from now on, see dvlm_listen; returns false to stop.
  void listen(std::function<bool(std::string_view stage, int64_t done, int64_t total)> on_progress) {
    on_progress_ = std::make_unique<OnProgress>(std::move(on_progress));
    const dvlm_on_progress forward = [](const char* stage, int64_t done, int64_t total, void* user) -> int {
      return (*static_cast<const OnProgress*>(user))(stage, done, total);
    };
    dvlm_listen(engine_.get(), *on_progress_ ? forward : nullptr, on_progress_.get());
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
  using OnProgress = std::function<bool(std::string_view, int64_t, int64_t)>;

  [[noreturn]] static void raise(char* error) {
    const std::string message = error ? error : "unknown error";
    dvlm_free(error);
    throw std::runtime_error(message);
  }
  struct Close {
    void operator()(dvlm_engine* engine) const { dvlm_close(engine); }
  };
  std::unique_ptr<OnProgress> on_progress_;  // it stays where it is when the engine moves
  std::unique_ptr<dvlm_engine, Close> engine_;
};

}  // namespace dvlm::client
