// Layout: 64 bytes that say what the file is, matrices, their index as JSON, and at the end where that
// begins.
#include "native/packed_file.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/checksum.h"
#include "core/error.h"
#include "core/log.h"

namespace dvlm {

namespace {

constexpr uint64_t kAlignment = 4096;
constexpr uint64_t kMaxIndex = uint64_t{64} << 20;
constexpr char kMagic[64] = "dvlm repacked weights, safe to delete\n";

struct Footer {
  uint64_t index_offset = 0, index_bytes = 0, index_hash = 0, layout = kPackedLayout;
  char magic[8] = {'d', 'v', 'l', 'm', 'p', 'a', 'k', '2'};
};

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What is read and summed at once. It and where the system has it stay together in the cache of a core.
constexpr size_t kPiece = size_t{256} << 10;

// False where the file ends before, or cannot be read.
bool read_at(const InputFile& file, void* to, size_t bytes, uint64_t offset) {
  try {
    return file.read(to, bytes, offset) == bytes;
  } catch (const Error&) {
    return false;
  }
}

// Throws json::exception for other numbers, which a conversion would take: 1e19 has no value then.
uint64_t whole(const nlohmann::json& number) {
  return number.get_ref<const nlohmann::json::number_unsigned_t&>();
}

}  // namespace

PackedFile::PackedFile(std::filesystem::path path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
  std::error_code unknown;
  const auto status = std::filesystem::status(path_, unknown);
  if (status.type() == std::filesystem::file_type::not_found) {
    begin_anew();
    return;
  }
  char magic[sizeof kMagic] = {};
  try {
    if (unknown || is_regular_file(status)) file_ = std::make_unique<InputFile>(path_);
  } catch (const Error& error) {
    log_warning("{}; going on without it", error.what());
    return;
  }
  if (!file_ || !read_at(*file_, magic, sizeof magic, 0) || std::memcmp(magic, kMagic, sizeof magic) != 0)
    fail("{} is not a file of repacked weights: give --packed another name or remove it", path_.string());
  if (!read_index(file_->size())) begin_anew();
}

void PackedFile::begin_anew() {
  file_.reset();
  entries_.clear();
  try {
    writer_ = std::make_unique<FileWriter>(path_);
    writer_->append(kMagic, sizeof kMagic);
    written_ = sizeof kMagic;
  } catch (const Error& error) {
    log_warning("{}; going on without it", error.what());
    writer_.reset();
  }
}

bool PackedFile::read_index(uint64_t size) {
  Footer footer;
  const Footer expected;
  if (size < sizeof kMagic + sizeof footer ||
      !read_at(*file_, &footer, sizeof footer, size - sizeof footer) ||
      std::memcmp(footer.magic, expected.magic, sizeof footer.magic) != 0 || footer.layout != kPackedLayout ||
      footer.index_bytes > kMaxIndex || footer.index_offset > size ||
      footer.index_bytes + sizeof footer != size - footer.index_offset)
    return false;
  std::string text(footer.index_bytes, '\0');
  if (!read_at(*file_, text.data(), text.size(), footer.index_offset) || checksum(text) != footer.index_hash)
    return false;
  end_ = footer.index_offset;
  const auto index = nlohmann::json::parse(text, nullptr, false);
  try {
    if (!index.is_object() || index.at("identity").get<std::string>() != identity_) return false;
    for (const auto& [name, m] : index.at("matrices").items()) {
      Entry entry{static_cast<int64_t>(whole(m.at("outputs"))),
                  static_cast<int64_t>(whole(m.at("inputs"))),
                  static_cast<int64_t>(whole(m.at("format"))),
                  m.at("bias").get<bool>(),
                  whole(m.at("offset")),
                  {}};
      for (const nlohmann::json& sum : m.at("sums")) entry.sums.push_back(whole(sum));
      entries_.emplace(name, std::move(entry));
    }
  } catch (const nlohmann::json::exception&) {
    return false;
  }
  return true;
}

PackedFile::Entry PackedFile::entry_of(const PackedMatrix& matrix, uint64_t offset) {
  return {matrix.outputs(),         matrix.inputs(), static_cast<int64_t>(matrix.format()),
          matrix.bias() != nullptr, offset,          {}};
}

bool PackedFile::read(const std::string& name, PackedMatrix& matrix) {
  const auto found = entries_.find(name);
  const Entry wanted = entry_of(matrix, 0);
  bool good = found != entries_.end() && found->second.outputs == wanted.outputs &&
              found->second.inputs == wanted.inputs && found->second.format == wanted.format &&
              found->second.bias == wanted.bias;
  std::vector<Piece> pieces;
  uint64_t offset = good ? found->second.offset : 0;
  for (const std::span<std::byte> part : matrix.parts()) {
    if (!good || offset > end_ || part.size() > end_ - offset) {
      good = false;
      break;
    }
    for (size_t at = 0; at < part.size(); at += kPiece)
      pieces.push_back({part.subspan(at, std::min(kPiece, part.size() - at)), offset + at, 0});
    offset += aligned(part.size());
  }
  good = good && pieces.size() == found->second.sums.size();
  for (size_t i = 0; good && i < pieces.size(); ++i) pieces[i].sum = found->second.sums[i];
  if (good)
    pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  else if (!std::exchange(warned_, true))
    log_warning("{} does not give {}: remove it, and it is made anew", path_.string(), name);
  return good;
}

// All matrices at once: threads that meet after each would wait for each other's page faults.
bool PackedFile::fill(ThreadPool& pool, LoadProgress& progress) {
  std::atomic<const char*> wrong{nullptr};
  std::atomic<uint64_t> place{0};
  pool.parallel_for(std::ssize(pieces_), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last && !wrong && !interrupted(); ++i) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      const char* fault = !read_at(*file_, piece.to.data(), piece.to.size(), piece.offset) ? "cannot be read"
                          : checksum(piece.to) != piece.sum                                ? "is damaged"
                                                                                           : nullptr;
      if (fault) wrong = fault, place = piece.offset;
      if (first == 0)
        progress.add(piece.to.size() * static_cast<size_t>(pool.threads()));  // as the others do
    }
  });
  pieces_.clear();
  progress.check();
  if (wrong) log_warning("{} {} behind byte {}: it is made anew", path_.string(), wrong.load(), place.load());
  return !wrong;
}

