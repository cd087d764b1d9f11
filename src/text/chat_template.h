// Recognises the chat templates that render_chat reproduces: see check_chat_template in text/chat.h.
#pragma once
#include <cstdint>
#include <string_view>

namespace dvlm {

// FNV-1a of the template as Jinja reads it: any line end is \n, and one at the very end is dropped.
uint64_t template_fingerprint(std::string_view text);

bool is_known_template(uint64_t fingerprint);

}  // namespace dvlm
