// A headless Chromium, driven over WebDriver (https://www.w3.org/TR/webdriver2/).
#pragma once
#include <httplib.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "temporary_folder.h"

namespace dvlm {

// A program that ends with the object, at the latest with this process.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Reads what it prints until `text` has come and a line has ended behind it; returns the rest of that line.
  // Throws std::runtime_error after 20 seconds.
  std::string wait_for(const std::string& text);

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

// Every member throws std::runtime_error with what the browser said.
class Browser {
 public:
  // The folders of PATH have a chromedriver.
  static bool installed();
  Browser();
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  void open(const std::string& url);
  // What the body of a function returns.
  nlohmann::json run(const std::string& script, const nlohmann::json& arguments = nlohmann::json::array());
  // Waits until the expression is true, at most `seconds`; returns whether it became true.
  bool wait(const std::string& expression, int seconds = 120);  // sanitizers are slow
  void type(const std::string& selector, const std::string& text);
  void click(const std::string& selector);
  void resize(int width, int height);  // of the viewport, pixels
  void emulate(const std::string& media_feature, const std::string& value);
  void save_screenshot(const std::filesystem::path& png);
  // What the console reported as an error since the last call.
  std::vector<std::string> errors();

 private:
  nlohmann::json call(const char* method, const std::string& path, const nlohmann::json& body = {});
  nlohmann::json in_session(const std::string& path, const nlohmann::json& body);
  void chromium(const std::string& command, const nlohmann::json& parameters);
  std::string find(const std::string& selector);

  TemporaryFolder profile_;
  Child driver_;
  std::unique_ptr<httplib::Client> client_;
  std::string session_;
};

// Keys that WebDriver names by private code points, in UTF-8.
inline constexpr const char* kEnter = "\uE007";
inline constexpr const char* kShift = "\uE008";  // held until the end of the text, or until it comes again
inline constexpr const char* kEscape = "\uE00C";
inline constexpr const char* kTab = "\uE004";

}  // namespace dvlm
