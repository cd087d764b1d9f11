// Ctrl-C as a flag: long loops ask, finish what they hold, and return.
#pragma once

namespace dvlm {

// From now on SIGINT and SIGTERM set the flag; a second one ends the process at once (exit status 130).
void install_interrupt_handler();
bool interrupted();
void clear_interrupt();  // of SIGINT; SIGTERM ends the process, not one of its answers

}  // namespace dvlm
