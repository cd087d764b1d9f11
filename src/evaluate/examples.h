// Test files: conversations in any layout (data/layouts.h), each with "answer" and "type".
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "text/chat.h"

namespace dvlm {

struct Example {
  std::string id, type, answer;
  Conversation
      conversation;  // images with paths that exist, relative ones resolved against the file's folder
};

// See data/record_file.h. Throws Error naming file and record. `limit` 0 reads all.
std::vector<Example> read_examples(const std::filesystem::path& file, size_t limit = 0);

}  // namespace dvlm
