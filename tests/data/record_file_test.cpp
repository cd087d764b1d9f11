#include "data/record_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

#include "core/data_url.h"
#include "core/files.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(DVLM_FIXTURES) / "data";

class Files : public testing::Test {
 protected:
  fs::path file(const std::string& name, std::string_view content) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << content;
    return folder_.path() / name;
  }
  std::string error_of(const std::string& name, std::string_view content) const {
    return message_of([&] { RecordFile(file(name, content)); });
  }
  static std::vector<std::string> texts(const RecordFile& records) {
    std::vector<std::string> out;
    for (int64_t i = 0; i < records.size(); ++i) out.emplace_back(records.text(i));
    return out;
  }

  TemporaryFolder folder_;
};

TEST_F(Files, hold_lines_or_the_elements_of_an_array) {
  const RecordFile lines(file("a.jsonl", "\xef\xbb\xbf{\"a\": 1}\r\n\n  \n[2]\n{\"b\": 3}"));
  EXPECT_THAT(texts(lines), ElementsAre("{\"a\": 1}\r", "[2]", "{\"b\": 3}"));
  EXPECT_THAT(lines.name(2), HasSubstr("a.jsonl line 5"));
  const RecordFile array(
      file("a.json", "\n [ {\"a\": \"]},{\\\"\"} ,\n{\"b\": [1, {\"c\": 2}]}, 3 , \"x,\" ]\n"));
  EXPECT_THAT(texts(array),
              ElementsAre("{\"a\": \"]},{\\\"\"}", "{\"b\": [1, {\"c\": 2}]}", "3 ", "\"x,\" "));
  EXPECT_THAT(array.name(1), HasSubstr("a.json record 2"));
  EXPECT_EQ(array.object(0)["a"], "]},{\"");
  EXPECT_THAT(message_of([&] { array.object(2); }), HasSubstr("an object"));
}

