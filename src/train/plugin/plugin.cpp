// The plugin's C entry points: no exception leaves them.
#include <c10/util/Exception.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "train/trainer.h"

namespace {

int report(const std::string& sentence) {
  std::fprintf(stderr, "dvlm: error: %s\n", sentence.c_str());
  return 1;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* dvlm_plugin_version() {
  return DVLM_VERSION;
}

// See train_command().
extern "C" __attribute__((visibility("default"))) int dvlm_train(const char* request) {
  try {
    return dvlm::train_command(request);
  } catch (const c10::OutOfMemoryError&) {
    return report(
        "not enough memory on the card; lower max_length, or batch_size: with 'global_batch_size' a step has "
        "as many samples in more passes");
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return report(text.substr(0, text.find('\n')));
  } catch (const std::bad_alloc&) {
    return report(
        "not enough memory; lower max_length, or batch_size: with 'global_batch_size' a step has as many "
        "samples in more passes");
  } catch (const std::exception& error) {
    return report(error.what());
  } catch (...) {
    return report("an unknown error ended the training");
  }
}
