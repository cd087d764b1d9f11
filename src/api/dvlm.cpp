// libdvlm: the C interface over the engine. No exception leaves this file.
#include "dvlm/dvlm.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "checkpoint/hub_cache.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "engine/engine.h"
#include "engine/request_json.h"
#include "engine/scheduler.h"
#include "engine/token_writer.h"
#include "image/frame.h"
#include "text/mask_token.h"

namespace dvlm {

// A model and its thread. Answers share it with the engine: its tokenizer names their tokens.
struct LoadedModel {
  explicit LoadedModel(const EngineOptions& options)
      : engine(options), writer(engine.tokenizer(), mask_token(engine.tokenizer(), engine.config())) {
    // Whoever submits is the program itself, whose loops need no bound but one against running wild.
    scheduler.emplace(engine.generator(), SchedulerOptions{.max_waiting = 4096, .progress_every = {}});
  }

  Engine engine;
  const TokenWriter writer;
  std::optional<Scheduler> scheduler;  // none: the engine is closed
};

}  // namespace dvlm

struct dvlm_engine {
  std::shared_ptr<dvlm::LoadedModel> loaded;
};

struct dvlm_answer {
  dvlm_answer(std::shared_ptr<dvlm::LoadedModel> of, std::shared_ptr<dvlm::RequestHandle> given,
              dvlm::DecodeOptions options)
      : loaded(std::move(of)), handle(std::move(given)), decode(std::move(options)) {}
  ~dvlm_answer() { handle->cancel(); }
  dvlm_answer(const dvlm_answer&) = delete;
  dvlm_answer& operator=(const dvlm_answer&) = delete;

  std::shared_ptr<dvlm::LoadedModel> loaded;  // until it has ended: gigabytes
  std::shared_ptr<dvlm::RequestHandle> handle;
  dvlm::DecodeOptions decode;
  dvlm::RequestHandle::Update update = {};  // the last one
  nlohmann::json passes = nlohmann::json::array();
};

