#include "engine/visual.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "core/memory.h"
#include "engine/prompt.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

ModelConfig config() {
  ModelConfig config;
  config.text.vocab_size = 100;
  config.vision.patch_size = 14;
  config.vision.spatial_merge_size = 2;
  config.image_token = 90;
  config.video_token = 91;
  return config;
}

Image grey(int width, int height, uint8_t value = 128) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, value)};
}

ContentPart part(const std::string& source, ContentPart::Type type = ContentPart::Type::image) {
  ContentPart result;
  result.type = type;
  result.source = source;
  return result;
}

TEST(SipHash, GivesThePublishedVector) {
  std::array<std::byte, 15> data;
  for (int i = 0; i < 15; ++i) data[i] = static_cast<std::byte>(i);
  EXPECT_EQ(siphash(0x0706050403020100, 0x0f0e0d0c0b0a0908, data), 0xa129ca6149be45e5);
}

TEST(ContentHash, TellsPiecesApart) {
  const auto key = [](const std::vector<std::string_view>& pieces) {
    ContentHash hash;
    for (const auto piece : pieces) hash.add(piece);
    return hash.key();
  };
  EXPECT_EQ(key({"ab", "c"}), key({"ab", "c"}));
  EXPECT_NE(key({"ab", "c"}), key({"a", "bc"}));
  EXPECT_NE(key({"a"}), key({"a", ""}));
  EXPECT_NE(key({"a"}), key({"b"}));
}

TEST(LoadPicture, MeasuresPicturesInMemory) {
  Request request;
  request.images_in_memory["cam0"] = grey(640, 480);
  const Visual picture = load_visual(part("cam0"), request, config(), nullptr);
  EXPECT_EQ(picture.info.width, 640);
  EXPECT_EQ(picture.info.height, 480);
  EXPECT_EQ(picture.info.resized_width, 644);
  EXPECT_EQ(picture.info.resized_height, 476);
  EXPECT_EQ(picture.info.tokens, 391);
  EXPECT_EQ(picture.grid, (Grid{1, 34, 46}));
}

TEST(LoadPicture, TakesLimitsFromItemThenRequestThenCheckpoint) {
  Request request;
  request.images_in_memory["cam0"] = grey(640, 480);
  request.max_pixels = 100 * 784;
  EXPECT_LE(load_visual(part("cam0"), request, config(), nullptr).info.tokens, 100);
  ContentPart item = part("cam0");
  item.max_pixels = 20 * 784;
  EXPECT_LE(load_visual(item, request, config(), nullptr).info.tokens, 20);
  item.min_pixels = 10 * 784;
  const int tokens = load_visual(item, request, config(), nullptr).info.tokens;
  EXPECT_TRUE(tokens >= 10 && tokens <= 20);
  item.min_pixels = 21 * 784;
  EXPECT_NE(message_of([&] { load_visual(item, request, config(), nullptr); }).find("min_pixels"),
            std::string::npos);
  item = part("cam0");
  item.resized_width = 56;
  item.resized_height = 84;
  EXPECT_EQ(load_visual(item, request, config(), nullptr).info.tokens, 6);
  request.max_pixels = 784;  // below the checkpoint's minimum: the caller wins
  EXPECT_EQ(load_visual(part("cam0"), request, config(), nullptr).info.tokens, 1);
}

TEST(LoadPicture, TurnsAsTheCameraNotedWhenAsked) {
  const std::string photo = DVLM_FIXTURES "/image/exif/6.jpg";
  Request request;
  const Visual stored = load_visual(part(photo), request, config(), nullptr);
  request.exif_rotate = true;
  const Visual turned = load_visual(part(photo), request, config(), nullptr);
  EXPECT_EQ(stored.info.width, 24);
  EXPECT_EQ(stored.info.height, 16);
  EXPECT_EQ(turned.info.width, 16);
  EXPECT_EQ(turned.info.height, 24);
  EXPECT_EQ(turned.info.resized_width, stored.info.resized_height);
  EXPECT_FALSE(turned.key == stored.key);  // the cache keeps both
}

TEST(LoadPicture, NamesWhatItCannotRead) {
  const TemporaryFolder folder;
  write_file(folder / "text.png", "this is no picture");
  write_file(folder / "empty.jpg", "");
  Request request;
  request.images_in_memory["bad"] = {2, 2, {1, 2, 3}};
  for (const std::string& source :
       {(folder / "missing.png").string(), (folder / "text.png").string(), (folder / "empty.jpg").string(),
        folder.path().string(), std::string("bad")})
    EXPECT_NE(message_of([&] { load_visual(part(source), request, config(), nullptr); }).find(source),
              std::string::npos)
        << source;
  for (const char* url : {"http://example.org/a.png", "https://example.org/a.png"}) {
    const std::string message = message_of([&] { load_visual(part(url), request, config(), nullptr); });
    EXPECT_NE(message.find("download it first"), std::string::npos) << message;
  }
  const auto video = part((folder / "missing.mp4").string(), ContentPart::Type::video);
  EXPECT_NE(message_of([&] { load_visual(video, request, config(), nullptr); }).find("missing.mp4"),
            std::string::npos);
}

