// Pictures, videos and sounds among other files: how their names end, and how they begin.
#pragma once
#include <string_view>

namespace dvlm {

enum class Media {
  none,
  picture,  // of a format that is read (image/image.h), or called like one: its decoder says what is wrong
  unread,   // a picture of another format, a video, a sound, a PDF
};

// Of a file beside a record. A name that says nothing leaves it to the first 18 bytes.
Media media_of(std::string_view name, std::string_view beginning);

// Whether a text ends like the name of a picture, video or sound, read or not; case does not count.
bool ends_like_media(std::string_view text);

}  // namespace dvlm
