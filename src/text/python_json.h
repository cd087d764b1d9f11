// Values as Python writes them.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace dvlm {

// The fewest digits that say which number it is, as repr() has them: 1000000.0, 1e+16, 1e-05.
std::string python_float(double value);

// JSON as json.dumps writes it, without escapes of what is not ASCII. Numbers that are not whole must be
// finite.
std::string python_json(const nlohmann::ordered_json& value);

}  // namespace dvlm
