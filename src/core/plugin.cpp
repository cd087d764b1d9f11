#include "core/plugin.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

fs::path find_plugin(const std::string& name, const std::string& needed_by, const std::string& how) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  Dl_info own{};
  const bool known = ::dladdr(reinterpret_cast<const void*>(&find_plugin), &own) != 0 && own.dli_fname;
  for (const fs::path& folder : {program, program / ".." / DVLM_LIBRARY_FOLDER,
                                 known ? fs::path(own.dli_fname).parent_path() : program})
    if (fs::exists(folder / name, error)) return folder / name;
  fail("{} needs {} beside {}, which is not there: {}", needed_by, name, (program / "dvlm").string(), how);
}

}  // namespace

Plugin::Plugin(const std::string& name, const std::string& needed_by, const std::string& how)
    : path_(find_plugin(name, needed_by, how).string()),
      handle_(::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) fail("cannot load {}: {}; {}", path_, ::dlerror(), how);
  const char* const version = function<const char*()>("dvlm_plugin_version")();
  if (std::strcmp(version, DVLM_VERSION) != 0)
    fail("{} is of dvlm {}, and this is dvlm {}: {}", path_, version, DVLM_VERSION, how);
}

void* Plugin::symbol(const char* name) const {
  void* const found = ::dlsym(handle_, name);
  if (!found) fail("{} is no plugin of dvlm {}: it has no {}", path_, DVLM_VERSION, name);
  return found;
}

}  // namespace dvlm