namespace dvlm {

namespace {

char* copy_text(const std::string& text) {
  char* out = static_cast<char*>(std::malloc(text.size() + 1));
  if (!out) throw std::bad_alloc();
  std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}

// Runs f; a failure becomes nullptr and a sentence.
template <class F>
auto guarded(char** error, F&& f) -> decltype(f()) {
  std::string message;
  try {
    return f();
  } catch (const std::bad_alloc&) {
    message = "out of memory";
  } catch (const std::exception& caught) {
    message = printable(caught.what(), 4096);
  } catch (...) {
    message = "unknown failure";
  }
  if (error) *error = ::strdup(message.c_str());
  return nullptr;
}

EngineOptions parse_options(const char* model, const char* options) {
  if (!model) fail("dvlm_open: model is NULL");
  EngineOptions out;
  out.model = find_model(model);
  out.load.device = "auto";
  out.load.draft = DraftPrecision::automatic;
  if (!options) return out;
  const nlohmann::json json = parse_json(options, "options");
  const JsonObject object(json, "options");
  out.lora = object.string("lora", ""), out.draft_lora = object.string("draft_lora", "");
  out.load.device = object.string("device", "auto");
  out.load.precision = parse_precision(object.string("precision", "auto"));
  out.load.draft = parse_draft_precision(object.string("draft_precision", "auto"));
  out.load.packed_file = object.string("packed", "");
  out.load.threads = static_cast<int>(object.integer("threads", 0, 1024, 0));
  out.load.memory_limit = static_cast<size_t>(object.integer("memory_limit", 0, int64_t{1} << 50, 0));
  object.refuse_others();
  return out;
}

// Up to the last member of the first version.
constexpr size_t kFirstFrame = offsetof(dvlm_frame, pixels) + sizeof(dvlm_frame::pixels);
constexpr size_t kFirstUpdate = offsetof(dvlm_update, ended) + sizeof(dvlm_update::ended);

// A frame of any version: what an older one lacks is zero, and what a newer one has beyond this one must be.
dvlm_frame of_any_version(const std::byte* given, const std::string& name) {
  constexpr size_t kMaxSize = 1024;
  dvlm_frame out = {};
  std::memcpy(&out.size, given, sizeof(out.size));
  if (out.size < kFirstFrame || out.size > kMaxSize)
    fail("{}: its size is {}: set it to sizeof(dvlm_frame)", name, out.size);
  const std::span<const std::byte> all(given, out.size);
  if (out.size > sizeof(out) &&
      std::ranges::any_of(all.subspan(sizeof(out)), [](std::byte b) { return b != std::byte{}; }))
    fail("{}: it asks for something that dvlm {} does not know: update libdvlm", name, DVLM_VERSION);
  std::memcpy(&out, given, std::min(out.size, sizeof(out)));
  return out;
}

Image read_frame(const dvlm_frame& frame, const std::string& name) {
  constexpr PixelFormat kFormats[] = {PixelFormat::rgb,  PixelFormat::bgr,  PixelFormat::rgba,
                                      PixelFormat::bgra, PixelFormat::gray, PixelFormat::nv12};
  if (frame.pixels == DVLM_FILE) {
    if (!frame.data) fail("{}: there is no file: its data is null", name);
    return decode_image(std::as_bytes(std::span(frame.data, frame.length)), name);
  }
  if (frame.pixels < 0 || frame.pixels > DVLM_FILE)
    fail("{}: {} is no format of pixels; see DVLM_RGB", name, frame.pixels);
  return image_of({.data = frame.data,
                   .chroma = frame.chroma,
                   .stride = frame.stride,
                   .width = frame.width,
                   .height = frame.height,
                   .format = kFormats[frame.pixels]},
                  name);
}

// Each frame's `size` says where the next one begins.
std::map<std::string, Image> read_frames(const dvlm_frame* frames, size_t count) {
  if (count > 0 && !frames) fail("frames is NULL but frame_count is {}", count);
  std::map<std::string, Image> out;
  const auto* at = reinterpret_cast<const std::byte*>(frames);
  for (size_t i = 0; i < count; ++i) {
    const std::string name = "frame:" + std::to_string(i);
    const dvlm_frame frame = of_any_version(at, name);
    out[name] = read_frame(frame, name);
    at += frame.size;
  }
  return out;
}

std::unique_ptr<dvlm_answer> submit(dvlm_engine* engine, const char* request_text, const dvlm_frame* frames,
                                    size_t frame_count) {
  if (!engine) fail("engine is NULL");
  if (!request_text) fail("request is NULL");
  LoadedModel& loaded = *engine->loaded;
  Request request = parse_request(parse_json(request_text, "request"), loaded.engine.config());
  request.images_in_memory = read_frames(frames, frame_count);
  auto handle = loaded.scheduler->submit(request);
  if (!handle) fail("too many answers wait already: take some of them first");
  if (const std::string error = handle->error(); !error.empty()) fail("{}", error);
  return std::make_unique<dvlm_answer>(engine->loaded, std::move(handle), request.decode);
}

bool wait_for_update(dvlm_answer& answer, int timeout_ms) {
  const std::chrono::milliseconds timeout(timeout_ms < 0 ? std::numeric_limits<int>::max() : timeout_ms);
  answer.update = answer.handle->wait(timeout, true);
  if (answer.loaded)
    for (nlohmann::json& pass : passes_json(answer.update.passes, answer.loaded->writer))
      answer.passes.push_back(std::move(pass));
  if (answer.update.done) answer.loaded.reset();
  return answer.update.done || !answer.update.text.empty() || !answer.update.progress.empty() ||
         !answer.update.passes.empty();
}

dvlm_update update_of(const dvlm_answer& answer, size_t size) {
  const RequestHandle::Update& last = answer.update;
  dvlm_update out = {.size = size,
                     .text = last.text.c_str(),
                     .length = last.text.size(),
                     .stage = nullptr,
                     .done = 0,
                     .total = 0,
                     .ended = last.done};
  if (last.progress.empty()) return out;
  const WorkProgress& work = last.progress.back();
  out.stage = name_of(work.stage).data();  // a literal, which ends with a zero
  out.done = work.done, out.total = work.total;
  return out;
}

std::string result(const dvlm_answer& answer) {
  if (!answer.update.done) fail("the answer has not ended: wait for it");
  if (!answer.update.error.empty() && !answer.update.given_up) fail("{}", answer.update.error);
  Answer ended = answer.handle->answer();
  if (answer.update.given_up) ended.finish = FinishReason::cancelled;
  nlohmann::json out = answer_json(ended, answer.decode);
  if (answer.decode.record) out["passes"] = answer.passes;
  return out.dump();
}

// Whether the caller wants more.
bool tell(const RequestHandle::Update& update, dvlm_on_text on_text, dvlm_on_progress on_progress,
          void* user) {
  if (on_progress)
    for (const WorkProgress& work : update.progress)
      if (on_progress(name_of(work.stage).data(), work.done, work.total, user) == 0) return false;
  return !on_text || update.text.empty() || on_text(update.text.data(), update.text.size(), user) != 0;
}

std::string generate(dvlm_answer& answer, dvlm_on_text on_text, dvlm_on_progress on_progress, void* user) {
  bool wanted = true;
  do {
    wait_for_update(answer, -1);
    if (wanted && !tell(answer.update, on_text, on_progress, user)) {
      wanted = false;
      answer.handle->cancel();
    }
  } while (!answer.update.done);
  return result(answer);
}

}  // namespace

}  // namespace dvlm