TEST(LoadPicture, TokensAreCountedBeforePixelsAreMade) {
  Request request;
  request.images_in_memory["a"] = grey(16, 16);
  request.min_pixels = int64_t{1} << 27;
  const size_t before = peak_rss_bytes();
  const auto admit = [](int64_t tokens) { fail("{} tokens", tokens); };
  EXPECT_EQ(message_of([&] { load_visual(part("a"), request, config(), nullptr, admit); }), "171396 tokens");
  EXPECT_LT(peak_rss_bytes() - before, size_t{64} << 20);
  request.min_pixels = int64_t{1} << 40;
  EXPECT_NE(message_of([&] { load_visual(part("a"), request, config(), nullptr); }).find("lower min_pixels"),
            std::string::npos);
}

TEST(LoadPicture, ReadsFramesAsAVideo) {
  Request request;
  ContentPart video = part("", ContentPart::Type::video);
  for (int i = 0; i < 5; ++i) {
    request.images_in_memory[std::to_string(i)] = grey(56, 84, static_cast<uint8_t>(i));
    video.frames.push_back(std::to_string(i));
  }
  video.fps = 4;
  Visual picture = load_visual(video, request, config(), nullptr);
  EXPECT_EQ(picture.grid, (Grid{3, 6, 4}));
  EXPECT_EQ(picture.info.tokens, 18);
  EXPECT_DOUBLE_EQ(picture.second_per_grid, 0.5);
  EXPECT_EQ(patches_of(picture, config()).values.size(), 72u * 1176);
}

TEST(LoadPicture, KeysDependOnContentAndOptionsOnly) {
  const TemporaryFolder folder;
  Request request;
  request.images_in_memory["a"] = request.images_in_memory["b"] = grey(56, 56);
  request.images_in_memory["c"] = grey(56, 56, 129);
  const auto key = [&](const ContentPart& item) { return load_visual(item, request, config(), nullptr).key; };
  EXPECT_EQ(key(part("a")), key(part("b")));
  EXPECT_NE(key(part("a")), key(part("c")));
  ContentPart small = part("a");
  small.max_pixels = 3136;
  EXPECT_NE(key(part("a")), key(small));
}

TEST(VisualCache, DropsTheLeastRecentlyUsed) {
  const auto picture = [](uint64_t id, size_t floats) {
    Visual result;
    result.key = {id, 0};
    auto features = std::make_shared<ImageFeatures>();
    features->values.resize(floats);
    result.features = features;
    return result;
  };
  VisualCache cache(100 * sizeof(float));
  cache.insert(picture(1, 40));
  cache.insert(picture(2, 40));
  EXPECT_TRUE(cache.find({1, 0}));
  cache.insert(picture(3, 40));
  EXPECT_FALSE(cache.find({2, 0}));
  EXPECT_TRUE(cache.find({1, 0}));
  EXPECT_TRUE(cache.find({3, 0}));
  EXPECT_EQ(cache.totals().bytes, 80 * sizeof(float));
  cache.insert(picture(4, 101));
  EXPECT_FALSE(cache.find({4, 0}));
  cache.insert(picture(1, 40));
  EXPECT_EQ(cache.totals().bytes, 80 * sizeof(float));
}

TEST(VisualCache, HasPlacesForSoManyThatWait) {
  VisualCache cache(0, 100);
  auto first = cache.place_for(60);
  const auto copy = first;
  const auto second = cache.place_for(40);
  EXPECT_THROW(cache.place_for(1), NoPlaceForVisual);
  first.reset();
  EXPECT_THROW(cache.place_for(60), NoPlaceForVisual) << "a copy holds it";
  EXPECT_THROW(cache.place_for(101), NoPlaceForVisual);
  EXPECT_THROW(cache.place_for(1), NoPlaceForVisual) << "who was refused took none";
}

TEST(LoadPicture, TakesItsPlaceUntilItIsEncoded) {
  Request request;
  request.images_in_memory["a"] = grey(84, 56);
  VisualCache cache(1 << 20, 10);
  Visual waiting = load_visual(part("a"), request, config(), &cache);
  EXPECT_EQ(waiting.info.tokens, 6);
  EXPECT_THROW(load_visual(part("a"), request, config(), &cache), NoPlaceForVisual);
  waiting.drop_pixels();
  EXPECT_NO_THROW(load_visual(part("a"), request, config(), &cache));
}

TEST(CommonPrefix, EndsBeforeAnotherPicture) {
  const auto identity = [](const std::vector<TokenId>& tokens, const std::vector<uint64_t>& keys) {
    PromptIdentity result{tokens, pad_runs(tokens, config()), {}};
    for (const uint64_t key : keys) result.keys.push_back({key, 0});
    return result;
  };
  const auto a = identity({1, 90, 90, 2, 90, 3}, {7, 8});
  EXPECT_EQ(common_prefix(a, a), 6);
  EXPECT_EQ(common_prefix(a, identity({1, 90, 90, 2, 90, 3, 4}, {7, 8})), 6);
  EXPECT_EQ(common_prefix(a, identity({1, 90, 90, 2, 90, 4}, {7, 8})), 5);
  EXPECT_EQ(common_prefix(a, identity({1, 90, 90, 2, 90, 3}, {7, 9})), 4);
  EXPECT_EQ(common_prefix(a, identity({1, 90, 90, 2, 90, 3}, {6, 8})), 1);
  EXPECT_EQ(common_prefix(a, identity({2}, {})), 0);
  // The answer held a pad that the model wrote; a prompt with a picture there is another one.
  auto answered = identity({1, 2}, {});
  answered.tokens.push_back(90);
  EXPECT_EQ(common_prefix(answered, identity({1, 2, 90}, {7})), 2);
}

}  // namespace
}  // namespace dvlm
