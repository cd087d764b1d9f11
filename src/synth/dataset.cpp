#include "synth/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <variant>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "synth/painter.h"
#include "synth/phrases.h"
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

Json paper_json(const Paper& paper) {
  Json entries = Json::array();
  for (const PaperEntry& entry : paper.entries) {
    if (paper.is_chart())
      entries.push_back({{"name", entry.name}, {"value", entry.number}});
    else
      entries.push_back({{"name", entry.name}, {"text", entry.text}});
  }
  return {{"width", paper.width},
          {"height", paper.height},
          {"kind", kind_name(paper.kind)},
          {"title", paper.title},
          {"entries", std::move(entries)}};
}

Json region_json(const Box& box, const std::string& label) {
  return {{"bbox_2d", {box.x1, box.y1, box.x2, box.y2}}, {"label", label}};
}

// A sign's text; of a number each digit, in its half of the card: one label of "47" would be that of "74",
// too.
void add_sign_regions(const Object& sign, Json& regions) {
  const bool number = std::ranges::all_of(sign.text, [](char c) { return c >= '0' && c <= '9'; });
  if (!number) return regions.push_back(region_json(sign.box, sign.text));
  const auto digits = static_cast<int>(sign.text.size()), width = sign.box.x2 - sign.box.x1;
  for (int i = 0; i < digits; ++i) {
    Box box = sign.box;
    box.x1 = sign.box.x1 + width * i / digits, box.x2 = sign.box.x1 + width * (i + 1) / digits;
    regions.push_back(region_json(box, sign.text.substr(static_cast<size_t>(i), 1)));
  }
}

// The cells of kCell pixels whose centres lie in the object, and the one that holds its centre, each called
// by its column and row, as the squares of a chessboard are. The words of a region have no order: "column 3
// row 5" would be "column 5 row 3", too.
void add_cell_regions(const Box& box, Json& regions) {
  constexpr int kCell = 28;  // an image token
  const auto inside = [&](int x, int y) { return x >= box.x1 && x < box.x2 && y >= box.y1 && y < box.y2; };
  const int middle_column = (box.x1 + box.x2) / 2 / kCell, middle_row = (box.y1 + box.y2) / 2 / kCell;
  for (int row = box.y1 / kCell; row * kCell < box.y2; ++row) {
    for (int column = box.x1 / kCell; column * kCell < box.x2; ++column) {
      const int x = column * kCell, y = row * kCell;
      const bool middle = column == middle_column && row == middle_row;
      if (!middle && !inside(x + kCell / 2, y + kCell / 2)) continue;
      regions.push_back(region_json({x, y, x + kCell, y + kCell},
                                    fmt::format("{}{}", static_cast<char>('A' + column), row + 1)));
    }
  }
}

// What training may learn about parts of the picture: each object's name (a sign's text) and its place. Names
// and places begin with a space, as words inside a sentence do for the tokenizer.
Json regions_json(const Scene& scene, bool cells) {
  Json regions = Json::array();
  for (const Object& object : scene.objects) {
    if (object.kind == Kind::sign)
      add_sign_regions(object, regions);
    else
      regions.push_back(region_json(object.box, " " + object.name()));
    regions.push_back(
        region_json(object.box, std::string(" ") + kPlaceNames[static_cast<size_t>(object.place)]));
    if (cells) add_cell_regions(object.box, regions);
  }
  return regions;
}

Json regions_json(const std::vector<Mark>& marks) {
  Json regions = Json::array();
  for (const Mark& mark : marks) regions.push_back(region_json(mark.box, mark.label));
  return regions;
}

Json user_message(const Question& question, const std::string& image) {
  Json content = Json::array();
  if (!image.empty()) content.push_back({{"type", "image"}, {"image", image}});
  content.push_back({{"type", "text"}, {"text", question.text}});
  return {{"role", "user"}, {"content", std::move(content)}};
}

// A picture and what is asked about it.
struct Drawing {
  std::variant<Scene, Paper> subject;
  std::vector<Question> questions;
};

constexpr int kAttempts =
    255;  // pictures that are tried for one line; the stream after them chooses the subject

class Writer {
 public:
  explicit Writer(const SynthOptions& options) : options_(options), types_(options.types) {
    if (types_.empty())
      for (int i = 0; i < kSceneTypes; ++i) types_.push_back(static_cast<QuestionType>(i));
  }

  // Draws and writes picture `index`, and returns its line.
  std::string make(Painter& painter, int64_t index) const {
    const std::string image = fmt::format("images/{:06}.png", index);
    Json line = {{"id", fmt::format("{}-{}-{:06}", split_name(options_.split), options_.seed, index)}};
    const Drawing drawing =
        options_.conversations ? conversation(painter, index) : single_question(painter, index);
    if (options_.conversations)
      add_conversation(drawing.questions, image, line);
    else
      add_question(drawing.questions.front(), image, line);
    if (const Scene* scene = std::get_if<Scene>(&drawing.subject)) {
      if (options_.conversations) line["regions"] = regions_json(*scene, options_.cell_regions);
      line["scene"] = scene_json(*scene);
      if (options_.images) write_png(options_.output / image, painter.paint(*scene));
    } else {
      const Paper& paper = std::get<Paper>(drawing.subject);
      const PaperPicture drawn = paint_paper(paper);
      if (options_.conversations) line["regions"] = regions_json(drawn.marks);
      line["paper"] = paper_json(paper);
      if (options_.images) write_png(options_.output / image, drawn.picture);
    }
    return line.dump() + "\n";
  }