TEST_F(Files, that_hold_nothing_or_break_off_are_refused) {
  EXPECT_THAT(error_of("a.jsonl", ""), HasSubstr("a.jsonl holds no record"));
  EXPECT_THAT(error_of("a.jsonl", " \n\n"), HasSubstr("holds no record"));
  EXPECT_THAT(error_of("a.json", "[]"), HasSubstr("holds no record"));
  for (const char* broken : {"[", "[{\"a\": 1}", "[{\"a\": 1},", "[{\"a\": \"1}]", "[{\"a\": [1}"})
    EXPECT_THAT(error_of("a.json", broken), HasSubstr("no whole JSON array")) << broken;
  EXPECT_THAT(error_of("a.json", "[{\"a\": 1} {\"b\": 2}]"), HasSubstr("no comma behind record 1"));
  EXPECT_THAT(error_of("a.json", "[{}] {}"), HasSubstr("behind its JSON array"));
  EXPECT_THAT(error_of("a.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
              HasSubstr("LFS"));
  EXPECT_THAT(message_of([&] { RecordFile(folder_.path() / "gone.json"); }), HasSubstr("gone.json"));
  EXPECT_THAT(message_of([&] { RecordFile records(folder_.path()); }), HasSubstr(folder_.path().string()));
}

TEST_F(Files, have_records_of_at_most_64_MiB) {
  const auto error_of_record = [&](size_t bytes) {
    const RecordFile records(file("long.jsonl", "{\"a\": \"" + std::string(bytes - 9, ' ') + "\"}\n{}"));
    EXPECT_EQ(records.object(1).size(), 0u);
    return message_of([&] { records.object(0); });
  };
  EXPECT_EQ(error_of_record(64 << 20), "no error");
  EXPECT_THAT(error_of_record((64 << 20) + 1), HasSubstr("longer than the 67108864 bytes"));
}

TEST_F(Files, are_unpacked) {
  EXPECT_EQ(RecordFile(kFixtures / "llava_system.jsonl.gz").size(), 1);
  EXPECT_EQ(RecordFile(kFixtures / "llama_factory_sharegpt.json.zst").size(), 1);
  const RecordFile array(kFixtures / "messages.json.gz"), lines(kFixtures / "messages.jsonl");
  ASSERT_EQ(array.size(), lines.size());
  for (int64_t i = 0; i < array.size(); ++i) EXPECT_EQ(array.object(i), lines.object(i));
}

TEST_F(Files, that_are_packed_and_damaged_are_refused) {
  const std::string whole = read_file(kFixtures / "webdataset.tar.gz");
  for (const size_t kept : {size_t{12}, whole.size() / 3, whole.size() / 2, whole.size() - 30})
    EXPECT_THAT(error_of("cut.tar.gz", whole.substr(0, kept)), HasSubstr("cut.tar.gz")) << kept;
}

TEST_F(Files, that_are_packed_give_no_other_text_for_any_flipped_bit) {
  const std::string whole = read_file(kFixtures / "messages.json.gz");
  const std::vector<std::string> right = texts(RecordFile(file("whole.json.gz", whole)));
  constexpr size_t kMagic = 2, kHead = 10, kSums = 8;  // bytes
  for (size_t bit = 8 * kMagic; bit < 8 * whole.size(); ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const std::string error = message_of(
        [&] { EXPECT_EQ(texts(RecordFile(file("flipped.json.gz", damaged))), right) << "bit " << bit; });
    EXPECT_THAT(error, AnyOf(HasSubstr("flipped.json.gz is damaged"), "no error"));
    const bool says_nothing = bit < 8 * kHead || bit / 8 == whole.size() - kSums - 1;  // fills the last byte
    EXPECT_TRUE(error != "no error" || says_nothing) << "bit " << bit;
  }
}

TEST_F(Files, may_be_several_packed_ones_and_nothing_else_behind_each_other) {
  const std::string one = read_file(kFixtures / "llava_system.jsonl.gz");
  EXPECT_EQ(RecordFile(file("two.jsonl.gz", one + one)).size(), 2);
  EXPECT_EQ(RecordFile(file("filled.jsonl.gz", one + std::string(512, '\0'))).size(), 1);
  EXPECT_THAT(error_of("more.jsonl.gz", one + "{}"), HasSubstr("something else stands behind its end"));
  EXPECT_THAT(error_of("more.jsonl.gz", one + one.substr(0, 20)), HasSubstr("breaks off"));
}

TEST_F(Files, of_a_webdataset_are_samples_with_their_own_pictures) {
  for (const char* name : {"webdataset.tar", "webdataset.tar.gz"}) {
    const RecordFile records(kFixtures / name);
    ASSERT_EQ(records.size(), 3);
    EXPECT_THAT(records.name(1), HasSubstr(std::string(name) + " sample s/001"));
    const auto sources = [&](int64_t i) {
      std::vector<size_t> sizes;
      for (const Message& message : records.conversation(i, records.object(i)))
        for (const ContentPart& part : message.content)
          if (part.type == ContentPart::Type::image) {
            EXPECT_TRUE(part.source.starts_with("data:;base64,iVBOR"));
            sizes.push_back(part.source.size());
          }
      return sizes;
    };
    const auto url_size = [](const char* picture) {
      return 13 + (fs::file_size(kFixtures / "pictures" / picture) + 2) / 3 * 4;
    };
    EXPECT_THAT(sources(0), ElementsAre(url_size("a.png"))) << "the record says train/7.png";
    EXPECT_THAT(sources(1), ElementsAre(url_size("b.png"), url_size("c.png")));
    EXPECT_THAT(sources(2), ElementsAre());
  }
}

std::string gzip(const std::string& text) {
  constexpr int kGzip = 16, kMemory = 8;
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + kGzip, kMemory, Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// One frame of one block that is not packed (RFC 8878, 3.1.1).
std::string zstd(const std::string& text) {
  const auto bytes = [](uint64_t value, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += static_cast<char>(value >> (8 * i));
    return out;
  };
  constexpr int kLastRawBlock = 1, kSizeOfFourBytes = 0xA0;
  return bytes(0xFD2FB528, 4) + bytes(kSizeOfFourBytes, 1) + bytes(text.size(), 4) +
         bytes(text.size() << 3 | kLastRawBlock, 3) + text;
}

// A member of a tar: its header, its content, and zeros to the next block.
std::string member(const std::string& name, const std::string& content, char type = '0',
                   const std::string& target = "") {
  std::string out(512, '\0');
  const auto put = [&](size_t at, const std::string& text) { out.replace(at, text.size(), text); };
  put(0, name), put(100, "0000644"), put(108, "0000000"), put(116, "0000000");
  put(124, fmt::format("{:011o}", content.size())), put(136, "00000000000"), put(148, "        ");
  out[156] = type;
  put(157, target), put(257, std::string("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : out) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return out + content + std::string((512 - content.size() % 512) % 512, '\0');
}

constexpr const char* kAsks =
    R"({"messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cup."}]})";

TEST_F(Files, of_a_tar_have_their_pictures_in_its_order_and_no_links) {
  const std::string end(1024, '\0'), picture = read_file(kFixtures / "pictures/a.png");
  const std::string twelve = [&] {
    std::string out, tags, record = kAsks;
    for (int i = 0; i < 12; ++i)
      out += member(fmt::format("k.{}.png", i), picture + std::to_string(i)), tags += "<image>";
    record.replace(record.find("<image>"), 7, tags);
    return member("k.json", record) + out;
  }();
  const RecordFile records(file("twelve.tar", twelve + end));
  const Conversation conversation = records.conversation(0, records.object(0));
  std::vector<std::string> last;
  for (const ContentPart& part : conversation[0].content)
    if (part.type == ContentPart::Type::image) {
      const std::vector<std::byte> bytes = data_of_url(part.source);
      last.push_back(
          std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()).substr(picture.size()));
    }
  EXPECT_THAT(last, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"));
  for (const char type : {'1', '2'})
    EXPECT_THAT(
        error_of("linked.tar", member("a.json", kAsks) + member("a.png", picture) + member("b.json", kAsks) +
                                   member("b.png", "", type, "a.png") + end),
        HasSubstr("b.png is a link"));
}

TEST_F(Files, that_are_tars_which_break_off_are_refused_wherever) {
  const std::string whole = member("a.json", kAsks) + member("b.json", kAsks) + std::string(1024, '\0');
  EXPECT_EQ(RecordFile(file("whole.tar", whole)).size(), 2);
  EXPECT_THAT(error_of("cut.tar", whole.substr(0, 2048)), HasSubstr("cut.tar is damaged"));
  const std::string packed = gzip(whole.substr(0, 2048));
  EXPECT_THAT(error_of("cut.tar.gz", packed), HasSubstr("cut.tar.gz is damaged"));
  EXPECT_EQ(RecordFile(file("whole.tar.zst", zstd(whole))).size(), 2);
  EXPECT_THAT(error_of("cut.tar.zst", zstd(whole.substr(0, 2048))), HasSubstr("cut.tar.zst is damaged"));
  std::string header = whole;
  header[0] = 'x';
  EXPECT_THAT(error_of("header.tar", header), HasSubstr("header.tar is damaged"));
}

TEST_F(Files, in_a_tar_are_found_by_name_or_by_place_but_not_by_both) {
  const std::string picture = read_file(kFixtures / "pictures/a.png");
  const auto problem = [&](const char* names) {
    std::string record = kAsks;
    record.replace(record.find("<image>"), 7, "<image><image>");
    record.insert(1, fmt::format("\"images\": {}, ", names));
    const RecordFile records(file("two.tar", member("k.json", record) + member("k.a.png", picture) +
                                                 member("k.b.png", picture) + std::string(1024, '\0')));
    return message_of([&] { records.conversation(0, records.object(0)); });
  };
  EXPECT_EQ(problem(R"(["k.b.png", "k.a.png"])"), "no error");
  EXPECT_EQ(problem(R"(["train/1.png", "train/2.png"])"), "no error");
  EXPECT_THAT(problem(R"(["k.b.png", "other.png"])"), HasSubstr("other.png is not in the tar"));
}

TEST_F(Files, in_a_tar_have_their_pictures_where_the_record_lists_none) {
  const std::string picture = read_file(kFixtures / "pictures/a.png");
  for (const char* none : {R"("images": [], )", R"("image": "", )", R"("images": null, )"}) {
    std::string record = kAsks;
    record.insert(1, none);
    const RecordFile records(
        file("none.tar", member("k.json", record) + member("k.png", picture) + std::string(1024, '\0')));
    const Conversation conversation = records.conversation(0, records.object(0));
    EXPECT_EQ(conversation[0].content[0].type, ContentPart::Type::image) << none;
  }
}

TEST_F(Files, in_a_tar_have_pictures_of_every_format_that_is_read) {
  const std::string picture = read_file(kFixtures / "pictures/a.png"), ppm = "P6\n1 1\n255\nabc";
  for (const auto& [name, content] : {std::pair<std::string, std::string>{"k.ppm", ppm},
                                      {"k.PGM", "P5\n1 1\n255\na"},
                                      {"k.jfif", "\xFF\xD8\xFF\xE0"},
                                      {"k.image", picture},
                                      {"k.0", ppm}}) {
    const RecordFile records(file("formats.tar", member("k.json", kAsks) + member("k.txt", "P6") +
                                                     member(name, content) + std::string(1024, '\0')));
    const Conversation conversation = records.conversation(0, records.object(0));
    ASSERT_EQ(conversation[0].content.size(), 2) << name;
    const std::vector<std::byte> bytes = data_of_url(conversation[0].content[0].source);
    EXPECT_EQ(text_of(bytes), content) << name;
  }
}

TEST_F(Files, in_a_tar_with_a_video_or_a_picture_that_is_not_read_are_bad) {
  const std::string end(1024, '\0'), picture = read_file(kFixtures / "pictures/a.png");
  const auto problem = [&](const std::string& members) {
    const RecordFile records(file("unread.tar", members + end));
    return message_of([&] { records.conversation(0, records.object(0)); });
  };
  std::string asks_of_video = kAsks;
  asks_of_video.replace(asks_of_video.find("<image>"), 7, "<video>");
  const std::string video(
      "\0\0\0\x18"
      "ftypisom",
      12),
      tiff("II*\0", 4);
  EXPECT_THAT(problem(member("k.json", asks_of_video) + member("k.mp4", video)),
              HasSubstr("k.mp4 belongs to the sample and is not read"));
  EXPECT_THAT(problem(member("k.json", kAsks) + member("k.tif", tiff)), HasSubstr("k.tif"));
  EXPECT_THAT(problem(member("k.json", kAsks) + member("k.bin", video)), HasSubstr("k.bin"));
  EXPECT_THAT(problem(member("k.png", picture) + member("k.wav", "") + member("k.json", kAsks)),
              HasSubstr("k.wav"));
  EXPECT_EQ(problem(member("k.json", kAsks) + member("other.mp4", video)), "no error");
  EXPECT_EQ(problem(member("k.json", kAsks) + member("k.txt", "a") + member("k.cls", "3") +
                    member("k.npy", "\x93NUMPY") + member("k.more.json", "{}")),
            "no error");
}

TEST_F(Files, in_a_tar_show_a_picture_that_their_content_names_once) {
  const std::string picture = read_file(kFixtures / "pictures/a.png");
  const std::string record =
      R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "k.png"},
      {"type": "text", "text": "What?"}]}, {"role": "assistant", "content": "A cup."}]})";
  for (const char* name : {"k.json", "s/k.json"}) {
    const std::string key(name, std::strlen(name) - 5);
    const RecordFile records(
        file("once.tar", member(name, record) + member(key + ".png", picture) + std::string(1024, '\0')));
    const Conversation conversation = records.conversation(0, records.object(0));
    EXPECT_EQ(visuals_of(conversation).size(), 1) << name;
  }
}

