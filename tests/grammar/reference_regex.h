// Not for other rooms.
#pragma once
#include <gtest/gtest.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>

namespace dvlm {

// What PCRE2 says.
class ReferenceRegex {
 public:
  ReferenceRegex(const std::string& pattern, bool anywhere) {
    int error = 0;
    size_t at = 0;
    const uint32_t options =
        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | (anywhere ? 0 : PCRE2_ANCHORED | PCRE2_ENDANCHORED);
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error,
                              &at, nullptr));
    EXPECT_NE(code_, nullptr) << pattern;
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }
  bool takes(const std::string& text) const {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                                  match_.get(), nullptr);
    EXPECT_TRUE(found >= 0 || found == PCRE2_ERROR_NOMATCH) << found;
    return found >= 0;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

}  // namespace dvlm
