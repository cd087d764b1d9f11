// Parts of dvlm that are loaded on demand, because they need libraries that the rest does without.
#pragma once
#include <string>

namespace dvlm {

class Plugin {
 public:
  // Looks beside the program, or what else this code is part of, and in the library folder of an
  // installation. Throws Error when it is not there (`needed_by` it, and `how` it is had), cannot be loaded,
  // is of another version, or stands in a library folder that others may write to. It is never unloaded: its
  // threads may still run.
  Plugin(const std::string& name, const std::string& needed_by, const std::string& how);

  // Whether a file of this name is where the constructor looks.
  static bool is_there(const std::string& name);

  // Throws Error when the plugin has none of this name.
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;
  std::string path_;
  void* handle_ = nullptr;
};

}  // namespace dvlm
