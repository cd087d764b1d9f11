#include "command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <utility>

#include "core/edit_distance.h"
#include "core/error.h"
#include "core/terminal.h"

namespace dvlm {

namespace {

using Values = std::vector<std::string>;

// The longest of "-n,--max-tokens", for messages.
std::string name_of(const std::string& flags) {
  return flags.substr(flags.rfind(',') + 1);
}

[[noreturn]] void refuse(const std::string& flags, const std::string& expected, const std::string& value) {
  throw CLI::ValidationError(name_of(flags),
                             fmt::format("expected {}, but got \"{}\"", expected, printable(value)));
}

Option add_option(CLI::App* app, const std::string& flags, const std::string& type, const std::string& start,
                  const std::string& help, const std::function<void(const Values&)>& read) {
  CLI::Option* option = app->add_option(
      flags,
      [flags, read](const Values& values) {
        for (const std::string& value : values)
          if (value.empty()) throw CLI::ValidationError(name_of(flags), "must not be empty");
        read(values);
        return true;
      },
      help);
  option->type_name(type);
  if (help.find("(default") == std::string::npos) option->default_str(start);
  return Option(option);
}

// Values of a list stand after each other or between commas.
Option add_list(CLI::App* app, const std::string& flags, const std::string& type, const std::string& start,
                const std::string& help, const std::function<void(const Values&)>& read) {
  Option option = add_option(app, flags, type, start, help, read).several();
  app->get_option(name_of(flags))->delimiter(',');
  return option;
}

template <class T>
std::string range_text(T low, T high) {
  if (high == kAny<T>) return fmt::format("{} or more", low);
  return fmt::format("{} to {}", low, high);
}

template <class T>
std::string number_type(T low, T high) {
  return fmt::format("{}({})", std::is_integral_v<T> ? "INT" : "FLOAT", range_text(low, high));
}

template <class T>
T read_number(const std::string& flags, const std::string& text, T low, T high) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= low && value <= high))
    refuse(flags,
           fmt::format("a {}number ({})", std::is_integral_v<T> ? "whole " : "", range_text(low, high)),
           text);
  return value;
}

std::string read_choice(const std::string& flags, const std::string& text, const Values& choices) {
  if (std::ranges::find(choices, text) == choices.end())
    refuse(flags, fmt::format("one of {}", fmt::join(choices, ", ")), text);
  return text;
}

std::string choice_type(const Values& choices) {
  return fmt::format("{{{}}}", fmt::join(choices, ","));
}

// --help: its lines end where the terminal does. That flags exclude each other is told when they clash.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kColumn); }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0) return "";
    std::string out = " " + option->get_type_name();
    if (!option->get_default_str().empty()) out += "=" + option->get_default_str();
    if (option->get_expected_max() == CLI::detail::expected_max_vector_size) out += " ...";
    return option->get_required() ? out + " (required)" : out;
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    return wrapped(option->get_description());
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::ostringstream out;
    CLI::detail::format_help(out, command->get_name(), wrapped(command->get_description()), kColumn);
    return out.str();
  }

 private:
  static constexpr size_t kColumn = 28;

  static std::string wrapped(const std::string& text) {
    const size_t width = std::clamp<size_t>(terminal_columns(STDOUT_FILENO).value_or(100), 60, 120) - kColumn;
    std::istringstream words(text);
    std::string out, word;
    for (size_t used = 0; words >> word; used += word.size()) {
      if (used > 0 && used + 1 + word.size() > width)
        out += '\n', used = 0;
      else if (used > 0)
        out += ' ', ++used;
      out += word;
    }
    return out;
  }
};

// What a word that is not known was most probably meant to be: " (did you mean --image?)", or "".
std::string meant(const std::string& word, const Values& known) {
  const auto far = [&](const std::string& other) { return edit_distance(word, other); };
  const auto nearest = std::ranges::min_element(known, {}, far);
  if (nearest == known.end() || far(*nearest) > std::max<size_t>(1, word.size() / 3)) return "";
  return fmt::format(" (did you mean {}?)", *nearest);
}

// What the deepest command that the line names does not know.
std::string explain_unknown(const CLI::App& command, const Values& words) {
  const auto flag =
      std::ranges::find_if(words, [](const std::string& word) { return word.starts_with('-'); });
  const std::string& word = flag == words.end() ? words.front() : *flag;
  Values known;
  if (flag != words.end()) {
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    return fmt::format("there is no option {}{}", printable(word), meant(word, known));
  }
  for (const CLI::App* one : command.get_subcommands({})) known.push_back(one->get_name());
  return known.empty() ? fmt::format("\"{}\" was not expected", printable(word))
                       : fmt::format("there is no command {}{}", printable(word), meant(word, known));
}

// A mistake in the command line as one sentence, like any other error.
void tell_usage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  std::string path = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    path += " " + command->get_name();
  }
  const Values unknown = app.remaining(true);
  const std::string what = unknown.empty() ? error.what() : explain_unknown(*command, unknown);
  std::fprintf(stderr, "dvlm: error: %s; %s --help lists what there is\n", what.c_str(), path.c_str());
}

}  // namespace

Option Option::required() {
  option_->required();
  return *this;
}

