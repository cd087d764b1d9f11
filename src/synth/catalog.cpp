#include "synth/catalog.h"

namespace dvlm {

std::string place_phrase(int place) {
  const std::string name = kPlaceNames[static_cast<size_t>(place)];
  const bool side = row_of(place) == 1;
  const char* preposition = !side ? "at" : column_of(place) == 1 ? "in" : "on";
  return std::string(preposition) + " the " + name;
}

std::string with_article(const std::string& noun) {
  const bool vowel = !noun.empty() && std::string("aeiou").find(noun[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + noun;
}

}  // namespace dvlm