TEST_F(Files, of_which_a_text_alone_is_read_have_no_pictures) {
  const std::string text = R"({"text": "a caption"})", end(1024, '\0');
  const auto problem = [&](const std::string& name, const std::string& content) {
    const RecordFile records(file(name, content));
    return message_of([&] { records.refuse_pictures(0, records.object(0)); });
  };
  EXPECT_EQ(problem("a.jsonl", text), "no error");
  EXPECT_THAT(problem("b.jsonl", R"({"text": "a caption", "image": "a.png"})"), HasSubstr("\"image\""));
  EXPECT_EQ(problem("a.tar", member("k.json", text) + member("k.txt", "x") + end), "no error");
  EXPECT_THAT(problem("b.tar", member("k.json", text) + member("k.png", "x") + end),
              HasSubstr("the picture k.png belongs to the sample"));
  EXPECT_THAT(problem("c.tar", member("k.json", text) + member("k.mp4", "x") + end), HasSubstr("k.mp4"));
}

TEST_F(Files, that_are_tars_behind_each_other_are_read_whole) {
  const std::string one = read_file(kFixtures / "webdataset.tar");
  const std::string other = [&] {
    // The same with other names: a header's sum is in octal digits.
    std::string out = one;
    for (size_t at = 0; at + 512 <= out.size(); at += 512)
      if (out.compare(at + 257, 5, "ustar") == 0) {
        out[at] = 't';  // instead of s, one more
        const auto sum = std::stoul(out.substr(at + 148, 6), nullptr, 8) + 1;
        out.replace(at + 148, 6, fmt::format("{:06o}", sum));
      }
    return out;
  }();
  const RecordFile both(file("both.tar", one + other));
  ASSERT_EQ(both.size(), 6);
  EXPECT_THAT(both.name(1), HasSubstr("sample s/001"));
  EXPECT_THAT(both.name(4), HasSubstr("sample t/001"));
  EXPECT_THAT(error_of("more.tar", one + std::string(512, 'x')), HasSubstr("more.tar is damaged"));
  std::string damaged = one;
  damaged[one.find("s/001.json")] = 'r';
  EXPECT_THAT(error_of("damaged.tar", damaged), HasSubstr("damaged.tar is damaged"));
}

