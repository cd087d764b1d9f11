#include "server/page.h"

#include "server/routes.h"

namespace dvlm {

namespace {

constexpr std::string_view kFolder = "/page/";
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* content_type(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  if (name.ends_with(".png")) return "image/png";
  return "application/octet-stream";
}

void answer(const PageFile& file, const httplib::Request& request, httplib::Response& response) {
  response.set_header("ETag", file.etag);
  response.set_header("Cache-Control", "no-cache");  // kept, but asked about each time
  response.set_header("Content-Security-Policy", kPolicy);
  response.set_header("X-Content-Type-Options", "nosniff");
  response.set_header("Referrer-Policy", "no-referrer");
  if (request.get_header_value("If-None-Match").find(file.etag) != std::string::npos) {
    response.status = 304;
    return;
  }
  response.set_content(reinterpret_cast<const char*>(file.data), file.size, content_type(file.name));
}

}  // namespace

void add_page(httplib::Server& server) {
  for (const PageFile& file : page_files()) {
    const auto handler = [&file](const auto& request, auto& response) { answer(file, request, response); };
    server.Get(literal(std::string(kFolder) + file.name), handler);
    if (file.name == std::string_view("index.html")) server.Get("/", handler);
  }
}

bool is_page_path(std::string_view path) {
  return path == "/" || path.starts_with(kFolder);
}

}  // namespace dvlm
