#include "core/plugin.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

// Empty: it is nowhere.
fs::path find_plugin(const std::string& name) {
  std::error_code error;
  const fs::path program = program_folder();
  Dl_info own{};
  const bool known = ::dladdr(reinterpret_cast<const void*>(&find_plugin), &own) != 0 && own.dli_fname;
  for (const fs::path& folder : {program, program / ".." / DVLM_LIBRARY_FOLDER,
                                 known ? fs::path(own.dli_fname).parent_path() : program})
    if (fs::exists(folder / name, error)) return folder / name;
  return {};
}

fs::path existing_plugin(const std::string& name, const std::string& needed_by, const std::string& how) {
  fs::path found = find_plugin(name);
  if (found.empty())
    fail("{} needs {} beside {}, which is not there: {}", needed_by, name,
         (program_folder() / "dvlm").string(), how);
  return found;
}

}  // namespace

Plugin::Plugin(const std::string& name, const std::string& needed_by, const std::string& how)
    : path_(existing_plugin(name, needed_by, how).string()),
      handle_(::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) fail("cannot load {}: {}; {}", path_, ::dlerror(), how);
  const char* const version = function<const char*()>("dvlm_plugin_version")();
  if (std::strcmp(version, DVLM_VERSION) != 0)
    fail("{} is of dvlm {}, and this is dvlm {}: {}", path_, version, DVLM_VERSION, how);
}

bool Plugin::is_there(const std::string& name) {
  return !find_plugin(name).empty();
}

void* Plugin::symbol(const char* name) const {
  void* const found = ::dlsym(handle_, name);
  if (!found) fail("{} is no plugin of dvlm {}: it has no {}", path_, DVLM_VERSION, name);
  return found;
}

}  // namespace dvlm