TEST_F(Files, look_for_pictures_beside_them_or_in_a_folder_that_is_named) {
  const RecordFile records(
      file("a.jsonl", R"({"image": "x/a.png", "conversations": [{"from": "human", "value": "<image>"}]})"));
  const auto source = [&](const fs::path& root) {
    return records.conversation(0, records.object(0), {}, root)[0].content[0].source;
  };
  EXPECT_EQ(source({}), (folder_.path() / "x/a.png").string());
  EXPECT_EQ(source("/pictures"), "/pictures/x/a.png");
}

TEST_F(Files, have_a_fingerprint_of_what_they_hold) {
  const std::string long_text(200 << 20, ' ');
  const auto fingerprint = [&](const char* name, const std::string& text) {
    return RecordFile(file(name, "{}\n" + text)).fingerprint();
  };
  EXPECT_EQ(fingerprint("a.jsonl", "x"), fingerprint("b.jsonl", "x"));
  EXPECT_NE(fingerprint("a.jsonl", "x"), fingerprint("a.jsonl", "y"));
  EXPECT_EQ(fingerprint("a.jsonl", long_text), fingerprint("b.jsonl", long_text));
  EXPECT_NE(fingerprint("a.jsonl", long_text), fingerprint("a.jsonl", long_text + " "));
}

}  // namespace
}  // namespace dvlm
