#include "data/media.h"

#include <gmock/gmock.h>

namespace dvlm {
namespace {

using namespace std::string_view_literals;

TEST(MediaOf, a_name_says_it_whatever_the_file_holds) {
  for (const char* name : {"a.jpg", "a.JPEG", "a.jfif", "a.png", "a.webp", "a.gif", "a.bmp", "a.ppm", "a.pgm",
                           "a.pbm", "s/0.left.pnm"})
    EXPECT_EQ(media_of(name, "x"), Media::picture) << name;
  for (const char* name : {"a.tif", "a.TIFF", "a.heic", "a.avif", "a.svg", "a.mp4", "a.m4v", "a.webm",
                           "a.mpeg", "a.wav", "a.opus"})
    EXPECT_EQ(media_of(name, "x"), Media::unread) << name;
}

TEST(MediaOf, other_names_leave_it_to_the_first_bytes) {
  for (const std::string_view file :
       {"\xFF\xD8\xFF\xE0"sv, "\x89PNG\r\n\x1A\n"sv, "RIFF\1\0\0\0WEBP"sv, "GIF87a"sv, "GIF89a"sv,
        "P6\n2 2"sv, "P3 # two"sv, "BM\x1E\x08\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"sv})
    EXPECT_EQ(media_of("a.img", file), Media::picture) << file;
  for (const std::string_view file :
       {"II*\0\x08"sv, "MM\0*\0"sv,
        "\0\0\0\x20"
        "ftypavif"sv,
        "\0\0\0\x18"
        "ftypisom"sv,
        "RIFF\1\0\0\0AVI "sv, "RIFF\1\0\0\0WAVE"sv, "\x1A\x45\xDF\xA3"sv, "OggS"sv, "fLaC"sv, "%PDF-1.7"sv})
    EXPECT_EQ(media_of("a.bin", file), Media::unread) << file;
}

TEST(MediaOf, a_readable_picture_is_one_under_any_name) {
  EXPECT_EQ(media_of("a.tif", "\x89PNG\r\n\x1A\n"), Media::picture);
}

TEST(MediaOf, texts_numbers_and_arrays_are_none) {
  for (const std::string_view file :
       {""sv, "3"sv, "{}"sv, "BMW builds cars, and more"sv, "P3 is a priority"sv, "P6"sv, "A caption.jpg"sv,
        "\x93NUMPY\1\0"sv, "PK\3\4"sv, "RIFF"sv, "ID3 and C4.5"sv})
    EXPECT_EQ(media_of("a.caption", file), Media::none) << file;
  for (const char* name : {"a.txt", "a.json", "a.cls", "a.npy", "a", "", "jpg"})
    EXPECT_EQ(media_of(name, "x"), Media::none) << name;
  EXPECT_EQ(media_of("a.txt", "GIF89a is a format"), Media::none);
}

TEST(EndsLikeMedia, knows_what_is_read_and_what_is_not) {
  for (const char* text : {"photos/A.JPEG", "a.ppm", "a.jfif", "a.heic", "a.mp4", ".gif"})
    EXPECT_TRUE(ends_like_media(text)) << text;
  for (const char* text : {"", "jpg", "a.jpg ", "coco", "a.jpg.txt"})
    EXPECT_FALSE(ends_like_media(text)) << text;
}

}  // namespace
}  // namespace dvlm
