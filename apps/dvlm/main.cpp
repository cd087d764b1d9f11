// dvlm: the command line. Every subcommand lives in its own file; errors of all of them end here.
#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/memory.h"

namespace {

constexpr int kFailure = 1, kInterrupted = 130;

int run(int argc, char** argv) {
  const int status = dvlm::run_command_line(argc, argv, [](dvlm::Command app) {
    dvlm::add_run(app);
    dvlm::add_serve(app);
    dvlm::add_inspect(app);
    dvlm::add_devices(app);
    dvlm::add_tokenize(app);
    dvlm::add_grammar(app);
    dvlm::add_pull(app);
    dvlm::add_eval(app);
    dvlm::add_synth(app);
    dvlm::add_quantize(app);
    dvlm::add_merge(app);
    dvlm::add_bench(app);
    dvlm::add_train(app);
  });
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    dvlm::fail("cannot write to standard output: {}", std::strerror(errno));
  return status == 0 && dvlm::interrupted() ? kInterrupted : status;
}

// Were standard input, output or errors closed, the next file or client would take their numbers, and lines
// for people would go there.
void open_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream)
    if (::fcntl(stream, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != stream) std::_Exit(kFailure);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  dvlm::explain_lost_files();
  try {
    return run(argc, argv);
  } catch (const dvlm::Error& error) {
    // Names from outside may hold control bytes.
    std::fprintf(stderr, "dvlm: error: %s\n", dvlm::printable(error.what(), 4096).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "dvlm: error: out of memory; try a smaller model, --max-tokens or --max-pixels\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dvlm: error: %s\n", dvlm::printable(error.what(), 4096).c_str());
  }
  return dvlm::interrupted() ? kInterrupted : kFailure;
}
