// The page in front of the real server, with the model and the picture that come with dvlm. With the variable
// DVLM_SCREENSHOTS, the pictures of docs/page.md are written to the folder that it names.
#include <gmock/gmock.h>

#include <cstdlib>
#include <thread>

#include "page_fixture.h"
#include "server/server.h"

namespace dvlm {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::string kPicture = std::string(DVLM_EXAMPLES) + "/desk.png";

class ServedPage : public PageTest {
 protected:
  static Engine& engine() {
    static Engine engine({.model = std::string(DVLM_MODELS) + "/dvlm-tiny", .load = {.threads = 2}});
    return engine;
  }
  void start(ServerOptions options = {}) {
    options.port = 0;
    server_ = std::make_unique<Server>(engine(), options);
    port_ = server_->bind();
    thread_ = std::thread([this] { server_->run(); });
    httplib::Client client("127.0.0.1", port_);
    while (!client.Get("/health")) std::this_thread::yield();
    open("http://127.0.0.1:" + std::to_string(port_) + "/");
  }
  ~ServedPage() override {
    if (!server_) return;
    server_->stop();
    thread_.join();
  }

  std::vector<std::string> errors() { return browser().errors(); }
  void screenshot(const std::string& name) {
    if (const char* folder = std::getenv("DVLM_SCREENSHOTS"))
      browser().save_screenshot(std::filesystem::path(folder) / (name + ".png"));
  }

