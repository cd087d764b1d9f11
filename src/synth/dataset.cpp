#include "synth/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "synth/painter.h"
#include "synth/png_file.h"

namespace dvlm {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kLinesPerThread = 64;  // between two looks at Ctrl-C

const char* split_name(Split split) {
  return split == Split::train ? "train" : "test";
}

Json scene_json(const Scene& scene) {
  Json objects = Json::array();
  for (const Object& object : scene.objects) {
    const Box& box = object.box;
    Json entry = {{"name", object.name()},
                  {"place", kPlaceNames[static_cast<size_t>(object.place)]},
                  {"bbox_2d", {box.x1, box.y1, box.x2, box.y2}}};
    if (object.kind == Kind::shape) entry["color"] = kColours[static_cast<size_t>(object.colour)].name;
    if (object.kind == Kind::sign) entry["text"] = object.text;
    objects.push_back(std::move(entry));
  }
  return {{"width", scene.width},
          {"height", scene.height},
          {"background", scene.background.phrase()},
          {"objects", std::move(objects)}};
}

// What training may learn about parts of the picture: each object's name (a sign's text) and its place. Names
// and places begin with a space, as words inside a sentence do for the tokenizer.
Json regions_json(const Scene& scene) {
  Json regions = Json::array();
  for (const Object& object : scene.objects) {
    const Box& box = object.box;
    const std::string name = object.kind == Kind::sign ? object.text : " " + object.name();
    for (const std::string& label : {name, std::string(" ") + kPlaceNames[static_cast<size_t>(object.place)]})
      regions.push_back({{"bbox_2d", {box.x1, box.y1, box.x2, box.y2}}, {"label", label}});
  }
  return regions;
}

Json user_message(const Question& question, const std::string& image) {
  Json content = Json::array();
  if (!image.empty()) content.push_back({{"type", "image"}, {"image", image}});
  content.push_back({{"type", "text"}, {"text", question.text}});
  return {{"role", "user"}, {"content", std::move(content)}};
}

class Writer {
 public:
  explicit Writer(const SynthOptions& options) : options_(options), types_(options.types) {
    if (types_.empty())
      for (int i = 0; i < kQuestionTypes; ++i) types_.push_back(static_cast<QuestionType>(i));
  }

  // Draws and writes picture `index`, and returns its line.
  std::string make(Painter& painter, int64_t index) const {
    const std::string image = fmt::format("images/{:06}.png", index);
    Json line = {{"id", fmt::format("{}-{}-{:06}", split_name(options_.split), options_.seed, index)}};
    const Scene scene = options_.conversations ? conversation(painter, index, image, line)
                                               : single_question(painter, index, image, line);
    line["scene"] = scene_json(scene);
    if (options_.images) write_png(options_.output / image, painter.paint(scene));
    return line.dump() + "\n";
  }

 private:
  Scene conversation(Painter& painter, int64_t index, const std::string& image, Json& line) const {
    Scene scene = make_scene(painter, options_.seed, options_.split, index, 0, options_.scene);
    Random random = sample_random(options_.seed, options_.split, Purpose::question, index);
    const int turns =
        options_.min_turns + static_cast<int>(random.below(options_.max_turns - options_.min_turns + 1));
    Json messages = Json::array(), types = Json::array();
    for (const Question& question : converse(scene, turns, random, options_.types)) {
      messages.push_back(user_message(question, messages.empty() ? image : std::string()));
      messages.push_back({{"role", "assistant"}, {"content", question.answer}});
      types.push_back(type_name(question.type));
    }
    line["messages"] = std::move(messages), line["types"] = std::move(types);
    line["regions"] = regions_json(scene);
    return scene;
  }

  // The type is fixed by the index; scenes are drawn until one allows it, so that every type is equally
  // common.
  Scene single_question(Painter& painter, int64_t index, const std::string& image, Json& line) const {
    const QuestionType type = types_[static_cast<size_t>(index) % types_.size()];
    for (int attempt = 0; attempt < 256; ++attempt) {
      Scene scene = make_scene(painter, options_.seed, options_.split, index, attempt, options_.scene);
      Random random = sample_random(options_.seed, options_.split, Purpose::question, index, attempt);
      const auto question = ask(type, scene, random);
      if (!question) continue;
      line["messages"] = Json::array({user_message(*question, image)});
      line["type"] = type_name(type), line["answer"] = question->answer;
      return scene;
    }
    fail(
        "no scene with these options allows a question of type {}: leave the type out or allow more objects "
        "and signs",
        type_name(type));
  }

