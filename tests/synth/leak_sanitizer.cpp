// What LeakSanitizer should not report: fontconfig keeps its caches until the process ends.
// The name is LeakSanitizer's. NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfontconfig\n";
}
// NOLINTEND(bugprone-reserved-identifier)
