// The module _dvlm: libdvlm's functions for Python. What users see is python/dvlm.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <unistd.h>
#include <dvlm/dvlm.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace nb = nanobind;
namespace client = dvlm::client;

// A type of its own: other modules throw std::runtime_error, too.
struct DvlmError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class F>
auto translated(const F& call) {
  try {
    return call();
  } catch (const std::runtime_error& error) {
    throw DvlmError(error.what());
  }
}

// What belongs to the process that made it: a forked one has its memory, but none of the threads that work
// there, and must neither use nor end it.
template <class T>
class OfProcess {
 public:
  OfProcess() = default;
  explicit OfProcess(std::shared_ptr<T> value) : value_(std::move(value)) {}
  OfProcess(OfProcess&& other) noexcept : value_(std::move(other.value_)), process_(other.process_) {}
  OfProcess(const OfProcess&) = delete;
  OfProcess& operator=(const OfProcess&) = delete;
  ~OfProcess() { take(); }

  std::shared_ptr<T> get() const {
    if (process_ != ::getpid())
      throw DvlmError("this process was forked from the one that loaded the model: load it here, too");
    return value_;
  }
  // Null in a forked process, where it is left alone for ever.
  std::shared_ptr<T> take() {
    if (process_ == ::getpid()) return std::move(value_);
    if (value_) new std::shared_ptr<T>(std::move(value_));
    return nullptr;
  }

 private:
  std::shared_ptr<T> value_;
  pid_t process_ = ::getpid();
};

// Memory of a Python object for as long as this lives. The caller holds the interpreter's lock.
class View {
 public:
  explicit View(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_STRIDED_RO) != 0) nb::raise_python_error();
  }
  View(View&& other) noexcept : buffer_(other.buffer_) { other.buffer_.obj = nullptr; }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { PyBuffer_Release(&buffer_); }

  const uint8_t* data() const { return static_cast<const uint8_t*>(buffer_.buf); }
  size_t size() const { return static_cast<size_t>(buffer_.len); }

 private:
  Py_buffer buffer_ = {};
};

// Pictures as _pictures.py has checked them: (buffer, format, width, height, stride).
struct Frames {
  explicit Frames(const nb::list& pictures) {
    for (const nb::handle item : pictures) {
      const auto picture = nb::cast<nb::tuple>(item);
      views.emplace_back(picture[0]);
      dvlm_frame& frame = frames.emplace_back(
          client::frame(views.back().data(), nb::cast<int>(picture[2]), nb::cast<int>(picture[3]),
                        nb::cast<int>(picture[1]), nb::cast<int64_t>(picture[4])));
      frame.length = views.back().size();
    }
  }
  std::vector<View> views;
  std::vector<dvlm_frame> frames;
};

class PythonAnswer {
 public:
  explicit PythonAnswer(client::Answer answer)
      : answer_(std::make_shared<client::Answer>(std::move(answer))) {}

  // (text, stage or None, done, total, ended), or None when nothing came.
  nb::object wait(int timeout_ms) {
    const std::shared_ptr<client::Answer> answer = answer_.get();
    const auto update = [&] {
      const nb::gil_scoped_release release;
      return answer->wait(timeout_ms);
    }();
    if (!update) return nb::none();
    const nb::object stage = update->stage ? nb::object(nb::str(update->stage)) : nb::none();
    return nb::make_tuple(nb::str(update->text, update->length), stage, update->done, update->total,
                          update->ended != 0);
  }
  void cancel() { answer_.get()->cancel(); }
  std::string result() {
    return translated([&] { return answer_.get()->result(); });
  }

 private:
  OfProcess<client::Answer> answer_;
};

class PythonEngine {
 public:
  PythonEngine(const std::string& model, const std::string& options) {
    const nb::gil_scoped_release release;
    engine_.emplace(translated([&] { return std::make_shared<client::Engine>(model, options); }));
  }
  ~PythonEngine() {
    if (engine_) close();
  }

  PythonAnswer submit(const std::string& request, const nb::list& pictures) {
    const std::shared_ptr<client::Engine> engine = engine_->get();  // another thread may close it meanwhile
    if (!engine) throw DvlmError("the model is closed");
    const Frames frames(pictures);
    const nb::gil_scoped_release release;
    return translated([&] { return PythonAnswer(engine->submit(request, frames.frames)); });
  }
  // Waits for the pass under way.
  void close() {
    std::shared_ptr<client::Engine> engine = engine_->take();
    const nb::gil_scoped_release release;
    engine.reset();
  }

 private:
  std::optional<OfProcess<client::Engine>> engine_;  // null inside: closed
};

}  // namespace

NB_MODULE(_dvlm, m) {
  const nb::exception<DvlmError> registered(m, "Error", PyExc_RuntimeError);
  m.def("version", &dvlm_version);
  m.attr("FORMATS") = [] {
    nb::dict out;
    out["rgb"] = int{DVLM_RGB}, out["bgr"] = int{DVLM_BGR}, out["rgba"] = int{DVLM_RGBA};
    out["bgra"] = int{DVLM_BGRA}, out["gray"] = int{DVLM_GRAY}, out["nv12"] = int{DVLM_NV12};
    out["file"] = int{DVLM_FILE};
    return out;
  }();
  nb::class_<PythonAnswer>(m, "Answer")
      .def("wait", &PythonAnswer::wait, nb::arg("timeout_ms"))
      .def("cancel", &PythonAnswer::cancel)
      .def("result", &PythonAnswer::result);
  nb::class_<PythonEngine>(m, "Engine")
      .def(nb::init<const std::string&, const std::string&>(), nb::arg("model"), nb::arg("options"))
      .def("submit", &PythonEngine::submit, nb::arg("request"), nb::arg("pictures"))
      .def("close", &PythonEngine::close);
}