  const SynthOptions& options_;
  std::vector<QuestionType> types_;
};

void make_folders(const SynthOptions& options) {
  make_folder(options.images ? options.output / "images" : options.output);
  if (!options.overwrite && fs::exists(options.output / "data.jsonl"))
    fail("{} already holds a data set; choose another folder or pass --force", options.output.string());
}

// Lines [begin, end) in order, made on all threads.
std::vector<std::string> make_lines(const Writer& writer, std::vector<std::unique_ptr<Painter>>& painters,
                                    ThreadPool& pool, int64_t begin, int64_t end) {
  std::vector<std::string> lines(static_cast<size_t>(end - begin));
  std::mutex mutex;
  std::exception_ptr error;
  pool.run([&](int thread) {
    try {
      for (int64_t i = begin + thread; i < end; i += pool.threads())
        lines[static_cast<size_t>(i - begin)] = writer.make(*painters[static_cast<size_t>(thread)], i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
  return lines;
}

}  // namespace

void SynthOptions::validate() const {
  if (count < 1 || count > kMaxCount) fail("synth: count is {}; it must be 1 to {}", count, kMaxCount);
  if (first < 0 || first > kMaxFirst) fail("synth: first is {}; it must be 0 to {}", first, kMaxFirst);
  if (min_turns < 1 || max_turns < min_turns || max_turns > kMaxTurns)
    fail("synth: min_turns is {} and max_turns {}; 1 <= min_turns <= max_turns <= {} is needed", min_turns,
         max_turns, kMaxTurns);
  if (scene.max_objects < 1 || scene.max_objects > kMaxObjects)
    fail("synth: max_objects is {}; it must be 1 to {}", scene.max_objects, kMaxObjects);
  if (!(scene.sign_share >= 0 && scene.sign_share <= 1))
    fail("synth: sign_share is {}; it must be 0 to 1", scene.sign_share);
  if (threads < 1 || threads > 1024) fail("synth: threads is {}; it must be 1 to 1024", threads);
}

int64_t write_dataset(const SynthOptions& options) {
  options.validate();
  if (options.output.empty()) fail("synth: output is empty; name a folder");
  make_folders(options);
  const Writer writer(options);
  ThreadPool pool(options.threads);
  std::vector<std::unique_ptr<Painter>> painters(static_cast<size_t>(pool.threads()));
  for (auto& painter : painters) painter = std::make_unique<Painter>();
  FileWriter file(options.output / "data.jsonl");
  Progress progress("scenes", options.count);
  int64_t done = 0;
  while (done < options.count && !interrupted()) {
    const int64_t end = std::min<int64_t>(options.count, done + int64_t{kLinesPerThread} * pool.threads());
    for (const std::string& line :
         make_lines(writer, painters, pool, options.first + done, options.first + end))
      file.append(line);
    done = end;
    progress.update(done);
  }
  file.commit();
  return done;
}

void write_contact_sheet(const SynthOptions& options, const fs::path& path, int columns, int rows) {
  options.validate();
  if (columns < 1 || columns > 40 || rows < 1 || rows > 40)
    fail("synth: a contact sheet of {}x{} scenes is not possible; 1 to 40 each", columns, rows);
  constexpr int kCell = 260, kPicture = 252;
  constexpr uint8_t kGrey = 96;
  Painter painter;
  Image sheet{columns * kCell, rows * kCell, {}};
  sheet.pixels.assign(static_cast<size_t>(sheet.width) * static_cast<size_t>(sheet.height) * 3, kGrey);
  for (int i = 0; i < columns * rows; ++i) {
    const Scene scene = make_scene(painter, options.seed, options.split, options.first + i, 0, options.scene);
    const Image picture = painter.paint(scene);
    const int left = i % columns * kCell + (kCell - kPicture) / 2 + (kPicture - picture.width) / 2;
    const int top = i / columns * kCell + (kCell - kPicture) / 2 + (kPicture - picture.height) / 2;
    for (int y = 0; y < picture.height; ++y)
      std::copy_n(picture.pixels.begin() + static_cast<ptrdiff_t>(y) * picture.width * 3, picture.width * 3,
                  sheet.pixels.begin() + (static_cast<ptrdiff_t>(top + y) * sheet.width + left) * 3);
  }
  write_png(path, sheet, Compression::small);
}

}  // namespace dvlm
