// The page at `/`: files of web/ that are compiled in (cmake/Embed.cmake) and served from memory.
#pragma once
#include <span>
#include <string_view>

namespace httplib {
class Server;
}

namespace dvlm {

struct PageFile {
  const char* name;  // "index.html"
  const char* etag;  // its hash, quoted
  const unsigned char* data;
  size_t size;  // bytes
};

std::span<const PageFile> page_files();

// Answers GET / with index.html and GET /page/NAME with the file of that name, with a Content-Security-Policy
// that allows this server's own scripts, styles, images and API, and nothing else.
void add_page(httplib::Server& server);

// Whether `path` is of the page. It holds no secrets: it must be there before somebody can give a key.
bool is_page_path(std::string_view path);

}  // namespace dvlm
