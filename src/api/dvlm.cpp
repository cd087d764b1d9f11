// libdvlm: the C interface over the engine. No exception leaves this file.
#include "dvlm/dvlm.h"

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "checkpoint/hub_cache.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "engine/engine.h"
#include "engine/request_json.h"

struct dvlm_engine {
  std::unique_ptr<dvlm::Engine> engine;
  dvlm_on_progress on_progress = nullptr;
  void* progress_user = nullptr;
};

namespace dvlm {

namespace {

char* copy_text(const std::string& text) {
  char* out = static_cast<char*>(std::malloc(text.size() + 1));
  if (out) std::memcpy(out, text.c_str(), text.size() + 1);
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
  if (error) *error = copy_text(message);
  return nullptr;
}

EngineOptions parse_options(const char* folder, const char* options) {
  if (!folder) fail("dvlm_open: folder is NULL");
  EngineOptions out;
  out.model = find_model(folder);
  out.load.device = "auto";
  out.load.draft = DraftPrecision::automatic;
  if (!options) return out;
  const nlohmann::json json = parse_json(options, "options");
  const JsonObject object(json, "options");
  for (const auto& [key, unused] : json.items())
    if (key != "lora" && key != "draft_lora" && key != "device" && key != "precision" &&
        key != "draft_precision" && key != "packed" && key != "threads" && key != "memory_limit")
      fail("options: the key \"{}\" is not known", printable(key));
  out.lora = object.string("lora", ""), out.draft_lora = object.string("draft_lora", "");
  out.load.device = object.string("device", "auto");
  out.load.precision = parse_precision(object.string("precision", "auto"));
  out.load.draft = parse_draft_precision(object.string("draft_precision", "auto"));
  out.load.packed_file = object.string("packed", "");
  out.load.threads = static_cast<int>(object.integer("threads", 0, 1024, 0));
  out.load.memory_limit = static_cast<size_t>(object.integer("memory_limit", 0, int64_t{1} << 50, 0));
  return out;
}

std::map<std::string, Image> copy_frames(const dvlm_frame* frames, size_t count) {
  constexpr int64_t kMaxPixels = DecodeLimits{}.max_pixels;
  if (count > 0 && !frames) fail("dvlm_generate: frames is NULL but frame_count is {}", count);
  std::map<std::string, Image> out;
  for (size_t i = 0; i < count; ++i) {
    const dvlm_frame& frame = frames[i];
    if (!frame.rgb || frame.width < 1 || frame.height < 1 || int64_t{frame.width} * frame.height > kMaxPixels)
      fail("dvlm_generate: frame {} is empty or larger than {} pixels ({} x {})", i, kMaxPixels, frame.width,
           frame.height);
    const size_t bytes = static_cast<size_t>(frame.width) * static_cast<size_t>(frame.height) * 3;
    out["frame:" + std::to_string(i)] = {frame.width, frame.height,
                                         std::vector<uint8_t>(frame.rgb, frame.rgb + bytes)};
  }
  return out;
}

char* generate(const dvlm_engine& handle, const char* request_text, const dvlm_frame* frames,
               size_t frame_count, dvlm_on_text on_text, void* user) {
  if (!request_text) fail("dvlm_generate: request is NULL");
  Engine& engine = *handle.engine;
  Request request = parse_request(parse_json(request_text, "request"), engine.config());
  request.images_in_memory = copy_frames(frames, frame_count);
  bool stopped = false;
  const auto emit = [&](std::string_view text) {
    stopped = stopped || on_text(text.data(), text.size(), user) == 0;
  };
  const auto tell = [&](const WorkProgress& work) {
    const char* stage = name_of(work.stage).data();  // a literal, which ends with a zero
    stopped = stopped || handle.on_progress(stage, work.done, work.total, handle.progress_user) == 0;
  };
  const Answer answer = engine.generate(
      request, on_text ? std::function<void(std::string_view)>(emit) : nullptr, [&] { return stopped; },
      handle.on_progress ? std::function<void(const WorkProgress&)>(tell) : nullptr);
  return copy_text(answer_json(answer, request.decode).dump());
}

}  // namespace

}  // namespace dvlm

extern "C" {

dvlm_engine* dvlm_open(const char* folder, const char* options, char** error) {
  return dvlm::guarded(error, [&] {
    return new dvlm_engine{.engine = std::make_unique<dvlm::Engine>(dvlm::parse_options(folder, options))};
  });
}

void dvlm_close(dvlm_engine* engine) {
  delete engine;
}

void dvlm_listen(dvlm_engine* engine, dvlm_on_progress on_progress, void* user) {
  if (!engine) return;
  engine->on_progress = on_progress;
  engine->progress_user = user;
}

char* dvlm_generate(dvlm_engine* engine, const char* request, const dvlm_frame* frames, size_t frame_count,
                    dvlm_on_text on_text, void* user, char** error) {
  return dvlm::guarded(error, [&] {
    if (!engine) dvlm::fail("dvlm_generate: engine is NULL");
    return dvlm::generate(*engine, request, frames, frame_count, on_text, user);
  });
}

void dvlm_free(char* string) {
  std::free(string);
}

const char* dvlm_version(void) {
  return DVLM_VERSION;
}

}  // extern "C"
