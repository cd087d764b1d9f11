// The fuzz target over a few hundred seeded mutations of every fixture.
#include "../../fuzz/image_fuzz.cpp"  // NOLINT(bugprone-suspicious-include): the target is what is tested

#include <zlib.h>

#include <algorithm>

#include "core/files.h"
#include "core/random.h"
#include "image_testing.h"

namespace dvlm {
namespace {

using File = std::string;

// Most mutations of a PNG would end at its checksums; with these mended they reach the code behind.
void mend_checksums(File& png) {
  const auto u32 = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<uint8_t>(png[at + i]);
    return value;
  };
  for (size_t at = 8; at + 12 <= png.size();) {
    const size_t length = u32(at);
    if (length > png.size() - at - 12) return;
    const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(&png[at + 4]), static_cast<uInt>(length + 4));
    for (size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    at += length + 12;
  }
}

void mutate(File& file, Random& random) {
  const auto place = [&] { return static_cast<size_t>(random.below(static_cast<int64_t>(file.size()))); };
  // Half of the changes hit the first bytes, where the sizes and tables are.
  const auto early = [&] { return random.below(2) ? place() : std::min(place(), place() % 64); };
  static const int kInteresting[] = {0, 1, 0x7F, 0x80, 0xFE, 0xFF};
  const int64_t count = 1 + random.below(4);
  for (int64_t i = 0; i < count && !file.empty(); ++i) {
    switch (random.below(6)) {
      case 0:
        file[early()] ^= static_cast<char>(1 << random.below(8));
        break;
      case 1:
        file[early()] = static_cast<char>(random.below(256));
        break;
      case 2:
        file[early()] = static_cast<char>(kInteresting[random.below(6)]);
        break;
      case 3:
        file.resize(place());
        break;
      case 4:
        file.insert(place(), file.substr(place(), static_cast<size_t>(random.below(40))));
        break;
      default:
        file.erase(place(), static_cast<size_t>(random.below(20)));
    }
  }
}

TEST(Fuzz, MutatedFilesDecodeOrThrowAnError) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(image_fixture("")))
    if (entry.is_regular_file()) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  size_t runs = 0;
  for (const auto& path : paths) {
    const File original = read_file(path);
    if (original.size() > 20000) continue;
    Random random(1, std::hash<std::string>{}(path.filename().string()));
    for (int i = 0; i < 200; ++i, ++runs) {
      File file = original;
      mutate(file, random);
      if (file.starts_with("\x89PNG") && i % 4 != 0) mend_checksums(file);
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(file.data()), file.size());
    }
  }
  EXPECT_GE(runs, 20000u);
}

TEST(Fuzz, MutatedDataUrlsDecodeOrThrowAnError) {
  const File url =
      "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/"
      "pLvAAAAAElFTkSuQmCC";
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    File file = url;
    mutate(file, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  }
}

}  // namespace
}  // namespace dvlm
