// dvlm's C++ interface, header-only over the C one: link libdvlm and nothing else.
#pragma once
#include <dvlm/dvlm.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dvlm::client {

// A picture in memory, see dvlm_frame. `pixels`: DVLM_RGB, ...; `stride`: bytes from a row to the next.
inline dvlm_frame frame(const uint8_t* data, int width, int height, int pixels = DVLM_RGB,
                        int64_t stride = 0) {
  dvlm_frame out = {};
  out.size = sizeof(out), out.data = data, out.stride = stride;
  out.width = width, out.height = height, out.pixels = pixels;
  return out;
}

// A picture file in memory: JPEG, PNG, ...
inline dvlm_frame picture_file(std::span<const uint8_t> bytes) {
  dvlm_frame out = {};
  out.size = sizeof(out), out.data = bytes.data(), out.length = bytes.size(), out.pixels = DVLM_FILE;
  return out;
}

namespace detail {

[[noreturn]] inline void raise(char* error) {
  const std::string message = error ? error : "unknown error";
  dvlm_free(error);
  throw std::runtime_error(message);
}

// For C, a zero byte would end it.
inline const char* whole(const std::string& text) {
  if (text.find('\0') != text.npos) throw std::runtime_error("a zero byte cannot be part of a text for dvlm");
  return text.c_str();
}

inline std::string take(char* text, char* error) {
  if (!text) raise(error);
  const std::unique_ptr<char, void (*)(char*)> owned(text, dvlm_free);
  return owned.get();
}

}  // namespace detail

using OnText = std::function<bool(std::string_view text)>;
using OnProgress = std::function<bool(std::string_view stage, int64_t done, int64_t total)>;

// An answer under way. Cancelled where it is dropped.
class Answer {
 public:
  explicit Answer(dvlm_answer* answer) : answer_(answer) {}

  // What is new, see dvlm_wait; nothing: the time is over.
  std::optional<dvlm_update> wait(int timeout_ms = -1) {
    dvlm_update update = {};
    update.size = sizeof(update);
    if (dvlm_wait(answer_.get(), timeout_ms, &update) <= 0) return {};
    return update;
  }
  void cancel() { dvlm_cancel(answer_.get()); }

  // The answer as JSON, once it has ended. Throws std::runtime_error with the sentence where there is none.
  std::string result() {
    char* error = nullptr;
    char* text = dvlm_result(answer_.get(), &error);
    return detail::take(text, error);
  }

 private:
  struct Release {
    void operator()(dvlm_answer* answer) const { dvlm_release(answer); }
  };
  std::unique_ptr<dvlm_answer, Release> answer_;
};

class Engine {
 public:
  // Throws std::runtime_error with a sentence when the checkpoint cannot be used. `options`: see dvlm_open.
  explicit Engine(const std::string& model, const std::string& options = "{}") {
    char* error = nullptr;
    engine_.reset(dvlm_open(detail::whole(model), detail::whole(options), &error));
    if (!engine_) detail::raise(error);
  }

  // Either function returns false to stop. Returns the answer as JSON; `request` as in dvlm_generate. What a
  // function throws must not leave it.
  std::string generate(const std::string& request, std::span<const dvlm_frame> frames = {},
                       const OnText& on_text = {}, const OnProgress& on_progress = {}) {
    using Listeners = std::pair<const OnText&, const OnProgress&>;
    const dvlm_on_text text = [](const char* piece, size_t length, void* user) -> int {
      return static_cast<const Listeners*>(user)->first({piece, length});
    };
    const dvlm_on_progress progress = [](const char* stage, int64_t done, int64_t total, void* user) -> int {
      return static_cast<const Listeners*>(user)->second(stage, done, total);
    };
    Listeners listeners(on_text, on_progress);
    char* error = nullptr;
    char* answer =
        dvlm_generate(engine_.get(), detail::whole(request), frames.data(), frames.size(),
                      on_text ? text : nullptr, on_progress ? progress : nullptr, &listeners, &error);
    return detail::take(answer, error);
  }

  Answer submit(const std::string& request, std::span<const dvlm_frame> frames = {}) {
    char* error = nullptr;
    dvlm_answer* answer =
        dvlm_submit(engine_.get(), detail::whole(request), frames.data(), frames.size(), &error);
    if (!answer) detail::raise(error);
    return Answer(answer);
  }

 private:
  struct Close {
    void operator()(dvlm_engine* engine) const { dvlm_close(engine); }
  };
  std::unique_ptr<dvlm_engine, Close> engine_;
};

}  // namespace dvlm::client
