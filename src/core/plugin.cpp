#include "core/plugin.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

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

fs::path library_folder() {
  return program_folder() / ".." / DVLM_LIBRARY_FOLDER;
}

// Of the library that this code is part of. The loader has the program's own name as its caller wrote it,
// which may lead anywhere.
fs::path own_folder() {
  Dl_info own{};
  const bool known = ::dladdr(reinterpret_cast<const void*>(&own_folder), &own) != 0 && own.dli_fname;
  const fs::path file = known ? own.dli_fname : "";
  return file.is_absolute() ? file.parent_path() : program_folder();
}

// Empty: it is nowhere.
fs::path find_plugin(const std::string& name) {
  std::error_code error;
  for (const fs::path& folder : {program_folder(), own_folder(), library_folder()})
    if (fs::exists(folder / name, error)) return folder / name;
  return {};
}

// Whether somebody may have put something there who could not replace the program: where all may write above
// the program's folder, anybody may make a library folder beside it.
bool others_write_to(const fs::path& folder) {
  struct stat there = {}, program = {};
  if (::stat(folder.c_str(), &there) != 0 || ::stat("/proc/self/exe", &program) != 0) return true;
  const bool trusted = there.st_uid == 0 || there.st_uid == ::geteuid() || there.st_uid == program.st_uid;
  return !trusted || (there.st_mode & S_IWOTH) != 0;
}

fs::path existing_plugin(const std::string& name, const std::string& needed_by, const std::string& how) {
  fs::path found = find_plugin(name);
  if (found.empty())
    fail("{} needs {} beside {}, which is not there: {}", needed_by, name,
         (program_folder() / "dvlm").string(), how);
  if (found.parent_path() == library_folder() && others_write_to(library_folder()))
    fail("{} is not loaded: others may write to its folder", found.string());
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