extern "C" {

dvlm_engine* dvlm_open(const char* model, const char* options, char** error) {
  return dvlm::guarded(error, [&] {
    return new dvlm_engine{std::make_shared<dvlm::LoadedModel>(dvlm::parse_options(model, options))};
  });
}

void dvlm_close(dvlm_engine* engine) {
  if (engine) engine->loaded->scheduler.reset();
  delete engine;
}

char* dvlm_generate(dvlm_engine* engine, const char* request, const dvlm_frame* frames, size_t frame_count,
                    dvlm_on_text on_text, dvlm_on_progress on_progress, void* user, char** error) {
  return dvlm::guarded(error, [&] {
    const auto answer = dvlm::submit(engine, request, frames, frame_count);
    return dvlm::copy_text(dvlm::generate(*answer, on_text, on_progress, user));
  });
}

dvlm_answer* dvlm_submit(dvlm_engine* engine, const char* request, const dvlm_frame* frames,
                         size_t frame_count, char** error) {
  return dvlm::guarded(error, [&] { return dvlm::submit(engine, request, frames, frame_count).release(); });
}

int dvlm_wait(dvlm_answer* answer, int timeout_ms, dvlm_update* update) {
  if (!answer || !update || update->size < dvlm::kFirstUpdate) return -1;
  try {
    const bool any = dvlm::wait_for_update(*answer, timeout_ms);
    const dvlm_update out = dvlm::update_of(*answer, update->size);
    std::memcpy(update, &out, std::min(update->size, sizeof(out)));
    return any;
  } catch (...) {  // no memory
    answer->handle->cancel();
    return -1;
  }
}

void dvlm_cancel(dvlm_answer* answer) {
  if (answer) answer->handle->cancel();
}

char* dvlm_result(dvlm_answer* answer, char** error) {
  return dvlm::guarded(error, [&] {
    if (!answer) dvlm::fail("dvlm_result: answer is NULL");
    return dvlm::copy_text(dvlm::result(*answer));
  });
}

void dvlm_release(dvlm_answer* answer) {
  delete answer;
}

void dvlm_free(char* string) {
  std::free(string);
}

const char* dvlm_version(void) {
  return DVLM_VERSION;
}

}  // extern "C"
