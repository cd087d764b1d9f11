#include "train/boxes.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "core/ascii.h"
#include "core/error.h"

namespace dvlm {

namespace {

// The numbers of a list without its brackets; none when it holds anything else.
std::vector<double> numbers_of(std::string_view list) {
  std::vector<double> out;
  for (bool more = true; more;) {
    const size_t comma = list.find(',');
    const std::string_view item = trim(list.substr(0, comma));
    double value = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
    if (error != std::errc{} || end != item.data() + item.size() || !std::isfinite(value)) return {};
    out.push_back(value);
    more = comma != list.npos && out.size() <= 4;
    if (more) list.remove_prefix(comma + 1);
  }
  return out;
}

// Whether the list that begins at text[at] is the value of "point_2d".
bool is_point(std::string_view text, size_t at) {
  text = trim(text.substr(0, at));
  if (!text.ends_with(':')) return false;
  text.remove_suffix(1);
  text = trim(text);
  return text.ends_with("\"point_2d\"") || text.ends_with("'point_2d'");
}

int resized_place(double value, BoxFormat format, int original, int resized) {
  const double whole = format == BoxFormat::norm1 ? 1 : format == BoxFormat::norm1000 ? 1000 : original;
  return static_cast<int>(std::clamp(std::round(value / whole * resized), 0.0, static_cast<double>(resized)));
}

}  // namespace

BoxFormat box_format_of(std::string_view name) {
  if (name == "text") return BoxFormat::text;
  if (name == "pixels") return BoxFormat::pixels;
  if (name == "norm1") return BoxFormat::norm1;
  if (name == "norm1000") return BoxFormat::norm1000;
  fail("'box_format' must be \"text\", \"pixels\", \"norm1\" or \"norm1000\", got \"{}\"", printable(name));
}

std::string with_boxes_resized(std::string_view text, BoxFormat format, Size original, Size resized,
                               int& boxes) {
  std::string out;
  size_t from = 0;
  for (size_t open = text.find('['); open != text.npos; open = text.find('[', open + 1)) {
    const size_t close = text.find_first_of("[]", open + 1);
    if (close == text.npos) break;
    const std::vector<double> numbers = numbers_of(text.substr(open + 1, close - open - 1));
    if (text[close] == '[' || !(numbers.size() == 4 || (numbers.size() == 2 && is_point(text, open))))
      continue;
    out += text.substr(from, open + 1 - from);
    for (size_t i = 0; i < numbers.size(); ++i) {
      const bool x = i % 2 == 0;
      out += fmt::format("{}{}", i == 0 ? "" : ", ",
                         resized_place(numbers[i], format, x ? original.width : original.height,
                                       x ? resized.width : resized.height));
    }
    from = close;
    ++boxes;
  }
  return out.append(text.substr(from));
}

}  // namespace dvlm
