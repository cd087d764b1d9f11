// Pictures named by clients: files below a temporary folder, and a picture host on loopback.
#include "server/image_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "engine/visual.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string& picture_bytes() {
  static const std::string bytes = read_file(fs::path(DVLM_MODELS) / ".." / "examples" / "desk.png");
  return bytes;
}

Image picture() {
  return decode_image(std::as_bytes(std::span(picture_bytes())), "desk.png");
}

Request request_for(const std::vector<std::string>& sources) {
  Request request;
  request.conversation.emplace_back().role = "user";
  for (const std::string& source : sources) request.conversation[0].content.push_back(image_part(source));
  return request;
}

Request request_for_video(const std::string& source, const std::vector<std::string>& frames = {}) {
  Request request = request_for({});
  request.conversation[0].content.push_back(video_part(source, frames));
  return request;
}

std::string refusal(Request request, const ImagePolicy& policy, const std::function<bool()>& cancelled = {}) {
  try {
    admit_images(request, policy, cancelled);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_admitted(const std::string& source, const ImagePolicy& policy) {
  Request request = request_for({source});
  admit_images(request, policy);
  ASSERT_EQ(request.images_in_memory.count(source), 1) << source;
  EXPECT_EQ(request.images_in_memory.at(source).pixels, picture().pixels) << source;
}

TEST(ImagePolicies, allow_data_urls_alone_unless_told) {
  for (const char* source : {"desk.png", "/etc/passwd", "file:///etc/passwd", "http://example.org/a.png", "",
                             "ftp://example.org/a.png", "data", "data;base64,AAAA"})
    EXPECT_THAT(refusal(request_for({source}), {}),
                testing::AllOf(HasSubstr("data URL"), HasSubstr("opens no files or addresses")));
  EXPECT_THAT(refusal(request_for_video("/dev/zero"), {}), HasSubstr("frames"));
  EXPECT_THAT(refusal(request_for_video("data:video/mp4;base64,AAAA"), {}), HasSubstr("frames"));
  EXPECT_THAT(refusal(request_for_video("", {"data:image/png;base64,AAAA", "/dev/zero"}), {}),
              HasSubstr("data URL"));
  for (const char* source :
       {"data:image/png;base64,AAAA", "DATA:image/png;base64,AAAA", " data:;base64,AAAA"})
    EXPECT_EQ(refusal(request_for({source}), {}), "");
  const ImagePolicy policy{.max_images = 2};
  const std::string data = "data:image/png;base64,AAAA";
  EXPECT_EQ(refusal(request_for({data, data}), policy), "");
  EXPECT_THAT(refusal(request_for({data, data, data}), policy), HasSubstr("more than 2 pictures"));
  EXPECT_THAT(refusal(request_for_video("", {data, data, data}), policy), HasSubstr("more than 2 pictures"));
}

TEST(ImagePolicies, are_checked_for_the_owner) {
  EXPECT_NO_THROW(check_policy({}));
  EXPECT_THROW(check_policy({.root = "/no/such/folder"}), Error);
  EXPECT_THROW(check_policy({.hosts = {"http://example.org/"}}), Error);
  EXPECT_THROW(check_policy({.max_bytes = 0}), Error);
  EXPECT_THROW(check_policy({.timeout = 0}), Error);
}

class Folder : public testing::Test {
 protected:
  Folder() {
    fs::create_directories(root() / "sub");
    write_file(root() / "desk.png", picture_bytes());
    write_file(root() / "sub" / "desk.png", picture_bytes());
    write_file(root() / "text.png", "no picture");
    write_file(root() / "clip.mp4", "no video either");
    write_file(folder_ / "outside.png", picture_bytes());
    fs::create_symlink("sub/desk.png", root() / "inside");
    fs::create_symlink("../outside.png", root() / "outside");
    fs::create_symlink("..", root() / "up");
    fs::create_symlink("loop", root() / "loop");
    mkfifo((root() / "pipe").c_str(), 0600);
    policy_.root = root();
  }
  fs::path root() const { return folder_ / "pictures"; }

  TemporaryFolder folder_;
  ImagePolicy policy_;
};

TEST_F(Folder, files_below_it_are_read) {
  for (const std::string& source :
       {std::string("desk.png"), std::string("sub/desk.png"), std::string("./sub/../desk.png"),
        std::string("inside"), std::string("file://desk.png"), (root() / "desk.png").string(),
        "file://" + (root() / "desk.png").string(), "FILE://" + (root() / "sub/desk.png").string(),
        std::string("up/pictures/desk.png")})
    expect_admitted(source, policy_);
  fs::create_symlink("pictures", folder_ / "link");
  policy_.root = folder_ / "link";
  expect_admitted("desk.png", policy_);
  expect_admitted((folder_ / "link" / "desk.png").string(), policy_);
}

TEST_F(Folder, nothing_tells_missing_files_from_those_outside) {
  const auto without_name = [&](const std::string& source) {
    const std::string message = refusal(request_for({source}), policy_);
    return message.starts_with(source) ? message.substr(source.size()) : "not named: " + message;
  };
  const std::string missing = without_name("missing.png");
  EXPECT_THAT(missing, HasSubstr("no such file"));
  for (const std::string& source :
       {std::string("../outside.png"), std::string("outside"), std::string("up/outside.png"),
        (folder_ / "outside.png").string(), "file://" + (folder_ / "outside.png").string(),
        std::string("../missing.png"), std::string("sub"), std::string("."), std::string("up"),
        std::string("pipe"), std::string("loop"), std::string("desk.png/"),
        std::string("desk.png/../desk.png"), std::string("/dev/zero"), std::string("/proc/self/environ"),
        std::string("file://"), std::string("file:desk.png"), std::string("~/desk.png"), std::string("/")})
    EXPECT_EQ(without_name(source), missing) << source;
  EXPECT_THAT(refusal(request_for({""}), policy_), HasSubstr("no such file"));
  EXPECT_THAT(refusal(request_for({std::string("desk.png\0.txt", 13)}), policy_), HasSubstr("no such file"));
  EXPECT_THAT(refusal(request_for({std::string(100000, 'a')}), policy_), HasSubstr("no such file"));
  // A neighbour whose name begins with the folder's.
  fs::create_directories(folder_ / "pictures2");
  write_file(folder_ / "pictures2" / "desk.png", picture_bytes());
  EXPECT_EQ(without_name("../pictures2/desk.png"), missing);
}

TEST_F(Folder, files_are_bounded_and_must_be_pictures) {
  write_file(root() / "huge.png", "");
  fs::resize_file(root() / "huge.png", uintmax_t{1} << 40);
  EXPECT_THAT(refusal(request_for({"huge.png"}), policy_), HasSubstr("larger than the 33554432 bytes"));
  EXPECT_THAT(refusal(request_for({"text.png"}), policy_), HasSubstr("not a picture"));
  policy_.max_bytes = picture_bytes().size();
  expect_admitted("desk.png", policy_);
  EXPECT_EQ(refusal(request_for({"desk.png", "desk.png", "desk.png", "desk.png", "desk.png"}), policy_), "")
      << "one picture is read once";
  const std::vector<std::string> five = {"desk.png", "./desk.png", "sub/desk.png", "inside",
                                         "sub/../desk.png"};
  EXPECT_THAT(refusal(request_for(five), policy_), HasSubstr("for one request"));
  --policy_.max_bytes;
  EXPECT_THAT(refusal(request_for({"desk.png"}), policy_), HasSubstr("larger"));
}

TEST_F(Folder, pixels_of_all_pictures_are_bounded) {
  policy_.max_pixels = int64_t{picture().width} * picture().height;
  expect_admitted("desk.png", policy_);
  EXPECT_THAT(refusal(request_for({"desk.png", "sub/desk.png"}), policy_), HasSubstr("in all"));
  --policy_.max_pixels;
  EXPECT_THAT(refusal(request_for({"desk.png"}), policy_), HasSubstr("make it smaller"));
}

TEST_F(Folder, videos_stay_files) {
  Request request = request_for_video("clip.mp4");
  admit_images(request, policy_);
  const std::string clip = request.conversation[0].content[0].source;
  EXPECT_EQ(clip, fs::canonical(root() / "clip.mp4"));
  // What has been looked at is what is read, whatever takes its place.
  fs::remove(root() / "clip.mp4");
  fs::create_symlink("/etc/passwd", root() / "clip.mp4");
  const InputFile& open = *request.open_videos.at(clip);
  EXPECT_EQ(read_file(open.reopened()), "no video either");
  fs::remove(root() / "clip.mp4");
  write_file(root() / "clip.mp4", "no video either");
  EXPECT_TRUE(request.images_in_memory.empty());
  for (const char* source : {"../outside.png", "outside", "missing.mp4", "pipe", "/dev/zero"})
    EXPECT_THAT(refusal(request_for_video(source), policy_), HasSubstr("no such file")) << source;
  for (const char* source : {"http://example.org/a.mp4", "data:video/mp4;base64,AAAA", "concat://clip.mp4"})
    EXPECT_THAT(refusal(request_for_video(source), policy_), HasSubstr("a video must be")) << source;
  policy_.max_video_bytes = 3;
  EXPECT_THAT(refusal(request_for_video("clip.mp4"), policy_), HasSubstr("larger than the 3 bytes"));
  request = request_for_video("", {"desk.png", "sub/desk.png", "desk.png"});
  admit_images(request, policy_);
  EXPECT_EQ(request.images_in_memory.size(), 2);
}

TEST_F(Folder, the_engine_opens_nothing) {
  Request request = request_for({"desk.png"});
  admit_images(request, policy_);
  fs::remove_all(root());
  ModelConfig config;
  config.vision.patch_size = 14;
  config.vision.spatial_merge_size = 2;
  const Visual loaded = load_visual(request.conversation[0].content[0], request, config, nullptr);
  EXPECT_EQ(loaded.info.width, picture().width);
}

TEST_F(Folder, its_path_is_hidden) {
  const std::string path = fs::canonical(root() / "clip.mp4").string();
  EXPECT_EQ(hide_root(path + ": broken, see " + path, policy_), "clip.mp4: broken, see clip.mp4");
  EXPECT_EQ(hide_root("no path here", policy_), "no path here");
  EXPECT_EQ(hide_root(path, {}), path);
  const fs::path deep = root() / std::string(100, 'a') / std::string(100, 'b');
  fs::create_directories(deep);
  EXPECT_EQ(hide_root(printable((fs::canonical(deep) / "clip.mp4").string()) + ": broken", {.root = deep}),
            ": broken");
}

// What a picture host does, good and bad, by path.
class Fetched : public testing::Test {
 protected:
  Fetched() {
    host_.Get("/desk.png", [this](const httplib::Request& request, httplib::Response& response) {
      ++pictures_;
      seen_ = request.headers;
      response.set_content(picture_bytes(), "text/plain");
    });
    host_.Get("/text.png", [](const auto&, auto& response) { response.set_content("hello", "image/png"); });
    host_.Get("/empty", [](const auto&, auto&) {});
    host_.Get("/none", [](const auto&, auto& response) { response.status = 204; });
    host_.Get("/part", [](const auto&, auto& response) {
      response.set_content(picture_bytes(), "image/png");
      response.status = 203;
    });
    host_.Get("/redirect", [](const auto&, auto& response) { response.set_redirect("/desk.png"); });
    host_.Get("/large", [](const auto&, auto& response) {
      response.set_content(std::string(1 << 20, 'a'), "image/png");
    });
    host_.Get("/headers", [](const auto&, auto& response) {
      for (int i = 0; i < 100; ++i)
        response.headers.emplace("X-" + std::to_string(i), std::string(1000, 'a'));
      response.set_content(picture_bytes(), "image/png");
    });
    host_.Get("/zipped", [](const auto&, auto& response) {
      response.set_header("Content-Encoding", "gzip");
      response.set_content(picture_bytes(), "image/png");
    });
    host_.Get("/flood", [](const auto&, auto& response) {
      response.set_chunked_content_provider("image/png", [](size_t, httplib::DataSink& sink) {
        const std::string chunk(1 << 16, 'a');
        return sink.write(chunk.data(), chunk.size());
      });
    });
    host_.Get("/drip", [this](const auto&, auto& response) {
      response.set_chunked_content_provider("image/png", [this](size_t, httplib::DataSink& sink) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return !stopping_ && sink.is_writable() && sink.write("a", 1);
      });
    });
    host_.Get("/late.png", [](const auto&, auto& response) {
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      response.set_content(picture_bytes(), "image/png");
    });
    port_ = host_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { host_.listen_after_bind(); });
    while (!host_.is_running()) std::this_thread::yield();
    policy_.hosts = {"127.0.0.1:" + std::to_string(port_)};
  }
  ~Fetched() override {
    stopping_ = true;
    host_.stop();
    thread_.join();
  }

  std::string url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + path;
  }
  std::string refused(const std::string& path) const { return refusal(request_for({url(path)}), policy_); }

  httplib::Server host_;
  int port_ = 0;
  std::thread thread_;
  std::atomic<int> pictures_{0};
  std::atomic<bool> stopping_{false};
  httplib::Headers seen_;
  ImagePolicy policy_;
};

