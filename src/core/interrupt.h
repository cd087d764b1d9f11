// Ctrl-C as a flag: long loops ask, finish what they hold, and return.
#pragma once

namespace dvlm {

// From now on SIGINT and SIGTERM set the flag; a second one ends the process at once (exit status 130).
void install_interrupt_handler();
bool interrupted();
bool terminated();  // by SIGTERM, which is for the process and not for one of its answers
void clear_interrupt();

}  // namespace dvlm
