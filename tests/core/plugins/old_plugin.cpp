// A plugin of another version.
extern "C" __attribute__((visibility("default"))) const char* dvlm_plugin_version() {
  return "0.0.0";
}
