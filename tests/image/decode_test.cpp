// Wrong and hostile picture files: each kind gives one sentence that says what is wrong.
#include <gmock/gmock.h>
#include <zlib.h>

#include "core/files.h"
#include "core/memory.h"
#include "image/preprocess.h"
#include "image_testing.h"

namespace dvlm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Image decode(const std::string& file, const DecodeLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(file)), "desk.png", limits);
}

std::string decode_error(const std::string& file, const DecodeLimits& limits = {}) {
  return error_of([&] { decode(file, limits); });
}

std::string big_endian(uint32_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

std::string png_chunk(const std::string& kind, const std::string& data) {
  const std::string body = kind + data;
  const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size()), 4) + body + big_endian(static_cast<uint32_t>(crc), 4);
}

// An 8-bit grey PNG that claims this size and whose data are `rows` of zeros.
std::string png(uint32_t width, uint32_t height, size_t row_bytes) {
  std::string zeros(row_bytes, '\0'), packed(compressBound(row_bytes), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(zeros.data()),
           zeros.size());
  packed.resize(size);
  return "\x89PNG\r\n\x1A\n" +
         png_chunk("IHDR", big_endian(width, 4) + big_endian(height, 4) + std::string("\x08\0\0\0\0", 5)) +
         png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

TEST(Decode, NamesTheFileThatIsMissing) {
  EXPECT_THAT(error_of([] { read_image("no/such/picture.png"); }),
              AllOf(HasSubstr("no/such/picture.png"), HasSubstr("No such file")));
}

TEST(Decode, RefusesAFolder) {
  EXPECT_THAT(error_of([] { read_image(image_fixture("")); }), HasSubstr("folder"));
}

TEST(Decode, RefusesAnEmptyFile) {
  EXPECT_THAT(decode_error(""), HasSubstr("empty (0 bytes)"));
}

TEST(Decode, RefusesATextFileWhateverItsName) {
  EXPECT_THAT(decode_error("Hello, this is not a picture.\n"),
              AllOf(HasSubstr("desk.png"), HasSubstr("not a picture that can be read")));
}

TEST(Decode, NamesFormatsThatItDoesNotRead) {
  EXPECT_THAT(decode_error(std::string("\0\0\0\x18"
                                       "ftypheic",
                                       12)),
              HasSubstr("HEIF"));
  EXPECT_THAT(decode_error("P4\n8 1\n\xFF"), HasSubstr("P1, P4"));
}

TEST(Decode, GoesByTheFirstBytesAndNotByTheExtension) {
  const std::string jpeg = read_file(image_fixture("420.jpg"));
  EXPECT_EQ(decode(jpeg).width, 97);
}

TEST(Decode, RefusesEveryTruncatedFixture) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(image_fixture(""))) {
    const std::string extension = entry.path().extension();
    if (entry.is_directory() || extension == ".txt" || extension == ".bin" || extension == ".avi" ||
        extension == ".gif")
      continue;
    const std::string file = read_file(entry.path());
    for (const size_t keep : {file.size() / 2, file.size() / 4, size_t{20}, size_t{9}, size_t{1}}) {
      if (keep >= file.size() / 2 + 1) continue;
      EXPECT_THAT(decode_error(file.substr(0, keep)), HasSubstr("desk.png"))
          << entry.path() << " cut at " << keep;
    }
    ++files;
  }
  EXPECT_GE(files, 67u);
}

TEST(Decode, SaysThatAFileIsCutOff) {
  for (const char* name : {"420.jpg", "progressive.jpg", "rgb.png", "lossy.webp", "binary.ppm", "24.bmp"}) {
    const std::string file = read_file(image_fixture(name));
    EXPECT_THAT(decode_error(file.substr(0, file.size() * 3 / 4)), HasSubstr("cut off")) << name;
  }
}

// Pillow stops at the last pixel. Behind it stand a checksum of the pixels, one of their chunk, and the last
// chunk.
// libpng would allocate what a chunk of metadata claims, and clear it.
TEST(Decode, PngMetadataClaimsNoMemory) {
  const size_t before = peak_rss_bytes();
  for (const char* kind : {"tEXt", "zTXt", "iTXt", "sPLT", "pCAL", "sCAL", "iCCP", "eXIf", "hIST", "prVt"}) {
    const std::string header = big_endian(1, 4) + big_endian(1, 4) + std::string("\x08\x02\0\0\0", 5);
    const std::string file = "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + big_endian(0x7fffffffu, 4) +
                             kind + std::string(16, 'a');
    EXPECT_THAT(decode_error(file), HasSubstr("cut off")) << kind;
  }
  EXPECT_LT(peak_rss_bytes() - before, size_t{64} << 20);
}

TEST(Decode, ReadsPngFilesThatLackOnlyWhatStandsBehindThePixels) {
  for (const char* name :
       {"rgb.png", "rgba.png", "palette.png", "rgb_interlaced.png", "grey_1_interlaced.png"}) {
    const std::string file = read_file(image_fixture(name));
    const std::vector<uint8_t> whole = decode(file).pixels;
    for (size_t missing = 1; missing <= 20; ++missing)
      EXPECT_EQ(decode(file.substr(0, file.size() - missing)).pixels, whole)
          << name << " without " << missing;
    EXPECT_THAT(decode_error(file.substr(0, file.size() - 60)), HasSubstr("cut off")) << name;
  }
}

