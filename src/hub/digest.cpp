#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <memory>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace {

std::string digest_of(const std::filesystem::path& path, const EVP_MD* kind, bool as_blob,
                      const std::function<void(size_t)>& progress) {
  constexpr size_t kPiece = size_t{1} << 20;
  const InputFile file(path);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto check = [&](int status) {
    if (status != 1) fail("{}: its checksum cannot be computed", path.string());
  };
  check(context && EVP_DigestInit_ex(context.get(), kind, nullptr));
  if (as_blob) {
    const std::string header = fmt::format("blob {}", file.size());
    check(EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1));  // with its zero
  }
  std::vector<char> piece(kPiece);
  for (size_t at = 0; at < file.size();) {
    const size_t got = file.read(piece.data(), piece.size(), at);
    if (got == 0) fail("{}: the file became shorter while it was read", path.string());
    check(EVP_DigestUpdate(context.get(), piece.data(), got));
    at += got;
    if (progress) progress(at);
  }
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  check(EVP_DigestFinal_ex(context.get(), bytes, &size));
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

}  // namespace

std::string sha256_of(const std::filesystem::path& path, const std::function<void(size_t)>& progress) {
  return digest_of(path, EVP_sha256(), false, progress);
}

std::string git_blob_of(const std::filesystem::path& path) {
  return digest_of(path, EVP_sha1(), true, {});
}

}  // namespace dvlm
