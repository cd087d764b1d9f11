// Tests of the page in a browser that all of them share.
#pragma once
#include <gtest/gtest.h>

#include "browser.h"

namespace dvlm {

class PageTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (Browser::installed()) browser_ = new Browser;
  }
  static void TearDownTestSuite() {
    delete browser_;
    browser_ = nullptr;
  }
  void SetUp() override {
    if (!browser_)
      GTEST_SKIP() << "NOT TESTED: the page needs a browser. Install chromium and chromium-driver "
                      "(packaging/test-packages.txt); ./dev test does.";
    browser_->resize(1280, 860);
    browser_->emulate("prefers-color-scheme", "light");
  }
  void TearDown() override {
    if (!browser_) return;
    browser_->run("localStorage.clear(); sessionStorage.clear()");
    browser_->errors();
  }

  Browser& browser() { return *browser_; }

  void open(const std::string& url) {
    browser_->open(url);
    // The last thing that the page does before it is ready.
    ASSERT_TRUE(
        browser_->wait("document.getElementById('model').textContent || "
                       "!document.getElementById('key-box').hidden"));
  }
  void add_picture(const std::string& file) {
    browser_->type("#files", file);
    ASSERT_TRUE(browser_->wait("document.querySelector('#thumbs img')?.naturalWidth"));
  }
  void ask(const std::string& question) { browser_->type("#question", question + kEnter); }
  bool answered(int count = 1) {
    return browser_->wait("document.querySelectorAll('.answer .notes').length === " + std::to_string(count));
  }
  std::string text_of(const std::string& selector) {
    const nlohmann::json text =
        browser_->run("return [...document.querySelectorAll(arguments[0])].at(-1)?.textContent", {selector});
    return text.is_string() ? text.get<std::string>() : "";
  }
  void choose(const std::string& id, const std::string& value) {
    browser_->run(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1]; "
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        {id, value});
  }
  void show_pass(int number) { choose("view-at", std::to_string(number - 1)); }
  int width_beyond_view() {
    return browser_->run("return document.documentElement.scrollWidth - innerWidth").get<int>();
  }

 private:
  static inline Browser* browser_ = nullptr;
};

}  // namespace dvlm
