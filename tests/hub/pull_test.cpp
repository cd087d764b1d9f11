// Downloads from a server that behaves like the hub, and misbehaves like networks.
#include "hub/pull.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "hub/digest.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// Sends files of one repository; the large ones from another address, as the hub does.
class Hub : public testing::Test {
 protected:
  void SetUp() override {
    weights_.resize(300'000);
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = static_cast<char>(i * 7919 >> 5);
    write_file(folder_ / "weights", weights_), write_file(folder_ / "config", config_);
    list_ = {{"sha", kCommit},
             {"siblings",
              {{{"rfilename", "config.json"},
                {"size", config_.size()},
                {"blobId", git_blob_of(folder_ / "config")}},
               {{"rfilename", "parts/model 1.safetensors"},
                {"size", 134},
                {"blobId", std::string(40, 'a')},
                {"lfs", {{"sha256", sha256_of(folder_ / "weights")}, {"size", weights_.size()}}}},
               {{"rfilename", "pytorch_model.bin"}, {"size", 7}, {"blobId", std::string(40, 'b')}}}}};
    server_.Get("/api/models/org/name/revision/(.*)", [this](const httplib::Request& request,
                                                             httplib::Response& response) {
      tokens_ += request.get_header_value("Authorization") + ";";
      if (request.matches[1] != "main" && request.matches[1] != "v1" && request.matches[1] != kCommit)
        return void(response.status = 404);
      if (private_ && request.get_header_value("Authorization") != "Bearer secret")
        return void(response.status = 401);
      response.set_content(list_.dump(), "application/json");
    });
    server_.Get("/org/name/resolve/(.*)/config.json",
                [this](const httplib::Request&, httplib::Response& response) {
                  ++asked_;
                  response.set_content(config_, "text/plain");
                });
    server_.Get("/org/name/resolve/(.*)/parts/model 1.safetensors",
                [this](const httplib::Request&, httplib::Response& response) {
                  response.set_redirect("http://localhost:" + std::to_string(port_) + "/cdn");
                });
    server_.Get("/cdn", [this](const httplib::Request& request, httplib::Response& response) {
      send_weights(request, response);
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  void TearDown() override {
    server_.stop();
    thread_.join();
  }

  // The first `breaks_` answers end after a third.
  void send_weights(const httplib::Request& request, httplib::Response& response) {
    ++asked_;
    cdn_tokens_ += request.get_header_value("Authorization");
    if (busy_ > 0) {
      --busy_;
      response.status = 503;
      return response.set_content("busy", "text/plain");
    }
    std::string content = damaged_ ? std::string(weights_.size(), 'x') : weights_;
    if (!ranges_) const_cast<httplib::Request&>(request).ranges.clear();
    if (breaks_ <= 0) return response.set_content(content, "application/octet-stream");
    --breaks_;
    response.set_content_provider(content.size(), "application/octet-stream",
                                  [content](size_t offset, size_t length, httplib::DataSink& sink) {
                                    const size_t third = content.size() / 3;
                                    if (offset + length > content.size() - third / 2)
                                      length = std::min(length, third);
                                    sink.write(content.data() + offset, std::min(length, third));
                                    return false;
                                  });
  }

  PullOptions options() {
    PullOptions out{.cache = folder_ / "cache", .endpoint = "http://127.0.0.1:" + std::to_string(port_)};
    out.wait = std::chrono::milliseconds(1);
    return out;
  }
  std::string refusal(const std::string& name, const PullOptions& options) {
    try {
      pull(*hub_name(name), options);
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  }

  const TemporaryFolder folder_;
  std::string weights_, config_ = R"({"model_type": "fast_dvlm"})";
  json list_;
  httplib::Server server_;
  std::thread thread_;
  int port_ = 0;
  std::atomic<int> asked_{0}, breaks_{0}, busy_{0};
  std::atomic<bool> damaged_{false}, private_{false}, ranges_{true};
  std::string tokens_, cdn_tokens_;
};

TEST_F(Hub, a_model_arrives_where_every_program_looks_for_it) {
  const Pulled pulled = pull(*hub_name("org/name"), options());
  EXPECT_EQ(pulled.folder, folder_ / "cache/models--org--name/snapshots" / kCommit);
  EXPECT_EQ(read_file(pulled.folder / "config.json"), config_);
  EXPECT_EQ(read_file(pulled.folder / "parts/model 1.safetensors"), weights_);
  EXPECT_TRUE(fs::is_symlink(pulled.folder / "config.json"));
  EXPECT_EQ(pulled.left_out, std::vector<std::string>{"pytorch_model.bin"});
  EXPECT_EQ(pulled.downloaded, static_cast<int64_t>(weights_.size() + config_.size()));
  EXPECT_EQ(hub_snapshot(folder_ / "cache", *hub_name("org/name")), pulled.folder);
  EXPECT_EQ(hub_snapshot(folder_ / "cache", {"org/name", kCommit}), pulled.folder);
  EXPECT_EQ(hub_snapshot(folder_ / "cache", *hub_name("org/name@v1")), fs::path());
  const int before = asked_;
  EXPECT_EQ(pull(*hub_name("org/name@v1"), options()).downloaded, 0) << "all of it is there";
  EXPECT_EQ(asked_, before);
  EXPECT_EQ(hub_snapshot(folder_ / "cache", *hub_name("org/name@v1")), pulled.folder);
}

TEST_F(Hub, what_broke_off_goes_on_where_it_ended) {
  breaks_ = 2, busy_ = 1;  // busy when a third is there
  const Pulled pulled = pull(*hub_name("org/name"), options());
  EXPECT_EQ(read_file(pulled.folder / "parts/model 1.safetensors"), weights_);
  EXPECT_EQ(pulled.downloaded, static_cast<int64_t>(weights_.size() + config_.size()))
      << "nothing came twice";
}

TEST_F(Hub, a_later_call_goes_on_too) {
  breaks_ = 1;
  int64_t seen = 0;
  PullOptions stopping = options();
  stopping.cancelled = [&] { return seen > 50'000; };
  stopping.progress = [&](int64_t done, int64_t, const std::string&) { seen = done; };
  EXPECT_THROW(pull(*hub_name("org/name"), stopping), PullCancelled);
  EXPECT_EQ(hub_snapshot(folder_ / "cache", *hub_name("org/name")), fs::path()) << "half a model has no name";
  EXPECT_EQ(hub_snapshot(folder_ / "cache", {"org/name", kCommit}), fs::path()) << "nor a folder";
  const Pulled pulled = pull(*hub_name("org/name"), options());
  EXPECT_EQ(read_file(pulled.folder / "parts/model 1.safetensors"), weights_);
  EXPECT_LT(pulled.downloaded, static_cast<int64_t>(weights_.size()));
}

TEST_F(Hub, a_server_that_cannot_go_on_begins_anew) {
  breaks_ = 1, ranges_ = false;
  const Pulled pulled = pull(*hub_name("org/name"), options());
  EXPECT_EQ(read_file(pulled.folder / "parts/model 1.safetensors"), weights_);
}

TEST_F(Hub, what_never_gets_further_is_given_up) {
  breaks_ = 1000, ranges_ = false;
  EXPECT_THAT(refusal("org/name", options()), HasSubstr("could not be downloaded"));
  EXPECT_LT(asked_, 30);
}

TEST_F(Hub, damage_is_noticed_and_not_kept) {
  damaged_ = true;
  EXPECT_THAT(refusal("org/name", options()), HasSubstr("damaged"));
  EXPECT_EQ(hub_snapshot(folder_ / "cache", *hub_name("org/name")), fs::path());
  damaged_ = false;
  EXPECT_EQ(refusal("org/name", options()), "accepted");
}

TEST_F(Hub, tokens_go_to_the_hub_alone) {
  private_ = true;
  EXPECT_THAT(refusal("org/name", options()), HasSubstr("HF_TOKEN"));
  PullOptions mine = options();
  mine.token = "secret";
  EXPECT_EQ(refusal("org/name", mine), "accepted");
  EXPECT_THAT(tokens_, HasSubstr("Bearer secret"));
  EXPECT_EQ(cdn_tokens_, "") << "localhost is another host than 127.0.0.1";
}

TEST_F(Hub, what_is_not_there_or_makes_no_sense_is_refused) {
  EXPECT_THAT(refusal("org/name@v9", options()), HasSubstr("no model org/name with the revision v9"));
  EXPECT_THAT(refusal("org/other", options()), HasSubstr("no model org/other"));
  const json right = list_;
  const auto broken = [&](const char* pointer, const json& value) {
    list_ = right;
    list_[json::json_pointer(pointer)] = value;
    return refusal("org/name", options());
  };
  for (const char* name : {"../../evil", "/etc/passwd", "a/../../b", ""})
    EXPECT_THAT(broken("/siblings/0/rfilename", name), HasSubstr("leads out")) << name;
  EXPECT_THAT(broken("/sha", "../../x"), HasSubstr("commit"));
  EXPECT_THAT(broken("/siblings/0/blobId", "../x"), HasSubstr("checksum"));
  EXPECT_THAT(broken("/siblings/0/size", -1), HasSubstr("size"));
  EXPECT_THAT(broken("/siblings", 7), HasSubstr("list"));
  EXPECT_THAT(broken("/siblings/0/size", 3), HasSubstr("longer"));
  EXPECT_THAT(broken("/siblings/0/size", 4000), HasSubstr("could not be downloaded"));
  PullOptions nowhere = options();
  nowhere.endpoint = "http://127.0.0.1:1";
  nowhere.tries = 2;
  EXPECT_THAT(refusal("org/name", nowhere), HasSubstr("could not be downloaded"));
}

TEST(HubNames, are_org_name_and_revision) {
  for (const char* name : {"a/b", "Efficient-Large-Model/Fast_dVLM_3B", "a/b@v1.0", "a/b@refs/pr/1"})
    EXPECT_TRUE(hub_name(name)) << name;
  for (const char* name : {"", "a", "a/b/c", "/a/b", "./a", "../a", "a/..", "a/b@", "a/b@../x", "a//b",
                           "a/b@x..y", "a b/c", "a/.b"})
    EXPECT_FALSE(hub_name(name)) << name;
  EXPECT_EQ(hub_name("a/b@v1")->revision, "v1");
  EXPECT_THROW(find_model("no-such-org/no-such-model"), Error);
  EXPECT_EQ(find_model("/no/such/folder"), "/no/such/folder");
}

}  // namespace
}  // namespace dvlm
