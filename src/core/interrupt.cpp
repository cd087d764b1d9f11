#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace dvlm {

namespace {

std::atomic<int> signals{0};
std::atomic<bool> sigterm{false};

void on_signal(int signal) {
  if (signal == SIGTERM) sigterm = true;
  if (signals.fetch_add(1) > 0) ::_exit(130);
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // without SA_RESTART: a blocked read returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return signals.load(std::memory_order_relaxed) > 0;
}
void clear_interrupt() {
  signals = 0;
}
bool terminated() {
  return sigterm.load(std::memory_order_relaxed);
}

}  // namespace dvlm