TEST(Decode, JudgesTheHeaderBeforeAllocating) {
  EXPECT_THAT(decode_error(png(60000, 60000, 100)),
              AllOf(HasSubstr("60000 x 60000"), HasSubstr("make it smaller")));
  EXPECT_THAT(decode_error(png(2000000000, 1, 100)), HasSubstr("a side may have at most"));
  EXPECT_THAT(decode_error("P6 60000 60000 255\n"), HasSubstr("60000 x 60000"));
  std::string jpeg = read_file(image_fixture("420.jpg"));
  const size_t size = jpeg.find("\xFF\xC0") + 5;
  jpeg.replace(size, 4, "\xFF\xDC\xFF\xDC");
  EXPECT_THAT(decode_error(jpeg), HasSubstr("65500 x 65500"));
  EXPECT_THAT(decode_error(read_file(image_fixture("lossy.webp")), {1000, 4096}), HasSubstr("at most 1000"));
  EXPECT_THAT(decode_error(read_file(image_fixture("24.bmp")), {1 << 20, 20}), HasSubstr("at most 20"));
}

TEST(Decode, RefusesAPictureWithoutPixels) {
  EXPECT_THAT(decode_error("P6 0 5 255\n"), HasSubstr("0 x 5"));
  EXPECT_THAT(decode_error(png(0, 7, 7)), HasSubstr("broken PNG"));
}

TEST(Decode, ReadsAPictureOf50000By2AndRefusesItsShape) {
  const Image image = decode(png(50000, 2, 100002));
  EXPECT_EQ(image.width, 50000);
  EXPECT_THAT(error_of([&] { preprocess_image(image, {}); }),
              AllOf(HasSubstr("50000 x 2"), HasSubstr("25000.0 times"), HasSubstr("200")));
}

TEST(Decode, ReadsASinglePixel) {
  const Patches patches = preprocess_image(decode(png(1, 1, 2)), {});
  EXPECT_EQ(patches.grid, (Grid{1, 4, 4}));
  EXPECT_EQ(patches.original.width, 1);
  EXPECT_EQ(patches.resized.width, 56);
}

TEST(Decode, RefusesProgressiveFilesWithEndlessScans) {
  const std::string file = read_file(image_fixture("progressive.jpg"));
  // The last scan, 400 times over.
  const size_t scan = file.rfind("\xFF\xDA"), end = file.size() - 2;
  std::string bomb = file.substr(0, end);
  for (int i = 0; i < 400; ++i) bomb += file.substr(scan, end - scan);
  EXPECT_THAT(decode_error(bomb + file.substr(end)), HasSubstr("too many scans"));
}

TEST(Decode, KeepsTheLibrariesSilent) {
  std::string damaged = read_file(image_fixture("420.jpg"));
  damaged = damaged.substr(0, damaged.size() / 2) + "\xFF\xD9";
  std::string crc = read_file(image_fixture("rgb.png"));
  crc[crc.size() - 20] ^= 1;
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(decode(damaged).width, 97);  // as Pillow: what is missing before the end marker is grey
  EXPECT_THAT(decode_error(crc), HasSubstr("broken PNG"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Decode, PnmRefusesNumbersThatAreNotThere) {
  EXPECT_THAT(decode_error("P3 2 1 255 1 2 3 4 x 6"), HasSubstr("a number is missing"));
  EXPECT_THAT(decode_error("P2 1 1 9 10 "), HasSubstr("above 9"));
  EXPECT_THAT(decode_error("P6\n2 1\n255Xabcdef"), HasSubstr("a number is missing at byte 7"));
  EXPECT_THAT(decode_error("P5 99999999999999999999 1 255\n"), HasSubstr("above"));
  EXPECT_THAT(decode_error("P5 1 1 0\n1"), HasSubstr("largest value"));
}

TEST(Decode, PutsNoControlBytesIntoMessages) {
  const std::string file = "x";
  EXPECT_THAT(error_of([&] { decode_image(std::as_bytes(std::span(file)), "a\x1B[31m\nb", {}); }),
              ::testing::Not(::testing::AnyOf(HasSubstr("\x1B"), HasSubstr("\n"))));
}

constexpr char kRedPixel[] =
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

TEST(DataUrl, GivesThePicture) {
  const Image image = decode_data_url(kRedPixel);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{255, 0, 0}));
}

TEST(DataUrl, RefusesWhatIsNotOne) {
  EXPECT_THAT(error_of([] { decode_data_url("https://example.org/cat.png"); }),
              HasSubstr("must begin with data:"));
  EXPECT_THAT(error_of([] { decode_data_url("data:image/png,abc"); }), HasSubstr("base64"));
  EXPECT_THAT(error_of([] { decode_data_url("data:text/plain;base64,aGk="); }), HasSubstr("not a picture"));
  EXPECT_THAT(error_of([] { decode_data_url("data:image/png;base64,"); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([] { decode_data_url("data:image/png;base64,iVB*"); }), HasSubstr("character 3"));
  EXPECT_THAT(error_of([] { decode_data_url("data:image/png;base64,iVBOR"); }), HasSubstr("cut off"));
  EXPECT_THAT(error_of([] { decode_data_url("data:image/png;base64,aGVsbG8="); }),
              HasSubstr("not a picture"));
}

}  // namespace
}  // namespace dvlm
