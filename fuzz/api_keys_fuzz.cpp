// Files of keys: every key that is taken is one that a client can send.
#include "server/api_keys.h"

#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  std::vector<std::string> keys = {"x"};
  if (!fuzz::accepts([&] { keys = read_api_keys(file.path()); })) return 0;
  DVLM_ASSERT(!keys.empty() && keys.size() <= size);
  for (const std::string& key : keys) {
    DVLM_ASSERT(!key.empty() && key[0] != '#');
    for (const char c : key) DVLM_ASSERT(c > ' ' && c < 127);
  }
  return 0;
}
