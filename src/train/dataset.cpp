#include "train/dataset.h"

#include <algorithm>
#include <cmath>

#include "core/checksum.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/random.h"
#include "model/preprocessing.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 1> kOwnKeys = {"regions"};

// Pixels of a picture whose file has so many bytes: photographs in JPEG have about two bits for each.
int64_t pixels_of(const std::string& source) {
  std::error_code error;
  const auto bytes = is_data_url(source) ? source.size() * 3 / 4 : fs::file_size(source, error);
  return error ? 0 : static_cast<int64_t>(std::min<uintmax_t>(bytes, 1u << 30)) * 4;
}

// About how many tokens a picture, a video file or the frames of a video have; of a text none. Two frames
// share theirs.
int64_t tokens_of_pictures(const ContentPart& part, const SampleContext& context) {
  const PreprocessOptions options =
      preprocessing_within(size_limits(part, context.min_pixels, context.max_pixels), context.config);
  const int64_t side = int64_t{options.patch_size} * options.merge_size;
  const auto tokens = [&](const std::string& source) {
    return std::clamp(pixels_of(source), options.min_pixels, options.max_pixels) / (side * side);
  };
  int64_t out = part.source.empty() ? 0 : tokens(part.source);
  for (const std::string& frame : part.frames) out += tokens(frame) / 2;
  return out;
}

}  // namespace

Dataset::Dataset(const std::vector<DataSource>& sources) {
  for (const DataSource& given : sources) {
    Source source;
    source.file = std::make_unique<RecordFile>(given.path);
    source.image_root = given.image_root;
    source.boxes = box_format_of(given.box_format);
    source.first = size_;
    source.records = given.limit > 0 ? std::min(given.limit, source.file->size()) : source.file->size();
    source.whole = static_cast<int64_t>(given.weight);
    const double part =
        (given.weight - static_cast<double>(source.whole)) * static_cast<double>(source.records);
    source.part = std::llround(part);
    if (source.whole == 0) source.part = std::max<int64_t>(source.part, 1);
    size_ += source.records;
    epoch_size_ += source.whole * source.records + source.part;
    sources_.push_back(std::move(source));
  }
}

const Dataset::Source& Dataset::source_of(int64_t i) const {
  return *std::prev(std::ranges::upper_bound(sources_, i, {}, &Source::first));
}

std::string Dataset::name(int64_t i) const {
  const Source& source = source_of(i);
  return source.file->name(i - source.first);
}

Sample Dataset::load(int64_t i, const SampleContext& context) const {
  const Source& source = source_of(i);
  try {
    const nlohmann::json record = source.file->object(i - source.first);
    return make_sample(source.file->conversation(i - source.first, record, kOwnKeys, source.image_root),
                       record, source.boxes, context);
  } catch (const Error& error) {
    fail("{}: {}", name(i), error.what());
  }
}

int64_t Dataset::length(int64_t i, const SampleContext& context) const {
  constexpr int64_t kBytesOfToken = 4;
  const Source& source = source_of(i);
  const std::string_view text = source.file->text(i - source.first);
  int64_t bytes = 0, tokens = 0;
  try {
    const Conversation conversation = source.file->conversation(
        i - source.first, source.file->object(i - source.first), kOwnKeys, source.image_root);
    for (const Message& message : conversation)
      for (const ContentPart& part : message.content) {
        bytes += std::ssize(part.text);
        tokens += tokens_of_pictures(part, context);
      }
  } catch (const Error&) {
    bytes = std::ssize(text);
  }
  return std::min<int64_t>(bytes / kBytesOfToken + tokens, context.max_length);
}

std::vector<Dataset::Draw> Dataset::epoch_order(uint64_t seed, int64_t epoch) const {
  Random random(seed, static_cast<uint64_t>(epoch));
  std::vector<Draw> order;
  order.reserve(static_cast<size_t>(epoch_size_));
  const auto add = [&](int64_t record) { order.push_back({record, std::ssize(order)}); };
  for (const Source& source : sources_) {
    for (int64_t time = 0; time < source.whole; ++time)
      for (int64_t i = 0; i < source.records; ++i) add(source.first + i);
    // Each is taken with the chance that leaves `part` of all in the end.
    for (int64_t i = 0, left = source.part; left > 0; ++i)
      if (random.below(source.records - i) < left) add(source.first + i), --left;
  }
  random.shuffle(order.begin(), order.end());
  return order;
}

std::string Dataset::fingerprint() const {
  std::string all;
  for (const Source& source : sources_)
    all += fmt::format("{:016x} {} {} {}\n", source.file->fingerprint(), source.records, source.whole,
                       source.part);
  return fmt::format("{:016x}", checksum(all));
}

}  // namespace dvlm