void PackedFile::write(const std::string& name, PackedMatrix& matrix) {
  if (!writer_) return;
  try {
    pad();
    Entry& entry = entries_[name] = entry_of(matrix, written_);
    for (const std::span<std::byte> part : matrix.parts()) {
      for (size_t at = 0; at < part.size(); at += kPiece)
        entry.sums.push_back(checksum(part.subspan(at, std::min(kPiece, part.size() - at))));
      writer_->append(part.data(), part.size());
      written_ += part.size();
      pad();
    }
  } catch (const Error& error) {
    log_warning("{}; going on without it", error.what());
    writer_.reset();
  }
}

void PackedFile::pad() {
  static constexpr char kZeros[kAlignment] = {};
  writer_->append(kZeros, aligned(written_) - written_);
  written_ = aligned(written_);
}

bool PackedFile::finish(ThreadPool& pool, LoadProgress& progress) {
  if (complete()) return fill(pool, progress);
  if (writer_) commit();
  return true;
}

void PackedFile::commit() {
  nlohmann::json index = {{"identity", identity_}, {"matrices", nlohmann::json::object()}};
  for (const auto& [name, entry] : entries_)
    index["matrices"][name] = {{"outputs", entry.outputs}, {"inputs", entry.inputs}, {"format", entry.format},
                               {"bias", entry.bias},       {"offset", entry.offset}, {"sums", entry.sums}};
  const std::string text = index.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  Footer footer;
  footer.index_offset = written_;
  footer.index_bytes = text.size();
  footer.index_hash = checksum(text);
  try {
    writer_->append(text);
    writer_->append(&footer, sizeof footer);
    writer_->commit();
  } catch (const Error& error) {
    log_warning("{}; going on without it", error.what());
  }
  writer_.reset();
}

}  // namespace dvlm
