// Data URLs and pictures without one, as clients spell them.
#include "core/data_url.h"

#include <fmt/format.h>

#include "core/error.h"
#include "served.h"

namespace dvlm {
namespace {

std::string percent_encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    static constexpr char kHex[] = "0123456789aBcDeF";
    const auto byte = static_cast<uint8_t>(c);
    out += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

// Grey levels, bright enough for both letters that differ between the alphabets.
std::string grey_picture(int side = 56) {
  std::string out = fmt::format("P5 {0} {0} 255\n", side);
  for (int i = 0; i < side * side; ++i) out += static_cast<char>(i % 2 ? 255 : 190 + i % 60);
  return out;
}

std::string for_urls(std::string text) {
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

std::string unpadded(std::string text) {
  while (text.ends_with('=')) text.pop_back();
  return text;
}

std::vector<std::string> spellings(const std::string& bytes) {
  const std::string plain = base64(bytes);
  std::string lines;
  for (size_t at = 0; at < plain.size(); at += 76) lines += plain.substr(at, 76) + "\r\n";
  return {"data:image/png;base64," + plain,
          "data:image/jpg;base64," + plain,
          "data:Image/PNG;base64," + plain,
          "data:application/octet-stream;base64," + plain,
          "data:text/plain;charset=utf-8;base64," + plain,
          "data:;base64," + plain,
          "data:image/png; BASE64 ," + plain,
          "DATA:image/png;BASE64," + plain,
          " \n\tdata:image/png;base64," + plain + "\n ",
          "data:image/png;base64," + lines,
          "data:image/png;base64," + for_urls(plain),
          "data:image/png;base64," + percent_encoded(plain),
          "data:image/png;base64," + unpadded(plain),
          "data:image/png;base64," + for_urls(unpadded(plain))};
}

TEST(DataUrls, are_read_in_every_spelling) {
  for (size_t size = 0; size < 5; ++size) {
    const std::string bytes = std::string("\xFF\xEF\xBE\xFB").substr(0, size);
    for (const std::string& url : spellings(bytes)) {
      EXPECT_TRUE(is_data_url(url)) << url;
      const std::vector<std::byte> data = data_of_url(url);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()), bytes) << url;
    }
  }
}

TEST(DataUrls, are_refused_where_they_are_wrong) {
  for (const auto& [url, word] : std::vector<std::pair<std::string, std::string>>{
           {"", "must begin"},
           {"data", "must begin"},
           {"data:", "must begin"},
           {"data:;base64", "must begin"},
           {"data:image/png,AAAA", "must begin"},
           {"data:image/png;base65,AAAA", "must begin"},
           {"data:" + std::string(5000, 'x') + ";base64,AAAA", "must begin"},
           {"xdata:;base64,AAAA", "must begin"},
           {"data:;base64,AA*A", "character 2"},
           {"data:;base64,AA%2AA", "character 2"},
           {"data:;base64,A%", "character 1"},
           {"data:;base64,A%4", "character 1"},
           {"data:;base64,A%zz", "character 1"},
           {"data:;base64,AA=A", "character 3"},
           {std::string("data:;base64,AA\0A", 17), "character 2"},
           {"data:;base64,A", "cut off"},
           {"data:;base64,AA=", "cut off"},
           {"data:;base64,AAAA==", "cut off"},
           {"data:;base64,A===", "cut off"}}) {
    try {
      data_of_url(url);
      ADD_FAILURE() << url;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(word)) << url;
    }
  }
}

TEST_F(Served, data_urls_are_answered_in_every_spelling) {
  start();
  json body = picture_question("Where is the hammer?");
  body["max_tokens"] = 8;
  json& content = body["messages"][0]["content"];
  const auto ask = [&](const std::string& url) {
    content[0]["image_url"]["url"] = url;
    return text_of(post(body));
  };
  const std::vector<std::string> urls = spellings(grey_picture());
  const std::string expected = ask(urls[0]);
  for (const std::string& url : urls) EXPECT_EQ(ask(url), expected) << url.substr(0, 50);
  content[0] = {{"type", "video"}, {"video", {urls[0], urls[0]}}};
  const std::string video = text_of(post(body));
  for (const std::string& url : urls) {
    content[0]["video"] = {url, urls[0]};
    EXPECT_EQ(text_of(post(body)), video) << url.substr(0, 50);
  }
}

TEST_F(Served, details_bound_the_pixels) {
  start();
  json body = picture_question("Hello");
  body["max_tokens"] = 1;
  json& content = body["messages"][0]["content"];
  content[0]["image_url"]["url"] = "data:;base64," + base64(grey_picture(800));
  const int text = post(question("Hello"))["usage"]["prompt_tokens"];
  const auto tokens = [&](const char* detail, int64_t pixels) {
    content[0]["image_url"]["detail"] = detail;
    content[0]["min_pixels"] = content[0]["max_pixels"] = pixels;
    if (pixels == 0) content[0].erase("min_pixels"), content[0].erase("max_pixels");
    return post(body)["usage"]["prompt_tokens"].get<int>() - text;
  };
  EXPECT_EQ(tokens("auto", 0), tokens("high", 0));
  EXPECT_EQ(tokens("auto", 0), tokens("low", 0)) << "the checkpoint's bound is lower still";
  EXPECT_EQ(tokens("high", 600'000), tokens("auto", 600'000));
  EXPECT_LT(tokens("low", 600'000), tokens("auto", 600'000));
  EXPECT_LE(tokens("low", 600'000), 512 * 512 / (28 * 28) + 2) << "with the marks around the picture";
}

TEST_F(Served, generate_takes_bare_base64) {
  start();
  const std::string bare = base64(grey_picture());
  json body = {{"text", "<|vision_start|><|image_pad|><|vision_end|>Hello"},
               {"sampling_params", {{"max_new_tokens", 4}}}};
  const auto ask = [&](const json& pictures, int status = 200) {
    body["image_data"] = pictures;
    return post(body, status, "/generate").value("text", "");
  };
  const std::string expected = ask("data:image/png;base64," + bare);
  for (const std::string& text : {bare, for_urls(bare), unpadded(bare), " " + bare + "\n"}) {
    EXPECT_EQ(ask(text), expected);
    EXPECT_EQ(ask(json::array({text})), expected);
  }
  ask("AAAA", 400);
  ask(std::string(100, 'A'), 400);
  ask("/" + std::string(100, 'A'), 400);
  ask("", 400);
}

}  // namespace
}  // namespace dvlm
