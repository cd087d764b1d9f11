#include "evaluate/picture_url.h"

#include <fmt/format.h>

#include <span>

#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "image/image.h"

namespace dvlm {

namespace {

// Some servers believe what a data URL says of its bytes.
std::string_view media_type(std::string_view file) {
  if (file.starts_with("\xFF\xD8\xFF")) return "image/jpeg";
  if (file.starts_with("\x89PNG")) return "image/png";
  if (file.starts_with("GIF8")) return "image/gif";
  if (file.starts_with("RIFF") && file.substr(std::min<size_t>(file.size(), 8)).starts_with("WEBP"))
    return "image/webp";
  if (file.starts_with("BM")) return "image/bmp";
  return "image/x-portable-anymap";
}

}  // namespace

std::string picture_url(const std::string& source) {
  const std::string bytes = is_data_url(source) ? std::string() : read_file(local_path(source));
  const std::vector<std::byte> data = is_data_url(source) ? data_of_url(source) : std::vector<std::byte>();
  const std::span all =
      is_data_url(source) ? std::span<const std::byte>(data) : std::as_bytes(std::span(bytes));
  const std::string url = data_url_of(all);  // "data:;base64,..."
  const std::string_view text(reinterpret_cast<const char*>(all.data()), all.size());
  if (!is_picture(all))  // a test file may name any file
    fail("{} is no picture (JPEG, PNG, WebP, GIF, BMP, PNM), and nothing else is sent or shown",
         is_data_url(source) ? "what a data URL holds" : printable(source));
  return fmt::format("data:{}{}", media_type(text), std::string_view(url).substr(5));
}

}  // namespace dvlm
