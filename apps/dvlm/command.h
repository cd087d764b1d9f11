// The program's commands and their options. CLI11, which reads them, is known to command.cpp alone: it takes
// seconds to compile in every file that includes it.
#pragma once
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace dvlm {

template <class T>
constexpr T kAny = std::numeric_limits<T>::max();  // the end of a range that has none

class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option required();
  Option existing();  // values are files or folders that are there
  Option several();   // values may follow each other: --calibration a.jsonl photos/

 private:
  CLI::Option* option_;
};

// An empty value is refused. A number must be the whole text, exact and in its range: NaN is not, and nothing
// is rounded or wrapped around. --help shows the value from before as the default where there is one and the
// help does not name it itself ("(default: ...").
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  Command add(const char* name, const char* help);  // a command of this one, of which one must be given
  // What it does when its options are read; --help ends with `footer`.
  void runs(std::function<void()> action, const char* footer);

  // --help lists what is added from here on under this title.
  void group(const char* title);
  void flag(const char* flags, bool& value, const char* help);
  Option text(const char* flags, std::string& value, const std::string& help);
  Option text(const char* flags, std::filesystem::path& value, const std::string& help);
  Option choice(const char* flags, std::string& value, const std::vector<std::string>& choices,
                const std::string& help);
  // T: int, int64_t, size_t (uint64_t), double.
  template <class T>
  Option number(const char* flags, T& value, std::type_identity_t<T> low, std::type_identity_t<T> high,
                const std::string& help);

  // One value for each time that the flag is given.
  Option repeated(const char* flags, std::vector<std::string>& values, const std::string& help);
  // Lists, separated by commas or blanks.
  Option texts(const char* flags, std::vector<std::string>& values, const std::string& help);
  Option choices(const char* flags, std::vector<std::string>& values, const std::vector<std::string>& choices,
                 const std::string& help);
  template <class T>
  Option numbers(const char* flags, std::vector<T>& values, std::type_identity_t<T> low,
                 std::type_identity_t<T> high, const std::string& help);

  // Whoever gives `flag` gives none of `others`. All are there already.
  void excludes(const char* flag, std::initializer_list<const char*> others);
  void needs(const char* flag, const char* other);  // `flag` alone would change nothing

 private:
  CLI::App* app_;
};

// Reads the command line and runs the command that it names, of those that `add` adds. Returns the exit
// status.
int run_command_line(int argc, char** argv, const std::function<void(Command)>& add);

// From a command: end with this status. What went wrong is told already.
[[noreturn]] void end_with(int status);

// The subcommands, one file each.
void add_run(Command app);
void add_inspect(Command app);
void add_devices(Command app);
void add_tokenize(Command app);
void add_grammar(Command app);
void add_pull(Command app);
void add_serve(Command app);
void add_eval(Command app);
void add_synth(Command app);
void add_quantize(Command app);
void add_merge(Command app);
void add_bench(Command app);
void add_train(Command app);

}  // namespace dvlm