double seconds_of(const std::function<void()>& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_F(Fetched, pictures_are_what_their_bytes_are) {
  expect_admitted(url("/desk.png"), policy_);
  EXPECT_EQ(seen_.count("Cookie") + seen_.count("Authorization") + seen_.count("Accept-Encoding"), 0);
  EXPECT_THAT(refused("/text.png"), HasSubstr("not a picture"));
  EXPECT_THAT(refused("/empty"), HasSubstr("empty"));
  EXPECT_EQ(refusal(request_for_video("", {url("/desk.png"), url("/desk.png")}), policy_), "");
  EXPECT_EQ(pictures_, 2) << "the same address is fetched once";
}

TEST_F(Fetched, only_plain_answers_count) {
  EXPECT_THAT(refused("/redirect"), HasSubstr("redirect (302)"));
  EXPECT_EQ(pictures_, 0);
  EXPECT_THAT(refused("/missing"), HasSubstr("status 404"));
  EXPECT_THAT(refused("/none"), HasSubstr("status 204"));
  EXPECT_THAT(refused("/part"), HasSubstr("status 203"));
  EXPECT_THAT(refused("/headers"), HasSubstr("bytes of headers"));
  // Content-Encoding was not asked for and is not undone: the bytes are the picture.
  expect_admitted(url("/zipped"), policy_);
}

TEST_F(Fetched, bytes_are_bounded_announced_or_not) {
  policy_.max_bytes = 500'000;
  EXPECT_THAT(refused("/large"), HasSubstr("larger than the 500000 bytes"));
  EXPECT_THAT(refused("/flood"), HasSubstr("larger than the 500000 bytes"));
  policy_.max_bytes = picture_bytes().size();
  expect_admitted(url("/desk.png"), policy_);
  EXPECT_THAT(refusal(request_for({url("/desk.png?1"), url("/desk.png?2"), url("/desk.png?3"),
                                   url("/desk.png?4"), url("/desk.png?5")}),
                      policy_),
              HasSubstr("for one request"));
  EXPECT_EQ(pictures_, 5);
}

TEST_F(Fetched, time_is_bounded) {
  policy_.timeout = 1;
  EXPECT_LT(seconds_of([&] { EXPECT_THAT(refused("/drip"), HasSubstr("too slow")); }), 10);
  std::vector<std::string> late(8, url("/late.png?"));
  for (size_t i = 0; i < late.size(); ++i) late[i] += std::to_string(i);
  EXPECT_THAT(refusal(request_for(late), policy_),
              testing::AnyOf(HasSubstr("too slow"), HasSubstr("in all")));
}

TEST_F(Fetched, a_client_that_goes_ends_it) {
  int asked = 0;
  const double took = seconds_of([&] {
    EXPECT_THAT(refusal(request_for({url("/drip")}), policy_, [&] { return ++asked > 3; }),
                HasSubstr("no longer wanted"));
  });
  EXPECT_LT(took, 5);
}

TEST_F(Fetched, other_hosts_are_not_asked) {
  policy_.hosts.push_back("example.org");
  for (const std::string& address :
       {url("/desk.png", "127.0.0.2"), url("/desk.png", "localhost"), url("/desk.png", "[::ffff:127.0.0.1]"),
        url("/desk.png", "0.0.0.0"), std::string("http://127.0.0.1/desk.png"),
        std::string("https://127.0.0.1:1/desk.png"), url("/desk.png", "example.org")})
    EXPECT_THAT(refusal(request_for({address}), policy_), HasSubstr("not on a host and port")) << address;
  for (const std::string& address :
       {url("/desk.png", "example.org@127.0.0.1"), url("/desk.png", "example.org\\@127.0.0.1"),
        url("/desk.png", "example.org\t")})
    EXPECT_THAT(refusal(request_for({address}), policy_), testing::Not("")) << address;
  EXPECT_EQ(pictures_, 0);
}

TEST_F(Fetched, a_name_never_leads_to_this_machine) {
  policy_.hosts = {"localhost:" + std::to_string(port_), "*.localhost:" + std::to_string(port_)};
  EXPECT_THAT(refusal(request_for({url("/desk.png", "localhost")}), policy_), HasSubstr("public address"));
  EXPECT_THAT(refusal(request_for({url("/desk.png", "LOCALHOST")}), policy_), HasSubstr("public address"));
  EXPECT_THAT(refusal(request_for({url("/desk.png", "a.localhost")}), policy_), HasSubstr("public address"));
  EXPECT_EQ(pictures_, 0);
}

TEST_F(Fetched, proxies_of_the_environment_are_not_used) {
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) setenv(name, "http://127.0.0.1:1", 1);
  expect_admitted(url("/desk.png"), policy_);
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) unsetenv(name);
}

TEST_F(Fetched, a_host_that_is_down_gets_a_sentence) {
  policy_.hosts = {"127.0.0.1:1"};
  EXPECT_THAT(refusal(request_for({"http://127.0.0.1:1/desk.png"}), policy_), HasSubstr("cannot be fetched"));
}

TEST_F(Fetched, threads_fetch_at_once) {
  std::vector<std::thread> clients(8);
  std::atomic<int> good{0};
  for (std::thread& client : clients)
    client = std::thread([&] { good += refusal(request_for({url("/late.png")}), policy_).empty(); });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 8);
}

}  // namespace
}  // namespace dvlm