 private:
  std::unique_ptr<Server> server_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(ServedPage, answers_about_a_picture) {
  start();
  EXPECT_EQ(text_of("#model"), "dvlm-tiny");
  add_picture(kPicture);
  ask("Where is the hammer?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), "The hammer is at the top left.");
  EXPECT_EQ(text_of("#thumbs"), "");
  EXPECT_EQ(text_of("#announcer"), "Answer: The hammer is at the top left.");
  EXPECT_NE(text_of("#count-tokens"), "–");
  EXPECT_NE(text_of("#count-passes"), "–");

  // The picture stays part of the conversation.
  ask("Describe the picture.");
  ASSERT_TRUE(answered(2)) << text_of("#problem");
  EXPECT_THAT(text_of(".answer .text"), HasSubstr("hammer"));
  show_pass(13);
  screenshot("page-light");

  choose("decoder", "mdm");
  ask("Describe the picture.");
  ASSERT_TRUE(answered(3)) << text_of("#problem");
  show_pass(5);
  browser().click("#marks");
  browser().emulate("prefers-color-scheme", "dark");
  screenshot("page-dark");
  browser().emulate("prefers-color-scheme", "light");
  browser().resize(360, 740);
  EXPECT_LE(width_beyond_view(), 0);
  browser().run("document.querySelector('.transcript').scrollTop = 1e6; scrollTo(0, 0)");
  screenshot("page-narrow");
  EXPECT_THAT(errors(), IsEmpty());
}

TEST_F(ServedPage, races_ar_against_another_decoder) {
  start();
  add_picture(kPicture);
  choose("block_size", "8");
  browser().type("#question", "Describe the picture.");
  browser().click("#race");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('.race .lane').length === 2"));
  ASSERT_TRUE(
      browser().wait("document.querySelector('#announcer').textContent.startsWith('Race finished')", 60))
      << text_of("#problem") << text_of(".race .verdict");
  EXPECT_THAT(text_of(".race .verdict"), HasSubstr("Both texts are equal."));
  EXPECT_THAT(text_of(".race .verdict"), testing::ContainsRegex("auto has [0-9.]+× the speed of ar"));
  EXPECT_THAT(text_of(".race .verdict"), testing::ContainsRegex("with [0-9]+ passes instead of [0-9]+"));
  EXPECT_THAT(text_of(".race .lane .text"), HasSubstr("hammer"));
  EXPECT_THAT(text_of(".race .lane .notes"), HasSubstr("tokens/s"));
  screenshot("page-race");
  EXPECT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length === 1"))
      << "for the next question";
  EXPECT_THAT(errors(), IsEmpty());
}

TEST_F(ServedPage, offers_every_decoder) {
  start();
  add_picture(kPicture);
  int answers = 0;
  std::vector<std::string> texts;
  for (const char* decoder : {"ar", "spec", "fused", "auto", "mdm"}) {
    choose("decoder", decoder);
    ask("Describe the picture.");
    ASSERT_TRUE(answered(++answers)) << decoder << ": " << text_of("#problem");
    texts.push_back(text_of(".answer .text"));
    EXPECT_THAT(text_of(".answer .notes"), testing::StartsWith(decoder));
    EXPECT_THAT(texts.back(), HasSubstr("hammer"));
    browser().click("#new-chat");
    answers = 0;
    add_picture(kPicture);
  }
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(texts[i], texts[0]);
  EXPECT_THAT(errors(), IsEmpty());
}

TEST_F(ServedPage, draws_boxes_and_calls_tools) {
  start();
  add_picture(kPicture);
  choose("form", "schema");
  browser().click("[data-example=boxes]");
  ask("Locate all objects.");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_GT(browser().run("return document.querySelectorAll('.boxes rect').length"), 2);
  EXPECT_NE(text_of("#count-forced"), "0");
  ASSERT_TRUE(browser().wait("document.querySelector('.boxes img').complete"));
  show_pass(20);
  browser().run("document.getElementById('decoding').scrollIntoView()");
  screenshot("page-boxes");

  choose("form", "call");
  browser().click("[data-example=tools]");
  choose("max_tokens", "200");
  ask("Point at the hammer.");
  ASSERT_TRUE(answered(2)) << text_of("#problem");
  EXPECT_EQ(browser().run("return document.querySelector('.call h4').textContent"), "point_at");
  browser().run("document.querySelector('.call textarea').value = 'done'");
  browser().click(".calls button");
  ASSERT_TRUE(answered(3)) << text_of("#problem");
  EXPECT_THAT(text_of(".question .results"), testing::StartsWith("done"));
  EXPECT_THAT(errors(), IsEmpty());
}

TEST_F(ServedPage, offers_an_example) {
  start();
  browser().click("#example");
  ASSERT_TRUE(browser().wait("!document.getElementById('suggestions').hidden"));
  browser().click("#suggestions button");
  ASSERT_TRUE(answered());
  EXPECT_EQ(text_of(".answer .text"), "The hammer is at the top left.");
  EXPECT_THAT(errors(), IsEmpty());
}

TEST_F(ServedPage, asks_for_a_key_when_the_server_does) {
  ServerOptions options;
  options.api_keys = {"secret"};
  start(options);
  ASSERT_TRUE(browser().wait("!document.getElementById('key-box').hidden"));
  browser().type("#key", std::string("wrong") + kEnter);
  ASSERT_TRUE(browser().wait("!document.getElementById('key-box').hidden"));
  browser().type("#key", std::string("secret") + kEnter);
  ASSERT_TRUE(browser().wait("document.getElementById('model').textContent === 'dvlm-tiny'"));
  EXPECT_EQ(browser().run("return JSON.stringify(localStorage).includes('secret')"), false);
  ask("Hello");
  EXPECT_TRUE(answered()) << text_of("#problem");
}

TEST_F(ServedPage, shows_what_the_server_refuses) {
  ServerOptions options;
  options.chat.max_tokens = 100;
  start(options);
  ask("Hello");
  ASSERT_TRUE(browser().wait("!document.getElementById('problem').hidden"));
  EXPECT_THAT(text_of("#problem"), HasSubstr("max_tokens"));
  EXPECT_EQ(browser().run("return document.getElementById('question').value"), "Hello") << "to be sent again";
  choose("max_tokens", "20");
  ask("");
  EXPECT_TRUE(answered()) << text_of("#problem");
}

}  // namespace
}  // namespace dvlm
