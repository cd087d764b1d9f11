// The page's files over HTTP, without a browser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_server.h"
#include "server/page.h"

namespace dvlm {
namespace {

using testing::HasSubstr;
using testing::Not;

class PageFiles : public testing::Test {
 protected:
  PageFiles() : client_(server_.url().substr(0, server_.url().size() - 1)) {}

  FakeServer server_{{.tokens = {"Hello"}}};
  httplib::Client client_;
};

TEST_F(PageFiles, are_served_with_their_types_and_a_strict_policy) {
  for (const auto& [path, type] : {std::pair{"/", "text/html; charset=utf-8"},
                                   {"/page/main.js", "text/javascript; charset=utf-8"},
                                   {"/page/base.css", "text/css; charset=utf-8"},
                                   {"/page/icon.svg", "image/svg+xml"},
                                   {"/page/desk.png", "image/png"}}) {
    const auto result = client_.Get(path);
    ASSERT_TRUE(result) << path;
    EXPECT_EQ(result->status, 200) << path;
    EXPECT_EQ(result->get_header_value("Content-Type"), type);
    EXPECT_EQ(result->get_header_value("X-Content-Type-Options"), "nosniff");
    const std::string policy = result->get_header_value("Content-Security-Policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
    EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  }
  for (const char* path : {"/page/", "/page/nothing.js", "/page/mainxjs", "/page/../CMakeLists.txt", "/page"})
    EXPECT_EQ(client_.Get(path)->status, 404) << path;
}

TEST_F(PageFiles, are_not_sent_again_while_they_are_the_same) {
  const std::string etag = client_.Get("/")->get_header_value("ETag");
  ASSERT_FALSE(etag.empty());
  const auto again = client_.Get("/", {{"If-None-Match", "\"other\", " + etag}});
  EXPECT_EQ(again->status, 304);
  EXPECT_TRUE(again->body.empty());
  EXPECT_EQ(client_.Get("/", {{"If-None-Match", "\"other\""}})->status, 200);
}

TEST_F(PageFiles, hold_no_inline_code_and_name_no_other_host) {
  for (const PageFile& file : page_files()) {
    const std::string name = file.name;
    if (name.ends_with(".png")) continue;
    const std::string text(reinterpret_cast<const char*>(file.data), file.size);
    for (const char* word : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("})
      EXPECT_THAT(text, Not(HasSubstr(word))) << name;
    for (size_t at = 0; (at = text.find("://", at)) != std::string::npos; ++at) {
      const std::string host = text.substr(at + 3, 16);
      EXPECT_TRUE(host.starts_with("www.w3.org/2000/") || host.starts_with("html.spec.whatwg"))
          << name << host;
    }
    if (!name.ends_with(".html")) continue;
    for (const char* word : {"<script>", "<style", " style=", " onclick=", " onload="})
      EXPECT_THAT(text, Not(HasSubstr(word))) << name;
  }
}

}  // namespace
}  // namespace dvlm
