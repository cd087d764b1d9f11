// The layouts that conversations have in data sets.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

#include "text/chat.h"

namespace dvlm {

// null, "" or []: data sets are full of them.
bool says_nothing(const nlohmann::json& value);

// Whether the record has one of the keys that list pictures or videos.
bool lists_pictures(const nlohmann::json& record);

// The conversation of a record (docs/data.md), one of
//   {"messages": [{"role", "content"}]}      as parse_messages reads them; with "images" and "videos" as
//                                            ms-swift, LLaMA-Factory and TRL have them
//   {"conversations": [{"from", "value"}]}   LLaVA, ShareGPT4V, qwen-vl-finetune ("image", "video")
//                                            and LLaMA-Factory ("images", "videos", "system")
// `own`: further keys that the caller reads. Throws Error for any other layout, for pictures that no <image>
// shows and the reverse, and for a key that looks like pictures and that nobody reads.
Conversation conversation_of(const nlohmann::json& record, std::span<const std::string_view> own = {});

}  // namespace dvlm
