// Names of models on Hugging Face's hub, as folders of the cache that all its programs share (docs/models.md,
// Names of the hub). Nothing here opens a connection.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace dvlm {

struct HubName {
  std::string repository;         // "org/name"
  std::string revision = "main";  // a branch, a tag, or a commit of 40 hexadecimal digits
};

// "org/name" or "org/name@revision"; nothing for what cannot be one.
std::optional<HubName> hub_name(std::string_view text);
bool is_commit(std::string_view text);  // 40 hexadecimal digits

// HF_HOME, else huggingface in XDG_CACHE_HOME or ~/.cache. Empty: there is none.
std::filesystem::path hub_home();
// HF_HUB_CACHE, else hub in hub_home().
std::filesystem::path hub_cache();
// Of a repository in the cache: models--org--name. It need not be there.
std::filesystem::path hub_folder(const std::filesystem::path& cache, const HubName& name);
// Where the files of that revision are. Empty: they were never downloaded.
std::filesystem::path hub_snapshot(const std::filesystem::path& cache, const HubName& name);

// The folder of that name, else what the cache has of it. Throws Error where neither is there and it is a
// name of the hub; what else is no folder is given back as it is.
std::filesystem::path find_model(const std::string& name);

}  // namespace dvlm
