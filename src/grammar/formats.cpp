#include "grammar/formats.h"

#include <fmt/format.h>

#include "core/error.h"

namespace dvlm {

namespace {

// RFC 3339, with the days that months have; seconds up to 59.
const std::string kYear = "(?:[1-9]\\d{3}|0[1-9]\\d{2}|00[1-9]\\d|000[1-9])";
const std::string kLeapYear =
    "(?:\\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
const std::string kDate = fmt::format(
    "(?:{0}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"
    "02-(?:0[1-9]|1\\d|2[0-8]))|{1}-02-29)",
    kYear, kLeapYear);
const std::string kTime =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const std::string kByte = "(?:25[0-5]|2[0-4]\\d|1\\d{2}|[1-9]?\\d)";
const std::string kIpv4 = fmt::format("{0}(?:\\.{0}){{3}}", kByte);
const std::string kGroup = "[0-9A-Fa-f]{1,4}";

// Eight groups, of which a run of two or more zeros may be left out once.
std::string ipv6() {
  std::string out = fmt::format("(?:{0}:){{7}}{0}", kGroup);
  for (int before = 0; before <= 6; ++before) {
    const int behind = 6 - before;
    out += fmt::format("|{}::{}", before > 0 ? fmt::format("{0}(?::{0}){{{1}}}", kGroup, before - 1) : "",
                       behind > 0 ? fmt::format("(?:{0}(?::{0}){{0,{1}}})?", kGroup, behind - 1) : "");
  }
  return "(?:" + out + ")";
}

const std::string kLabel = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?";
const std::string kHost = fmt::format("{0}(?:\\.{0}){{0,3}}", kLabel);
const std::string kWord = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,32}";
const std::string kUriCharacter = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})";
const std::string kDuration =
    "P(?:\\d{1,4}W|(?:\\d{1,4}Y(?:\\d{1,4}M(?:\\d{1,4}D)?)?|\\d{1,4}M(?:\\d{1,4}D)?|\\d{1,4}D)"
    "(?:T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S))?|"
    "T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S))";

}  // namespace

std::string pattern_of_format(const std::string& format, const std::string& origin) {
  const std::pair<const char*, std::string> kFormats[] = {
      {"date", kDate},
      {"time", kTime},
      {"date-time", kDate + "T" + kTime},
      {"duration", kDuration},
      {"email", fmt::format("{0}(?:\\.{0}){{0,3}}@{1}", kWord, kHost)},
      {"hostname", kHost},
      {"ipv4", kIpv4},
      {"ipv6", ipv6()},
      {"uuid", "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
      {"uri",
       fmt::format("[A-Za-z][A-Za-z0-9+.-]{{0,15}}://{0}(?::\\d{{1,4}})?(?:/{1}*)?(?:\\?{1}*)?(?:#{1}*)?",
                   kHost, kUriCharacter)},
  };
  std::string names;
  for (const auto& [name, pattern] : kFormats) {
    if (format == name) return "^(?:" + pattern + ")$";
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  fail("{}: the format \"{}\" is not known; known are {}", origin, printable(format), names);
}

}  // namespace dvlm
