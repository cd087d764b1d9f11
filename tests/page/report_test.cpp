// The report of dvlm eval in a browser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "browser.h"
#include "core/files.h"
#include "evaluate/html_report.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

constexpr const char* kPixel =
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

PredictionSet answers(const std::string& decoder, const std::vector<std::string>& texts) {
  PredictionSet out;
  out.header.task = "AI2D_TEST", out.header.decoder = decoder, out.header.model = "tiny";
  for (size_t i = 0; i < texts.size(); ++i) {
    Prediction prediction;
    prediction.id = std::to_string(i), prediction.answer = texts[i], prediction.digest = texts[i];
    prediction.question = {{"question", "Which?"}, {"A", "leaf"}, {"B", "<b>stem</b>"}, {"answer", "A"}};
    prediction.tokens = int64_t{3} << i, prediction.nfe = 2;
    out.predictions.push_back(prediction);
  }
  return out;
}

class HtmlReport : public testing::Test {
 protected:
  void SetUp() override {
    if (!Browser::installed()) GTEST_SKIP() << "NOT TESTED: no chromedriver";
    const auto results = results_of({answers("ar", {"A", "B", "</script><script>window.bad = 1</script>"}),
                                     answers("mdm", {"A", "A", "C"})});
    write_file(folder_ / "report.html", report_html(results, [](const TaskResult&, const std::string&) {
                 return std::vector<std::string>{kPixel};
               }));
    browser_.emplace();
    browser_->open("file://" + (folder_ / "report.html").string());
  }

  int64_t shown() { return browser_->run("return document.querySelectorAll('article').length"); }
  void choose(const std::string& value) {
    browser_->run("const s = document.getElementById('show'); s.value = arguments[0]; s.onchange();",
                  {value});
  }

  const TemporaryFolder folder_;
  std::optional<Browser> browser_;
};

TEST_F(HtmlReport, ShowsTablesCurvesAndQuestions) {
  const std::string text = browser_->run("return document.body.innerText");
  EXPECT_THAT(text, testing::HasSubstr("AI2D_TEST"));
  EXPECT_THAT(text, testing::HasSubstr("33.3 % (6.1 to 79.2)"));
  EXPECT_EQ(browser_->run("return document.querySelectorAll('svg polyline').length"), 2);
  EXPECT_EQ(browser_->run("return document.querySelector('article img').naturalWidth"), 1);
  EXPECT_TRUE(browser_->errors().empty());
}

TEST_F(HtmlReport, FiltersQuestions) {
  EXPECT_EQ(shown(), 2) << "wrong somewhere";
  choose("differ");
  EXPECT_EQ(shown(), 2);
  choose("unread");
  EXPECT_EQ(shown(), 1);
  choose("all");
  EXPECT_EQ(shown(), 3);
  browser_->type("#search", "nothing like it");
  EXPECT_TRUE(browser_->wait("document.querySelectorAll('article').length === 0"));
}

TEST_F(HtmlReport, TextsStayTexts) {
  choose("all");
  EXPECT_EQ(browser_->run("return window.bad === undefined"), true);
  EXPECT_EQ(browser_->run("return document.querySelectorAll('article b').length"), 0);
}

TEST_F(HtmlReport, IsReadableInTheDarkAndOnATelephone) {
  browser_->emulate("prefers-color-scheme", "dark");
  EXPECT_EQ(browser_->run("return getComputedStyle(document.body).backgroundColor"), "rgb(21, 23, 28)");
  browser_->resize(360, 700);
  EXPECT_EQ(browser_->run("return document.documentElement.scrollWidth <= window.innerWidth"), true);
}

}  // namespace
}  // namespace dvlm
