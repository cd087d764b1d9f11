// The layouts that conversations have in data sets.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "text/chat.h"

namespace dvlm {

// null, "" or []: data sets are full of them.
bool says_nothing(const nlohmann::json& value);

// The conversation of a record (docs/data.md), one of
//   {"messages": [{"role", "content"}]}      as parse_messages reads them; with "images" and "videos" as
//                                            ms-swift, LLaMA-Factory and TRL have them
//   {"conversations": [{"from", "value"}]}   LLaVA, ShareGPT4V, qwen-vl-finetune ("image", "video")
//                                            and LLaMA-Factory ("images", "videos", "system")
// `own`: further keys that the caller reads. `pictures`: those of the record's sample in a tar, for a record
// that names none. Throws Error for any other layout, for pictures that no <image> shows and the reverse, for
// a list that is not what the content shows by name, and for a key that looks like pictures and that nobody
// reads.
Conversation conversation_of(const nlohmann::json& record, std::span<const std::string_view> own = {},
                             std::span<const std::string> pictures = {});

// Throws Error for a record of which the "text" alone is read and that has pictures, too.
void refuse_pictures_beside_text(const nlohmann::json& record);
inline constexpr std::string_view kInPlaceOfText = "write \"messages\" in place of \"text\", or take it out";

}  // namespace dvlm
