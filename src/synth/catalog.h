// What a synthetic scene can hold: the nouns, colours, places and sign words of its small language.
#pragma once
#include <array>
#include <cstdint>

namespace dvlm {

struct Noun {
  const char* name;
  const char* plural;
  const char* category;  // plural, e.g. "tools"; "" for none
  const char* glyph;     // UTF-8 emoji; "" for shapes
};

// Things drawn as colour emoji.
inline constexpr std::array<Noun, 24> kThings = {{
    {"hammer", "hammers", "tools", "\U0001F528"},
    {"wrench", "wrenches", "tools", "\U0001F527"},
    {"screwdriver", "screwdrivers", "tools", "\U0001FA9B"},
    {"saw", "saws", "tools", "\U0001FA9A"},
    {"apple", "apples", "food", "\U0001F34E"},
    {"banana", "bananas", "food", "\U0001F34C"},
    {"lemon", "lemons", "food", "\U0001F34B"},
    {"carrot", "carrots", "food", "\U0001F955"},
    {"ball", "balls", "toys", "\u26BD"},
    {"die", "dice", "toys", "\U0001F3B2"},
    {"teddy bear", "teddy bears", "toys", "\U0001F9F8"},
    {"cup", "cups", "", "\u2615"},
    {"spoon", "spoons", "", "\U0001F944"},
    {"key", "keys", "", "\U0001F511"},
    {"pencil", "pencils", "", "\u270F\uFE0F"},
    {"phone", "phones", "", "\U0001F4F1"},
    {"light bulb", "light bulbs", "", "\U0001F4A1"},
    {"alarm clock", "alarm clocks", "", "\u23F0"},
    {"battery", "batteries", "", "\U0001F50B"},
    {"candle", "candles", "", "\U0001F56F\uFE0F"},
    {"gift", "gifts", "", "\U0001F381"},
    {"bell", "bells", "", "\U0001F514"},
    {"magnet", "magnets", "", "\U0001F9F2"},
    {"book", "books", "", "\U0001F4D5"},
}};

// Plain shapes; the order is that of Painter's outlines.
inline constexpr std::array<Noun, 4> kShapes = {{
    {"disc", "discs", "shapes", ""},
    {"square", "squares", "shapes", ""},
    {"triangle", "triangles", "shapes", ""},
    {"star", "stars", "shapes", ""},
}};

inline constexpr Noun kSign = {"sign", "signs", "", ""};

inline constexpr std::array<const char*, 4> kCategories = {"tools", "food", "toys", "shapes"};

struct Colour {
  const char* name;
  uint8_t red, green, blue;
};

inline constexpr std::array<Colour, 6> kColours = {{
    {"red", 212, 36, 40},
    {"green", 36, 150, 66},
    {"blue", 36, 92, 214},
    {"yellow", 250, 208, 40},
    {"purple", 138, 56, 178},
    {"orange", 246, 132, 28},
}};

inline constexpr std::array<Colour, 6> kTableColours = {{
    {"white", 244, 244, 242},
    {"gray", 164, 168, 174},
    {"beige", 226, 206, 170},
    {"blue", 164, 198, 232},
    {"green", 172, 212, 168},
    {"pink", 242, 196, 210},
}};

inline constexpr std::array<Colour, 3> kClothColours = {{
    {"red", 236, 176, 174},
    {"blue", 170, 198, 234},
    {"green", 174, 214, 174},
}};

inline constexpr std::array<const char*, 24> kSignWords = {
    "STOP", "GO",  "OPEN", "EXIT", "PUSH", "PULL",  "HOT",  "COLD", "SLOW", "FAST", "HELP", "SAFE",
    "WET",  "DRY", "SALE", "LOAD", "PARK", "TOOLS", "FOOD", "TOYS", "NEW",  "FREE", "LIFT", "BUSY"};

// The nine places of the picture in reading order.
inline constexpr int kPlaces = 9;
inline constexpr std::array<const char*, kPlaces> kPlaceNames = {
    "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"};

inline int row_of(int place) {
  return place / 3;
}
inline int column_of(int place) {
  return place % 3;
}

}  // namespace dvlm