  Image picture(Painter& painter, int64_t index) const {
    const Drawing drawing =
        options_.conversations ? conversation(painter, index) : single_question(painter, index);
    const Scene* scene = std::get_if<Scene>(&drawing.subject);
    return scene ? painter.paint(*scene) : paint_paper(std::get<Paper>(drawing.subject)).picture;
  }

 private:
  std::variant<Scene, Paper> draw(Painter& painter, Subject subject, int64_t index, int attempt) const {
    if (subject == Subject::scene)
      return make_scene(painter, options_.seed, options_.split, index, attempt, options_.scene);
    const Family family = subject == Subject::chart ? Family::charts : Family::documents;
    return make_paper(family, options_.seed, options_.split, index, attempt);
  }

  Random questions_random(int64_t index, int attempt) const {
    return sample_random(options_.seed, options_.split, Purpose::question, index, attempt);
  }

  // The first of the picture's questions is drawn before the picture: of several subjects each comes as often
  // as its types are listed.
  Drawing conversation(Painter& painter, int64_t index) const {
    Random choice = questions_random(index, kAttempts);
    const QuestionType type = pick(types_, choice);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      Drawing drawing{draw(painter, subject_of(type), index, attempt), {}};
      Random random = questions_random(index, attempt);
      const int turns =
          options_.min_turns + static_cast<int>(random.below(options_.max_turns - options_.min_turns + 1));
      if (const Scene* scene = std::get_if<Scene>(&drawing.subject))
        drawing.questions = converse(*scene, turns, random, options_.types);
      else if (ask(type, std::get<Paper>(drawing.subject), choice))  // a receipt where the total is asked
        drawing.questions = converse(std::get<Paper>(drawing.subject), turns, random, options_.types);
      if (drawing.questions.empty()) continue;
      if (options_.benchmark_share > 0 && random.uniform() < options_.benchmark_share)
        for (Question& question : drawing.questions) question = as_in_benchmarks(std::move(question), random);
      return drawing;
    }
    refuse(type);
  }

  // The type is fixed by the index; pictures are drawn until one allows it, so that every type is equally
  // common.
  Drawing single_question(Painter& painter, int64_t index) const {
    const QuestionType type = types_[static_cast<size_t>(index) % types_.size()];
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      Drawing drawing{draw(painter, subject_of(type), index, attempt), {}};
      Random random = questions_random(index, attempt);
      const auto question =
          std::visit([&](const auto& subject) { return ask(type, subject, random); }, drawing.subject);
      if (!question) continue;
      drawing.questions.push_back(*question);
      return drawing;
    }
    refuse(type);
  }

  [[noreturn]] static void refuse(QuestionType type) {
    fail(
        "no picture with these options allows a question of type {}: leave the type out or allow more "
        "objects and signs",
        type_name(type));
  }

  static void add_conversation(const std::vector<Question>& questions, const std::string& image, Json& line) {
    Json messages = Json::array(), types = Json::array();
    for (const Question& question : questions) {
      messages.push_back(user_message(question, messages.empty() ? image : std::string()));
      messages.push_back({{"role", "assistant"}, {"content", question.answer}});
      types.push_back(type_name(question.type));
    }
    line["messages"] = std::move(messages), line["types"] = std::move(types);
  }

  static void add_question(const Question& question, const std::string& image, Json& line) {
    line["messages"] = Json::array({user_message(question, image)});
    line["type"] = type_name(question.type), line["answer"] = question.answer;
    line["metric"] = metric_of(question.type), line["long"] = is_long(question.type);
  }

  const SynthOptions& options_;
  std::vector<QuestionType> types_;
};

// Without the lines of another data set: pictures are written first, and they are not theirs.
void make_folders(const SynthOptions& options) {
  const fs::path lines = options.output / "data.jsonl", images = options.output / "images";
  std::error_code error;
  const bool used =
      fs::exists(lines) || (options.images && fs::exists(images) && !fs::is_empty(images, error));
  if (used && !options.overwrite)
    fail("{} already holds a data set; choose another folder or pass --force", options.output.string());
  fs::remove(lines, error);
  make_folder(options.images ? images : options.output);
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
  if (!(benchmark_share >= 0 && benchmark_share <= 1))
    fail("synth: benchmark_share is {}; it must be 0 to 1", benchmark_share);
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
  const Writer writer(options);
  Image sheet{columns * kCell, rows * kCell, {}};
  sheet.pixels.assign(static_cast<size_t>(sheet.width) * static_cast<size_t>(sheet.height) * 3, kGrey);
  for (int i = 0; i < columns * rows; ++i) {
    const Image picture = writer.picture(painter, options.first + i);
    const int left = i % columns * kCell + (kCell - kPicture) / 2 + (kPicture - picture.width) / 2;
    const int top = i / columns * kCell + (kCell - kPicture) / 2 + (kPicture - picture.height) / 2;
    for (int y = 0; y < picture.height; ++y)
      std::copy_n(picture.pixels.begin() + static_cast<ptrdiff_t>(y) * picture.width * 3, picture.width * 3,
                  sheet.pixels.begin() + (static_cast<ptrdiff_t>(top + y) * sheet.width + left) * 3);
  }
  write_png(path, sheet, Compression::small);
}

}  // namespace dvlm
