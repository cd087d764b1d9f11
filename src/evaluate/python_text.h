// Text as Python's str handles it: what VLMEvalKit's rules are written in.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dvlm::python {

bool is_space(char32_t code);  // what str.split() and str.strip() take for white space
std::vector<std::string> split(std::string_view text);  // str.split()
std::string strip(std::string_view text);
std::string lower(std::string_view text);
std::string replaced(std::string text, std::string_view what, std::string_view by);  // str.replace
size_t length(std::string_view text);                                                // in characters
size_t upper_length(std::string_view text);  // of str.upper(), which writes "ß" as "SS"

// float(text): white space around, "inf", "nan", "1_000". digits of any script. None where that raises
// ValueError.
std::optional<double> to_float(std::string_view text);

// The texts of a list of strings, numbers and names as repr() writes it: "['a', \"b\", 2, None]". None for
// anything else.
std::optional<std::vector<std::string>> list_of(std::string_view text);

}  // namespace dvlm::python