Option Option::existing() {
  option_->check([](const std::string& path) {
    std::error_code error;
    return std::filesystem::exists(path, error) ? "" : fmt::format("there is no {}", printable(path));
  });
  return *this;
}

Option Option::several() {
  option_->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
  return *this;
}

Command Command::add(const char* name, const char* help) {
  app_->require_subcommand(1);
  return Command(app_->add_subcommand(name, help));
}

void Command::group(const char* title) {
  app_->option_defaults()->group(title);
}

void Command::runs(std::function<void()> action, const char* footer) {
  app_->callback(std::move(action));
  app_->footer(footer);
}

void Command::flag(const char* flags, bool& value, const char* help) {
  app_->add_flag(flags, value, help);
}

Option Command::text(const char* flags, std::string& value, const std::string& help) {
  return add_option(app_, flags, "TEXT", value, help,
                    [&value](const Values& given) { value = given.front(); });
}

Option Command::text(const char* flags, std::filesystem::path& value, const std::string& help) {
  return add_option(app_, flags, "TEXT", value.string(), help,
                    [&value](const Values& given) { value = given.front(); });
}

Option Command::choice(const char* flags, std::string& value, const std::vector<std::string>& choices,
                       const std::string& help) {
  return add_option(app_, flags, choice_type(choices), value, help,
                    [=, &value](const Values& given) { value = read_choice(flags, given.front(), choices); });
}

template <class T>
Option Command::number(const char* flags, T& value, std::type_identity_t<T> low, std::type_identity_t<T> high,
                       const std::string& help) {
  return add_option(
      app_, flags, number_type(low, high), fmt::format("{}", value), help,
      [=, &value](const Values& given) { value = read_number(flags, given.front(), low, high); });
}

Option Command::repeated(const char* flags, std::vector<std::string>& values, const std::string& help) {
  Option option =
      add_option(app_, flags, "TEXT", "", help, [&values](const Values& given) { values = given; });
  app_->get_option(name_of(flags))->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return option;
}

Option Command::texts(const char* flags, std::vector<std::string>& values, const std::string& help) {
  return add_list(app_, flags, "TEXT", fmt::format("{}", fmt::join(values, ",")), help,
                  [&values](const Values& given) { values = given; });
}

Option Command::choices(const char* flags, std::vector<std::string>& values,
                        const std::vector<std::string>& choices, const std::string& help) {
  return add_list(app_, flags, choice_type(choices), fmt::format("{}", fmt::join(values, ",")), help,
                  [=, &values](const Values& given) {
                    values.clear();
                    for (const std::string& text : given) values.push_back(read_choice(flags, text, choices));
                  });
}

template <class T>
Option Command::numbers(const char* flags, std::vector<T>& values, std::type_identity_t<T> low,
                        std::type_identity_t<T> high, const std::string& help) {
  return add_list(app_, flags, number_type(low, high), fmt::format("{}", fmt::join(values, ",")), help,
                  [=, &values](const Values& given) {
                    values.clear();
                    for (const std::string& text : given)
                      values.push_back(read_number(flags, text, low, high));
                  });
}

template Option Command::number(const char*, int&, int, int, const std::string&);
template Option Command::number(const char*, int64_t&, int64_t, int64_t, const std::string&);
template Option Command::number(const char*, uint64_t&, uint64_t, uint64_t, const std::string&);
template Option Command::number(const char*, double&, double, double, const std::string&);
template Option Command::numbers(const char*, std::vector<int>&, int, int, const std::string&);
template Option Command::numbers(const char*, std::vector<size_t>&, size_t, size_t, const std::string&);
template Option Command::numbers(const char*, std::vector<double>&, double, double, const std::string&);

void Command::excludes(const char* flag, std::initializer_list<const char*> others) {
  for (const char* other : others) app_->get_option(flag)->excludes(app_->get_option(other));
}

void Command::needs(const char* flag, const char* other) {
  app_->get_option(flag)->needs(app_->get_option(other));
}

int run_command_line(int argc, char** argv, const std::function<void(Command)>& add) {
  constexpr int kUsage = 2;
  CLI::App app{"dvlm: block-diffusion vision-language models at the speed of memory", "dvlm"};
  app.set_version_flag("--version", "dvlm " DVLM_VERSION);
  app.formatter(std::make_shared<HelpFormatter>());
  add(Command(&app));
  Values words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) {
    std::fputs(app.help().c_str(), stderr);
    return kUsage;
  }
  if (words.front() == "help")
    std::rotate(words.begin(), words.begin() + 1, words.end()), words.back() = "--help";
  // Help about nothing is a wrong command line: CLI11 would answer it with the help of everything.
  const auto is_command = [&](const CLI::App* command) { return command->check_name(words.front()); };
  if (!words.front().starts_with('-') && std::ranges::none_of(app.get_subcommands({}), is_command))
    std::erase(words, "--help"), std::erase(words, "-h");
  std::ranges::reverse(words);  // as CLI11 takes them
  try {
    app.parse(words);
  } catch (const CLI::RuntimeError& end) {
    return end.get_exit_code();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    tell_usage(app, error);
    return kUsage;
  }
  return 0;
}

void end_with(int status) {
  throw CLI::RuntimeError(status);
}

}  // namespace dvlm
