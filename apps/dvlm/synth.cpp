// dvlm synth: synthetic scenes, charts and documents with questions and answers.
#include <fmt/core.h>

#include <memory>

#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/thread_pool.h"
#include "options.h"
#include "synth/dataset.h"

namespace dvlm {

namespace {

constexpr const char* kSynthFooter = R"(Examples:
  dvlm synth --out data/train --count 60000
  dvlm synth --out data/test --split test --count 500
  dvlm synth --out data/long --split test --count 100 --types describe,plan
  dvlm synth --out data/papers --count 40000 --types charts,documents:2
  dvlm synth --contact-sheet scenes.png

A training line is one conversation of several questions about its picture; a test line is one question with
its answer. The same seed gives the same files. Training and test pictures never share random numbers.)";

struct SynthArguments {
  SynthOptions options;
  std::string split = "train", mode, sheet;
  std::vector<std::string> types;
  int columns = 5, rows = 4;
  bool no_images = false;
};

void run_synth(SynthArguments& arguments) {
  SynthOptions& options = arguments.options;
  options.split = arguments.split == "test" ? Split::test : Split::train;
  options.conversations =
      arguments.mode.empty() ? options.split == Split::train : arguments.mode == "conversation";
  options.images = !arguments.no_images;
  options.types = types_from_names(arguments.types);
  if (!arguments.sheet.empty())
    write_contact_sheet(options, arguments.sheet, arguments.columns, arguments.rows);
  if (options.output.empty()) {
    if (arguments.sheet.empty()) fail("nothing to do: give --out FOLDER or --contact-sheet FILE");
    return;
  }
  install_interrupt_handler();
  const int64_t lines = write_dataset(options);
  fmt::print("{} lines in {}\n", lines, (options.output / "data.jsonl").string());
  if (lines < options.count)
    fmt::print(stderr, "interrupted after {} of {} scenes; what is there is complete\n", lines,
               options.count);
}

}  // namespace

void add_synth(Command app) {
  auto arguments = std::make_shared<SynthArguments>();
  SynthOptions& options = arguments->options;
  options.threads = ThreadPool::default_threads();
  Command command =
      app.add("synth", "Draw synthetic scenes, charts and documents with questions and answers");
  command.text("--out", options.output, "Folder for images/ and data.jsonl");
  command.number("--count", options.count, 1, SynthOptions::kMaxCount, "Number of scenes");
  command.number("--first", options.first, 0, SynthOptions::kMaxFirst, "Index of the first scene");
  command.number("--seed", options.seed, 0, kMaxSeed, "Seed of everything random");
  command.choice("--split", arguments->split, {"train", "test"}, "Two disjoint worlds of one seed");
  command.choice("--mode", arguments->mode, {"conversation", "question"},
                 "What a line holds (default: conversation for train, question for test)");
  command.texts("--types", arguments->types,
                "Ask only questions of these types, e.g. where,box:3 (thrice as often); scenes, charts and "
                "documents are all types of theirs (default: scenes)");
  command.number("--min-turns", options.min_turns, 1, SynthOptions::kMaxTurns,
                 "Fewest questions in a conversation");
  command.number("--max-turns", options.max_turns, 1, SynthOptions::kMaxTurns,
                 "Most questions in a conversation");
  command.number("--max-objects", options.scene.max_objects, 1, kMaxObjects, "Most objects in a scene");
  command.number("--sign-share", options.scene.sign_share, 0, 1, "Share of the scenes that have a sign");
  command.number(
      "--benchmark-share", options.benchmark_share, 0, 1,
      "Share of the conversations whose questions have options to choose from, or ask for a word or "
      "phrase, as benchmarks do");
  command.flag("--cell-regions", options.cell_regions,
               "Label the image tokens that show an object with their column and row, as C5");
  command.number("--threads", options.threads, 1, 1024, "Threads that draw");
  command.flag("--no-images", arguments->no_images, "Write data.jsonl only");
  command.flag("--force", options.overwrite, "Replace an existing data.jsonl");
  command.text("--contact-sheet", arguments->sheet, "Draw the first scenes in one PNG, to look at");
  command.number("--columns", arguments->columns, 1, 40, "Columns of the contact sheet");
  command.number("--rows", arguments->rows, 1, 40, "Rows of the contact sheet");
  command.runs([arguments] { run_synth(*arguments); }, kSynthFooter);
}

}  // namespace dvlm
