// dvlm synth: synthetic tabletop scenes with questions and answers.
#include <fmt/core.h>

#include <memory>

#include "commands.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/thread_pool.h"
#include "options.h"
#include "synth/dataset.h"

namespace dvlm {

namespace {

constexpr const char* kExamples = R"(
Examples:
  dvlm synth --out data/train --count 60000
  dvlm synth --out data/test --split test --count 500
  dvlm synth --out data/long --split test --count 100 --types describe,plan
  dvlm synth --contact-sheet scenes.png

A training line is one conversation of several questions about its picture; a test line is one question with
its answer. The same seed gives the same files. Training and test scenes never share random numbers.)";

struct Arguments {
  SynthOptions options;
  std::string split = "train", mode, sheet;
  std::vector<std::string> types;
  int columns = 5, rows = 4;
  bool no_images = false;
};

void run_synth(Arguments& arguments) {
  SynthOptions& options = arguments.options;
  options.split = arguments.split == "test" ? Split::test : Split::train;
  options.conversations =
      arguments.mode.empty() ? options.split == Split::train : arguments.mode == "conversation";
  options.images = !arguments.no_images;
  for (const std::string& name : arguments.types) options.types.push_back(type_from_name(name));
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

void add_synth(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  SynthOptions& options = arguments->options;
  options.threads = ThreadPool::default_threads();
  CLI::App* command =
      app.add_subcommand("synth", "Draw synthetic tabletop scenes with questions and answers");
  command->footer(kExamples);
  command->add_option("--out", options.output, "folder for images/ and data.jsonl");
  command->add_option("--count", options.count, "number of scenes")->capture_default_str();
  command->add_option("--first", options.first, "index of the first scene")->capture_default_str();
  add_checked(*command, "--seed", options.seed, kSeedRange, "seed of everything random");
  add_checked(*command, "--split", arguments->split, CLI::IsMember({"train", "test"}),
              "train or test: two disjoint worlds of one seed");
  command
      ->add_option("--mode", arguments->mode,
                   "conversation (default for train) or question (default for test)")
      ->check(CLI::IsMember({"conversation", "question"}));
  command
      ->add_option("--types", arguments->types,
                   "ask only questions of these types, e.g. where,count,describe")
      ->delimiter(',');
  command->add_option("--min-turns", options.min_turns, "fewest questions in a conversation")
      ->capture_default_str();
  command->add_option("--max-turns", options.max_turns, "most questions in a conversation")
      ->capture_default_str();
  command->add_option("--max-objects", options.scene.max_objects, "most objects in a scene (1 to 6)")
      ->capture_default_str();
  command->add_option("--sign-share", options.scene.sign_share, "share of the scenes that have a sign")
      ->capture_default_str();
  command->add_option("--threads", options.threads, "threads that draw")->capture_default_str();
  command->add_flag("--no-images", arguments->no_images, "write data.jsonl only");
  command->add_flag("--force", options.overwrite, "replace an existing data.jsonl");
  command->add_option("--contact-sheet", arguments->sheet, "draw the first scenes in one PNG, to look at");
  command->add_option("--columns", arguments->columns, "columns of the contact sheet")->capture_default_str();
  command->add_option("--rows", arguments->rows, "rows of the contact sheet")->capture_default_str();
  command->callback([arguments] { run_synth(*arguments); });
}

}  // namespace dvlm
